//! Keeping calls: many in one commit, each answered for once it is on the disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hearth_gateway::{AsyncCall, AsyncInvocations, NotAccepted};
use hearth_ids::{FunctionId, InvocationId, ProjectId};
use hearth_store::{Held, InvocationSource, Kept, NewInvocation, RequestHead, Store};
use http::{HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{fault, time::now_unix_ms};

/// Calls in one commit.
const BATCH_MAX: usize = 512;
/// Calls that wait for their commit, and their bytes in KiB; further ones are refused.
const WAITING_MAX: usize = 8192;
const WAITING_KIB: usize = 64 * 1024;
/// What the kept calls of a project may take: calls, and bytes of their requests and answers.
const HELD_CALLS_MAX: u64 = 200_000;
const HELD_BYTES_MAX: u64 = 1024 * 1024 * 1024;

type Answer = oneshot::Sender<Result<Kept, NotAccepted>>;
/// A call, and its share of the bytes that may wait.
type Waiting = (NewInvocation, OwnedSemaphorePermit, Answer);

/// Keeps calls.
pub(crate) struct Keeper {
    store: Store,
    waiting: mpsc::Sender<Waiting>,
    waiting_kib: Arc<Semaphore>,
    /// What projects' calls take, as last read, and what came since.
    held: Mutex<HashMap<ProjectId, Held>>,
    /// Wakes whoever runs them.
    pub(crate) kept: Arc<Notify>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
}

impl Keeper {
    /// Begins to write what it will be given. Needs a tokio runtime.
    pub(crate) fn new(store: Store) -> Self {
        let (waiting, calls) = mpsc::channel(WAITING_MAX);
        let (kept, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let writer = tokio::spawn(write(store.clone(), calls, Arc::clone(&kept), stop.clone()));
        Self {
            store,
            waiting,
            waiting_kib: Arc::new(Semaphore::new(WAITING_KIB)),
            held: Mutex::default(),
            kept,
            writer: Mutex::new(Some(writer)),
            stop,
        }
    }

    /// Keeps a call; it is on the disk when this returns.
    pub(crate) async fn keep(&self, call: NewInvocation) -> Result<Kept, NotAccepted> {
        self.hold(&call)?;
        let (project, bytes) = (call.project, size(&call));
        let outcome = self.hand_over(call).await;
        if !matches!(outcome, Ok(Kept::New(_))) {
            self.release(project, bytes);
        }
        outcome
    }

    /// Gives the call to the writer, and waits until it is on the disk.
    async fn hand_over(&self, call: NewInvocation) -> Result<Kept, NotAccepted> {
        let kib = u32::try_from(size(&call) / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.waiting_kib).try_acquire_many_owned(kib);
        let room = room.map_err(|_| NotAccepted::Full)?;
        let (answer, answered) = oneshot::channel();
        self.waiting
            .try_send((call, room, answer))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotAccepted::Full,
                mpsc::error::TrySendError::Closed(_) => going_down(),
            })?;
        answered.await.map_err(|_| going_down())?
    }

    /// Counts a call in, if its project may have one more.
    fn hold(&self, call: &NewInvocation) -> Result<(), NotAccepted> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.entry(call.project).or_default();
        let after = Held {
            calls: held.calls + 1,
            bytes: held.bytes + size(call),
        };
        if after.calls > HELD_CALLS_MAX || after.bytes > HELD_BYTES_MAX {
            return Err(NotAccepted::Full);
        }
        *held = after;
        Ok(())
    }

    /// Counts a call out that was not kept. It may have been forgotten already ([`learn`](Self::learn)).
    fn release(&self, project: ProjectId, bytes: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.get_mut(&project) {
            held.calls = held.calls.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(bytes);
        }
    }

    /// Learns what projects' calls take now.
    pub(crate) fn learn(&self, held: HashMap<ProjectId, Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// Keeps a call of a caller who wants its ID.
    pub(crate) async fn accept(&self, call: NewInvocation) -> Result<InvocationId, NotAccepted> {
        match self.keep(call).await? {
            Kept::New(id) | Kept::Before(id) => Ok(id),
            Kept::Mismatch => Err(NotAccepted::Conflict),
        }
    }

    /// Writes what is waiting, and ends.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let writer = self.writer.lock().ok().and_then(|mut writer| writer.take());
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            error!(%error, "the writer of kept calls ended badly");
        }
    }
}

fn going_down() -> NotAccepted {
    NotAccepted::Unavailable("the server goes down".into())
}

async fn write(store: Store, mut calls: mpsc::Receiver<Waiting>, kept: Arc<Notify>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            biased;
            count = calls.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
            () = stop.cancelled() => {
                // Nothing more comes in; what did is written.
                calls.close();
                continue;
            }
        }
        let (new, answers): (Vec<NewInvocation>, Vec<_>) = batch
            .drain(..)
            .map(|(call, room, answer)| (call, (room, answer)))
            .unzip();
        let outcomes: Vec<Result<Kept, NotAccepted>> = match store.keep_invocations(&new).await {
            Ok(outcomes) => {
                fault::point("call.kept");
                outcomes.into_iter().map(Ok).collect()
            }
            Err(error) => {
                error!(
                    error = hearth_domain::chain(&error),
                    calls = new.len(),
                    "cannot keep calls"
                );
                let reason = match error.hindrance() {
                    Some(why) => format!("{error}: {why}"),
                    None => error.to_string(),
                };
                new.iter()
                    .map(|_| Err(NotAccepted::Unavailable(reason.clone())))
                    .collect()
            }
        };
        for ((_room, answer), outcome) in answers.into_iter().zip(outcomes) {
            // Whoever asked may have gone; the call is kept all the same.
            let _ = answer.send(outcome);
        }
        kept.notify_one();
    }
}

#[async_trait]
impl AsyncInvocations for Keeper {
    async fn accept(&self, call: AsyncCall) -> Result<InvocationId, NotAccepted> {
        let unavailable = |error: hearth_store::StoreError| NotAccepted::Unavailable(error.to_string());
        let function = self.store.function(call.function).await.map_err(unavailable)?;
        let function = function.ok_or_else(|| NotAccepted::Unavailable("the function is gone".into()))?;
        let head = RequestHead {
            method: call.method.to_string(),
            path: call.path,
            headers: readable(&call.headers),
        };
        let qualifier = call.qualifier.to_string();
        let new = new_invocation(Wanted {
            project: function.spec.project,
            function: call.function,
            qualifier: Some(qualifier).filter(|qualifier| !qualifier.is_empty()),
            // Those of strangers are not those of the API and of triggers.
            key: call.idempotency_key.map(|key| format!("http:{key}")),
            source: InvocationSource::Http,
            head,
            body: call.body.into(),
        });
        Keeper::accept(self, new).await
    }
}

/// Bytes that a call takes, about.
fn size(call: &NewInvocation) -> u64 {
    let head: usize = call
        .head
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    (call.body.len() + head + call.head.path.len()) as u64
}

/// Headers that are text; others cannot be kept, and what proves who called need not be.
pub(crate) fn readable(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let proofs = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
    let known = headers.iter().filter(|(name, _)| !proofs.contains(name));
    known.filter_map(text).collect()
}

/// A header's name and value, if the value is text.
pub(super) fn text((name, value): (&HeaderName, &HeaderValue)) -> Option<(String, String)> {
    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
}

/// A call that somebody wants.
pub(crate) struct Wanted {
    pub(crate) project: ProjectId,
    pub(crate) function: FunctionId,
    pub(crate) qualifier: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) source: InvocationSource,
    pub(crate) head: RequestHead,
    pub(crate) body: Vec<u8>,
}

/// A call that is due now.
pub(crate) fn new_invocation(wanted: Wanted) -> NewInvocation {
    let mut hash = Sha256::new();
    let qualifier = wanted.qualifier.as_deref().unwrap_or_default();
    for part in [wanted.head.method.as_str(), wanted.head.path.as_str(), qualifier] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(&wanted.body);
    let now_unix_ms = now_unix_ms();
    NewInvocation {
        id: InvocationId::new(),
        project: wanted.project,
        function: wanted.function,
        qualifier: wanted.qualifier,
        key: wanted.key,
        fingerprint: hex::encode(hash.finalize()),
        source: wanted.source,
        head: wanted.head,
        body: wanted.body,
        due_unix_ms: now_unix_ms,
        created_unix_ms: now_unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use hearth_ids::ProjectId;

    use super::*;

    #[tokio::test]
    async fn a_call_that_is_not_kept_takes_no_share() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hearth.db")).await.unwrap();
        let keeper = Keeper::new(store);
        keeper.close().await;
        let call = new_invocation(Wanted {
            project: ProjectId::DEFAULT,
            function: FunctionId::new(),
            qualifier: None,
            key: None,
            source: InvocationSource::Http,
            head: RequestHead::default(),
            body: vec![0; 1000],
        });
        assert!(keeper.keep(call).await.is_err());
        let held = keeper.held.lock().unwrap()[&ProjectId::DEFAULT];
        assert_eq!(held, Held::default());
    }
}
