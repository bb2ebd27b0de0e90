//! What every queue and every registry must do, as tests that run against any of them.
//!
//! ```no_run
//! # async fn example(fixture: &dyn hearth_coord::conformance::Fixture) {
//! let results = hearth_coord::conformance::run(fixture).await;
//! hearth_coord::conformance::assert_passed(&results);
//! # }
//! ```

mod queue;
mod registry;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
pub use hearth_conformance::{CaseResult, Outcome, assert_passed};
use hearth_conformance::{Verdict, ensure, run_case};
use tokio::time::{Instant, sleep, timeout};

use crate::{CoordError, InstanceRegistry, ProvisionQueue};

/// How many requests a fixture's queue holds.
pub const QUEUE_BOUND: usize = 64;

/// What the tests of an implementation provide.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A new, empty queue that holds [`QUEUE_BOUND`] requests.
    async fn queue(&self) -> Arc<dyn ProvisionQueue>;

    /// A new, empty registry, to which nobody else holds on.
    async fn registry(&self) -> Arc<dyn InstanceRegistry>;

    /// The clock that deadlines of requests are held against, in milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;

    /// How the suite is to reckon with time.
    fn times(&self) -> Times;
}

/// Times that fit the implementation and where it runs.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long claims and leases last whose end is waited for. A step of the suite must not take a fourth of it.
    pub short: Duration,
    /// How much later than due the implementation may do something.
    pub late: Duration,
}

type F<'a> = &'a dyn Fixture;
type Case = (&'static str, for<'a> fn(F<'a>) -> BoxFuture<'a, Verdict>);

/// Runs all cases, one after the other.
pub async fn run(fixture: F<'_>) -> Vec<CaseResult> {
    let times = fixture.times();
    let deadline = (times.short + times.late) * 20;
    let mut results = Vec::new();
    for (name, case) in queue::CASES.into_iter().chain(registry::CASES) {
        results.push(run_case(name, deadline, case(fixture)).await);
    }
    results
}

impl From<CoordError> for Outcome {
    fn from(error: CoordError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The result of what must be done in that time.
async fn within<T>(fixture: F<'_>, limit: Duration, doing: &str, done: impl Future<Output = T>) -> Result<T, Outcome> {
    let late = fixture.times().late;
    let failed = |_| Outcome::Failed(format!("{doing} takes more than {limit:?} and {late:?}"));
    timeout(limit + late, done).await.map_err(failed)
}

/// Waits until it holds, asking again and again.
async fn eventually<H>(fixture: F<'_>, limit: Duration, what: &str, mut holds: impl FnMut() -> H) -> Verdict
where
    H: Future<Output = Result<bool, Outcome>>,
{
    let asking = async {
        while !holds().await? {
            sleep(fixture.times().short / 50).await;
        }
        Verdict::Ok(())
    };
    within(fixture, limit, what, asking).await?
}

/// The case says nothing where this machine was so slow that what should last may have run out.
fn ensure_quick(fixture: F<'_>, since: Instant) -> Verdict {
    if since.elapsed() < fixture.times().short / 2 {
        Ok(())
    } else {
        Err(Outcome::Skipped("this machine is too slow for such short times".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmbeddedQueue, EmbeddedRegistry};

    struct Embedded {
        times: Times,
        begin: Instant,
    }

    impl Embedded {
        fn new(short: Duration) -> Self {
            let late = Duration::from_secs(5);
            Self {
                times: Times { short, late },
                begin: Instant::now(),
            }
        }
    }

    fn unix_ms_since(begin: Instant) -> u64 {
        1_800_000_000_000 + u64::try_from(begin.elapsed().as_millis()).unwrap()
    }

    #[async_trait]
    impl Fixture for Embedded {
        async fn queue(&self) -> Arc<dyn ProvisionQueue> {
            let begin = self.begin;
            let clock = Arc::new(move || unix_ms_since(begin));
            Arc::new(EmbeddedQueue::with_clock(QUEUE_BOUND, clock))
        }

        async fn registry(&self) -> Arc<dyn InstanceRegistry> {
            Arc::new(EmbeddedRegistry::new())
        }

        fn unix_ms(&self) -> u64 {
            unix_ms_since(self.begin)
        }

        fn times(&self) -> Times {
            self.times
        }
    }

    #[tokio::test(start_paused = true)]
    async fn embedded_parts_conform() {
        let results = run(&Embedded::new(Duration::from_secs(10))).await;
        assert_passed(&results);
        assert!(results.iter().all(|result| result.outcome == Outcome::Passed));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn embedded_parts_conform_on_many_threads() {
        assert_passed(&run(&Embedded::new(Duration::from_millis(400))).await);
    }
}
