//! Functions on real machines: deployed from folders and images, called, scaled to zero and back, and failed in every way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clock;
mod contract;
mod crowd;
mod disk;
mod failures;
mod faults;
mod keys;
mod life;
mod outage;
mod projects;
mod room;
mod shop;
mod trouble;
