//! What a call works with: the daemon, as its caller; and over stdio, the sandboxes that go when the agent does.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hearth_api::{CreateSandbox, ResumeSandbox, Sandbox};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;
use jiff::Timestamp;
use tokio::{sync::RwLock, task::JoinSet, time::timeout};
use tracing::warn;

use crate::failure::Failure;

/// A call of the daemon's that takes no guest's time.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// Making a sandbox, or waking one: it may boot.
const BEGIN_WITHIN: Duration = Duration::from_mins(3);
/// Removing all that a session leaves. Clients do not wait much longer before they kill us.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Characters of an ID.
const ID_MAX: usize = 64;
/// A sandbox lasts so much longer than a command in it may, in seconds.
const SLACK_S: i64 = 30;

/// One caller of the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    own: Option<Arc<Own>>,
}

impl Session {
    /// Of a caller whose sandboxes end with `own`, if there is one.
    pub(crate) fn new(client: Client, own: Option<Arc<Own>>) -> Self {
        Self { client, own }
    }

    /// Makes a sandbox. It is done to its end even if the agent does not wait for it, so that none is made that nobody knows of.
    pub(crate) async fn create(&self, request: CreateSandbox) -> Result<Sandbox, Failure> {
        let session = self.clone();
        let made = tokio::spawn(async move {
            let Some(own) = &session.own else {
                return session.post(&["sandboxes"], &request).await;
            };
            let _under_way = own.under_way.read().await;
            let made: Sandbox = session.post(&["sandboxes"], &request).await?;
            own.add(made.id.to_string());
            Ok(made)
        });
        made.await
            .unwrap_or_else(|error| Err(Failure::new(format!("the sandbox could not be made: {error}"))))
    }

    /// A sandbox that is to be used now, for so long: it is woken if it is paused, and its end is put off.
    pub(crate) async fn wake(&self, id: &str, lasting: Duration) -> Result<Sandbox, Failure> {
        let sandbox: Sandbox = self
            .post(&["sandboxes", checked(id)?, "resume"], &ResumeSandbox::default())
            .await?;
        let needed_s = i64::try_from(lasting.as_secs())
            .unwrap_or(i64::MAX)
            .saturating_add(SLACK_S);
        if sandbox.ends_at.duration_since(Timestamp::now()).as_secs() >= needed_s {
            return Ok(sandbox);
        }
        let request = ResumeSandbox {
            timeout_s: Some(needed_s),
            ..ResumeSandbox::default()
        };
        self.post(&["sandboxes", id, "resume"], &request).await
    }

    /// Removes a sandbox.
    pub(crate) async fn kill(&self, id: &str) -> Result<(), Failure> {
        let path = ApiPath::v1(&["sandboxes", checked(id)?]);
        within(CALL_WITHIN, "the daemon", self.client.act(Method::DELETE, &path)).await?;
        if let Some(own) = &self.own {
            own.forget(id);
        }
        Ok(())
    }

    /// Reads a resource of a sandbox, or of all.
    pub(crate) async fn get<T: serde::de::DeserializeOwned>(&self, path: &ApiPath) -> Result<T, Failure> {
        within(CALL_WITHIN, "the daemon", self.client.get(path)).await
    }

    /// Asks for something that may take a guest's time.
    pub(crate) async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl serde::Serialize + Sync),
    ) -> Result<T, Failure> {
        let path = ApiPath::v1(path);
        within(BEGIN_WITHIN, "the daemon", self.client.post_json(&path, body)).await
    }
}

/// What is an ID, or could be the beginning of one.
pub(crate) fn checked(id: &str) -> Result<&str, Failure> {
    let fits = !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits {
        Ok(id)
    } else {
        Err(Failure::field(
            "sandbox",
            id,
            "write an ID as sandbox_create and sandbox_list give it",
        ))
    }
}

/// Waits so long for the daemon.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Failure> {
    match timeout(limit, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Failure::late(what, limit)),
    }
}

/// The sandboxes that a session made and has not removed.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Read while one is being made, so that the end of the session misses none.
    under_way: RwLock<()>,
    ids: Mutex<BTreeSet<String>>,
}

impl Own {
    fn add(&self, id: String) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// An agent may call a sandbox by the beginning of its ID.
    fn forget(&self, id: &str) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.retain(|own| !own.starts_with(id));
    }

    /// Removes them all; those that cannot be reached any more end by their own time.
    pub(crate) async fn end(&self, client: &Client) {
        let ended = timeout(END_WITHIN, async {
            let _none_under_way = self.under_way.write().await;
            let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
            let mut removals = JoinSet::new();
            for id in ids {
                let client = client.clone();
                removals.spawn(async move {
                    let path = ApiPath::v1(&["sandboxes", &id]);
                    if let Err(error) = client.act(Method::DELETE, &path).await {
                        warn!(sandbox = id, %error, "the sandbox was not removed; it ends by its own time");
                    }
                });
            }
            removals.join_all().await;
        });
        if ended.await.is_err() {
            warn!("not all sandboxes could be removed in time; they end by their own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_no_id_is_not_sent() {
        assert!(checked("sbx01k9zs7m3q6ev2y8d4xw0abcde").is_ok());
        for bad in ["", "../x", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_that_is_gone_is_not_removed_again() {
        let own = Own::default();
        own.add("sbx1a".into());
        own.add("sbx2b".into());
        own.forget("sbx1");
        assert_eq!(own.ids.lock().unwrap().iter().collect::<Vec<_>>(), ["sbx2b"]);
    }
}
