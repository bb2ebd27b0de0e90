//! Passing a request on to an instance, and its answer back.

mod exchange;
mod headers;
mod outgoing;
mod returning;
mod spare;
mod upgrade;

pub(crate) use exchange::{Exchange, Met, Sent, send};
pub(crate) use headers::{Forwarded, REQUEST_ID, clean_answer, clean_request, remove_where, upgrade_wanted};
pub(crate) use outgoing::{Outgoing, Progress};
pub(crate) use returning::Returning;
pub(crate) use spare::Spare;
pub(crate) use upgrade::{Spliced, both_upgraded, pass, splice, switching};
