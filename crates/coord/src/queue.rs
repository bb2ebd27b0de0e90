//! Instances that are wanted.

use std::time::Duration;

use async_trait::async_trait;
use hearth_ids::{FunctionId, ProjectId, RequestId};
use serde::{Deserialize, Serialize};

use crate::CoordError;

/// One more instance of a function is wanted. The first four fields are the contract with consumers of other makers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionRequest {
    /// Tells this request from others.
    pub request_id: RequestId,
    /// Of which function.
    pub function_id: FunctionId,
    /// Whose function that is, so that projects are served in turn; a producer of another maker may not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    /// Virtual CPUs of the instance.
    pub cpu: u32,
    /// Memory of the instance, in MiB.
    pub memory_mb: u32,
    /// Which version of the function; the newest, if a producer of another maker does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Nobody waits for it after that, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_unix_ms: Option<u64>,
    /// The span of the call that it is for, as a `traceparent`, where calls are traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl ProvisionRequest {
    /// Whether its deadline has passed at that time, in milliseconds since the Unix epoch: nobody waits for it any more.
    pub fn is_overdue(&self, unix_ms: u64) -> bool {
        self.deadline_unix_ms.is_some_and(|deadline| deadline <= unix_ms)
    }
}

/// A request that a worker has taken, and must say the end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What is wanted.
    pub request: ProvisionRequest,
    /// Which taking it is; a later one makes it void.
    pub attempt: u64,
}

/// The queue of wanted instances: first in, first out; each request is delivered at least once.
///
/// It holds a bounded number of requests. One whose deadline has passed is dropped when its turn comes.
#[expect(
    clippy::len_without_is_empty,
    reason = "an empty queue is nothing to act on: whoever wants a request takes"
)]
#[async_trait]
pub trait ProvisionQueue: Send + Sync {
    /// Puts a request at the end. A request with an ID that is there already changes nothing.
    async fn push(&self, request: ProvisionRequest) -> Result<(), CoordError>;

    /// Takes the first request, and waits for one while there is none. If it is neither [`done`](Self::done) nor
    /// [given back](Self::give_back) within `visibility`, it goes to the front again for whoever takes next. Those who wait
    /// are served in the order in which they came. Dropping the future loses no request.
    async fn take(&self, worker: &str, visibility: Duration) -> Result<Claim, CoordError>;

    /// The request is served, or has become void. Idempotent; a claim that has run out changes nothing.
    async fn done(&self, claim: &Claim) -> Result<(), CoordError>;

    /// The worker cannot serve it: it goes to the front, for another. A claim that has run out changes nothing.
    async fn give_back(&self, claim: &Claim) -> Result<(), CoordError>;

    /// How many wait, those taken not counted.
    async fn len(&self) -> Result<usize, CoordError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_another_maker_is_read_and_ours_is_one() {
        let (request_id, function_id) = (RequestId::new(), FunctionId::new());
        let theirs = format!(
            r#"{{"request_id":"{request_id}","function_id":"{function_id}","cpu":2,"memory_mb":256,"priority":1}}"#
        );
        let request: ProvisionRequest = serde_json::from_str(&theirs).unwrap();
        assert_eq!((request.version, request.deadline_unix_ms), (None, None));
        let ours = format!(r#"{{"request_id":"{request_id}","function_id":"{function_id}","cpu":2,"memory_mb":256}}"#);
        assert_eq!(serde_json::to_string(&request).unwrap(), ours);
    }
}
