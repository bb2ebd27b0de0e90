//! Watching folders: as a stream, or as a watcher that is asked from time to time.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::filesystem::watch_dir_response::{Event, KeepAlive, StartEvent};
use hearth_guest_api::filesystem::{
    CreateWatcherRequest, CreateWatcherResponse, FilesystemEvent, GetWatcherEventsResponse, RemoveWatcherResponse,
    WatchDirRequest, WatchDirResponse,
};
use tokio::task::JoinHandle;

use super::body::Response;
use super::filesystem::path_of;
use super::rpc::{self, Call, Sink};
use crate::inotify::{Wanted, Watch};
use crate::process::users::Identity;

const MAX_WATCHERS: usize = 256;
/// Kept for a watcher that is not asked; older ones are dropped.
const MAX_PENDING_EVENTS: usize = 4096;

fn response(event: Event) -> WatchDirResponse {
    WatchDirResponse { event: Some(event) }
}

pub(super) async fn watch_dir(user: Identity, call: Call) -> Response {
    let (keepalive, timeout) = (call.keepalive, call.timeout);
    rpc::server_stream(
        call,
        async move |request: WatchDirRequest, sink: &Sink<WatchDirResponse>| {
            let wanted = Wanted {
                is_recursive: request.recursive,
                include_entry: request.include_entry,
                allow_remote: request.allow_network_mounts,
            };
            let mut watch = Watch::new(&path_of(&user, &request.path)?, wanted)?;
            if sink.send(&response(Event::Start(StartEvent {}))).await.is_err() {
                return Ok(());
            }
            let mut pending: VecDeque<FilesystemEvent> = VecDeque::new();
            let mut failed = None;
            let ping = response(Event::Keepalive(KeepAlive {}));
            rpc::forward(sink, (keepalive, ping), rpc::deadline(timeout), async || {
                if pending.is_empty() {
                    let events = watch.next().await.map_err(|error| failed = Some(error));
                    pending.extend(events.unwrap_or_default());
                }
                pending.pop_front().map(|event| response(Event::Filesystem(event)))
            })
            .await?;
            failed.map_or(Ok(()), Err)
        },
    )
    .await
}

/// What a watcher has seen and nobody has asked for yet.
#[derive(Default)]
struct Seen {
    events: VecDeque<FilesystemEvent>,
    /// Why it sees no more.
    failed: Option<ConnectError>,
}

/// A watcher, and the task that collects its events, which ends with it.
struct Watcher {
    seen: Rc<RefCell<Seen>>,
    collecting: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.collecting.abort();
    }
}

/// The watchers that clients made.
#[derive(Default)]
pub(crate) struct Watchers {
    watchers: RefCell<HashMap<String, Watcher>>,
    made: Cell<u64>,
}

impl Watchers {
    pub(super) fn create(
        &self,
        user: &Identity,
        request: &CreateWatcherRequest,
    ) -> Result<CreateWatcherResponse, ConnectError> {
        if self.watchers.borrow().len() >= MAX_WATCHERS {
            return Err(ConnectError::new(
                Code::ResourceExhausted,
                format!("{MAX_WATCHERS} watchers exist; remove some first"),
            ));
        }
        let wanted = Wanted {
            is_recursive: request.recursive,
            include_entry: request.include_entry,
            allow_remote: request.allow_network_mounts,
        };
        let watch = Watch::new(&path_of(user, &request.path)?, wanted)?;
        let seen = Rc::default();
        let collecting = tokio::task::spawn_local(collect(watch, Rc::clone(&seen)));
        self.made.set(self.made.get() + 1);
        let watcher_id = format!("w{}", self.made.get());
        self.watchers
            .borrow_mut()
            .insert(watcher_id.clone(), Watcher { seen, collecting });
        Ok(CreateWatcherResponse { watcher_id })
    }

    pub(super) fn take_events(&self, id: &str) -> Result<GetWatcherEventsResponse, ConnectError> {
        let watchers = self.watchers.borrow();
        let watcher = watchers.get(id).ok_or_else(|| unknown(id))?;
        let mut seen = watcher.seen.borrow_mut();
        let events: Vec<_> = seen.events.drain(..).collect();
        match &seen.failed {
            Some(error) if events.is_empty() => Err(error.clone()),
            _ => Ok(GetWatcherEventsResponse { events }),
        }
    }

    pub(super) fn remove(&self, id: &str) -> Result<RemoveWatcherResponse, ConnectError> {
        self.watchers
            .borrow_mut()
            .remove(id)
            .map(|_| RemoveWatcherResponse {})
            .ok_or_else(|| unknown(id))
    }
}

fn unknown(id: &str) -> ConnectError {
    ConnectError::new(Code::NotFound, format!("watcher with id {id} not found"))
}

async fn collect(mut watch: Watch, seen: Rc<RefCell<Seen>>) {
    loop {
        let more = match watch.next().await {
            Ok(events) if events.is_empty() => return,
            Ok(events) => events,
            Err(error) => {
                seen.borrow_mut().failed = Some(error);
                return;
            }
        };
        let events = &mut seen.borrow_mut().events;
        events.extend(more);
        let excess = events.len().saturating_sub(MAX_PENDING_EVENTS);
        events.drain(..excess);
    }
}
