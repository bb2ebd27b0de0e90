//! Metrics and traces: what there is, the registry, the text that Prometheus reads, the spans that are sent by OTLP.
//!
//! ```text
//!  counter!, histogram!, gauge! ──► Registry (the facade's recorder) ──┐
//!                                                                      ├──► text
//!  what is looked up when asked: machines, capacity, … ──► Page ───────┘
//! ```
//!
//! Invariants:
//! - Whatever is told stands in [`METRICS`], with its meaning: a name that does not is refused, so that the list and
//!   what is told are one.
//! - Memory is bounded: a histogram is its buckets and keeps no values, a family has a bounded number of series, and
//!   the series of what is gone are forgotten.

mod catalogue;
mod histogram;
mod page;
mod process;
mod registry;
pub mod trace;

pub use catalogue::{Kind, METRICS, Metric, reference};
pub use page::Page;
pub use process::note_process;
pub use registry::{Registry, SERIES_MAX, install};
