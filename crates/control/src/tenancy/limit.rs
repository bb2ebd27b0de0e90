//! Requests per second, by project.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use hearth_domain::{RetryAfterMs, TokenBucket};
use hearth_ids::ProjectId;

/// So many seconds' worth of requests may come at once.
const BURST_S: u32 = 2;

/// The buckets of the projects that have a limit: told when the server opens and when quotas change, so that none has to
/// be read for a request. There are no more than projects.
#[derive(Debug)]
pub(crate) struct Limits {
    start: Instant,
    buckets: Mutex<HashMap<ProjectId, TokenBucket>>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            buckets: Mutex::default(),
        }
    }

    /// Learns how many requests a second a project may send; without end if that is `None`. What it sent stays counted.
    pub(crate) fn learn(&self, project: ProjectId, rate: Option<NonZeroU32>) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = rate else {
            buckets.remove(&project);
            return;
        };
        let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_S - 1));
        let bucket = match buckets.get(&project) {
            Some(bucket) => bucket.with_rate(rate, burst),
            None => TokenBucket::new(rate, burst),
        };
        buckets.insert(project, bucket);
    }

    /// Forgets a project that is gone.
    pub(crate) fn forget(&self, project: ProjectId) {
        self.learn(project, None);
    }

    /// Takes one request of a project; one without a limit has as many as it likes.
    pub(crate) fn take_known(&self, project: ProjectId) -> Result<(), RetryAfterMs> {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = buckets.get_mut(&project) else {
            return Ok(());
        };
        bucket.take(now_ms, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_is_told_when_to_come() {
        let limits = Limits::new();
        let (project, rate) = (ProjectId::new(), Some(NonZeroU32::MIN));
        limits.learn(project, rate);
        for _ in 0..BURST_S {
            assert_eq!(limits.take_known(project), Ok(()));
            // Told again, as after any change of the quotas: what was sent stays counted.
            limits.learn(project, rate);
        }
        let wait = limits.take_known(project).unwrap_err();
        assert!((1..=1000).contains(&wait.0), "{wait:?}");
        assert_eq!(limits.take_known(ProjectId::new()), Ok(()), "others have no limit");
        limits.forget(project);
        assert_eq!(limits.take_known(project), Ok(()));
    }
}
