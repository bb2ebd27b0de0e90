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
use super::rpc::{self, Call, Sink};
use crate::inotify::Watch;
use crate::paths::expand;
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
            let mut watch = Watch::new(
                &expand(&request.path, &user.home),
                request.recursive,
                request.include_entry,
            )?;
            if sink.send(&response(Event::Start(StartEvent {}))).await.is_err() {
                return Ok(());
            }
            let mut pending: VecDeque<FilesystemEvent> = VecDeque::new();
            let ping = response(Event::Keepalive(KeepAlive {}));
            rpc::forward(sink, (keepalive, ping), rpc::deadline(timeout), async || {
                while pending.is_empty() {
                    pending.extend(watch.next().await.ok()?);
                }
                pending.pop_front().map(|event| response(Event::Filesystem(event)))
            })
            .await
        },
    )
    .await
}

/// A watcher's events, and the task that collects them, which ends with it.
struct Watcher {
    events: Rc<RefCell<VecDeque<FilesystemEvent>>>,
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
        let watch = Watch::new(
            &expand(&request.path, &user.home),
            request.recursive,
            request.include_entry,
        )?;
        let events = Rc::new(RefCell::new(VecDeque::new()));
        let collecting = tokio::task::spawn_local(collect(watch, Rc::clone(&events)));
        self.made.set(self.made.get() + 1);
        let watcher_id = format!("w{}", self.made.get());
        self.watchers
            .borrow_mut()
            .insert(watcher_id.clone(), Watcher { events, collecting });
        Ok(CreateWatcherResponse { watcher_id })
    }

    pub(super) fn take_events(&self, id: &str) -> Result<GetWatcherEventsResponse, ConnectError> {
        let watchers = self.watchers.borrow();
        let watcher = watchers.get(id).ok_or_else(|| unknown(id))?;
        let events = watcher.events.borrow_mut().drain(..).collect();
        Ok(GetWatcherEventsResponse { events })
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

async fn collect(mut watch: Watch, events: Rc<RefCell<VecDeque<FilesystemEvent>>>) {
    while let Ok(more) = watch.next().await {
        let mut events = events.borrow_mut();
        events.extend(more);
        let excess = events.len().saturating_sub(MAX_PENDING_EVENTS);
        events.drain(..excess);
    }
}
