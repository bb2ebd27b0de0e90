//! Doubles of what the gateway needs of others.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use hearth_coord::{EmbeddedQueue, InstanceKey};
use hearth_gateway::{
    AsyncCall, AsyncInvocations, CallObserver, CallRecord, Denied, InstanceHost, KeyCheck, NodeRoom, NotAccepted,
    RateLimit, RetireReason, RoomLeft, VersionFacts,
};
use hearth_ids::{FunctionId, InvocationId, ProjectId};
use tokio::sync::watch;

/// What was told to whom.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) retired: watch::Sender<Vec<(InstanceKey, RetireReason)>>,
    pub(crate) calls: watch::Sender<Vec<CallRecord>>,
    pub(crate) accepted: Mutex<Vec<AsyncCall>>,
    pub(crate) full: Mutex<Option<NotAccepted>>,
    /// Requests that each project may still make; all if absent.
    pub(crate) rate: Mutex<Option<u32>>,
}

/// The key that may call; `other` is known but may not.
pub(crate) const GOOD_KEY: &str = "good";

#[async_trait]
impl KeyCheck for Told {
    async fn check(&self, token: &str, _: ProjectId, _: FunctionId) -> Result<(), Denied> {
        match token {
            GOOD_KEY => Ok(()),
            "other" => Err(Denied::Forbidden),
            _ => Err(Denied::Unknown),
        }
    }
}

#[async_trait]
impl AsyncInvocations for Told {
    async fn accept(&self, call: AsyncCall) -> Result<InvocationId, NotAccepted> {
        if let Some(error) = self.full.lock().unwrap().clone() {
            return Err(error);
        }
        self.accepted.lock().unwrap().push(call);
        Ok(InvocationId::new())
    }
}

#[async_trait]
impl InstanceHost for Told {
    async fn retire(&self, key: InstanceKey, reason: RetireReason) {
        self.retired.send_modify(|retired| retired.push((key, reason)));
    }
}

/// A node with so many places for instances; how many is not known, if it does not say.
pub(crate) struct Places {
    pub(crate) free: watch::Sender<Option<u32>>,
    /// How often it was asked.
    pub(crate) asked: AtomicU32,
    pub(crate) queue: Arc<EmbeddedQueue>,
}

impl NodeRoom for Places {
    fn room(&self, _: FunctionId, _: u32, _: &VersionFacts) -> Option<RoomLeft> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let free = (*self.free.borrow())?;
        let asked = self.queue.stats();
        let asked = u32::try_from(asked.waiting + asked.claimed).unwrap();
        Some(RoomLeft {
            on_books: free,
            unasked: free.saturating_sub(asked),
        })
    }

    fn changes(&self) -> stream::BoxStream<'static, ()> {
        let changes = stream::unfold(self.free.subscribe(), async |mut free| {
            free.changed().await.ok()?;
            Some(((), free))
        });
        changes.boxed()
    }
}

impl RateLimit for Told {
    fn take(&self, _: ProjectId) -> Result<(), Duration> {
        let mut rate = self.rate.lock().unwrap();
        match rate.as_mut() {
            Some(0) => Err(Duration::from_millis(1500)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl CallObserver for Told {
    fn finished(&self, call: CallRecord) {
        self.calls.send_modify(|calls| calls.push(call));
    }
}

/// Waits until what is told satisfies the condition.
pub(crate) async fn until<T: Clone>(told: &watch::Sender<Vec<T>>, wanted: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut told = told.subscribe();
    let seen = tokio::time::timeout(Duration::from_secs(20), told.wait_for(|all| wanted(all))).await;
    seen.expect("it was not told in time").unwrap().clone()
}

pub(crate) fn told() -> Arc<Told> {
    Arc::default()
}
