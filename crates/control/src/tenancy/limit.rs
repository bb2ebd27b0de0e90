//! Requests per second, by project.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use hearth_api::ProblemCode;
use hearth_domain::TokenBucket;
use hearth_ids::ProjectId;

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// So many seconds' worth of requests may come at once.
const BURST_S: u32 = 2;

/// The buckets of the projects that have a limit. There are no more than projects.
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

    /// Refuses one more request of a project that has sent too many. Operators are not counted.
    pub(crate) async fn admit(&self, app: &App, project: ProjectId) -> ApiResult<()> {
        let quotas = app.store.project(project).await?.map(|row| row.quotas);
        match quotas.and_then(|quotas| NonZeroU32::new(quotas.requests_per_second?)) {
            None => {
                self.forget(project);
                Ok(())
            }
            Some(rate) => self.take(project, rate),
        }
    }

    fn take(&self, project: ProjectId, rate: NonZeroU32) -> ApiResult<()> {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_S - 1));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(project).or_insert_with(|| TokenBucket::new(rate, burst));
        // The quota may have changed.
        *bucket = bucket.with_rate(rate, burst);
        bucket.take(now_ms, 1).map_err(|wait| {
            let detail = format!("the project may send {rate} requests a second, and sent more; send them more slowly");
            ApiError::new(ProblemCode::TooManyRequests, detail).retry_after_ms(wait.0)
        })
    }

    /// Forgets a project that is gone, or has no limit.
    pub(crate) fn forget(&self, project: ProjectId) {
        self.buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&project);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_is_told_when_to_come() {
        let limits = Limits::new();
        let (project, rate) = (ProjectId::new(), NonZeroU32::MIN);
        for _ in 0..BURST_S {
            assert!(limits.take(project, rate).is_ok());
        }
        let refused = limits.take(project, rate).unwrap_err();
        assert_eq!(refused.problem.status, 429);
        assert_eq!(refused.retry_after_s, Some(1));
        assert!(limits.take(ProjectId::new(), rate).is_ok(), "each project has its own");
    }
}
