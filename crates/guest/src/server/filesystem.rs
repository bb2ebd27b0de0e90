//! `filesystem.Filesystem`.

use std::path::PathBuf;
use std::rc::Rc;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::filesystem::{
    CreateWatcherRequest, EntryInfo, GetWatcherEventsRequest, ListDirRequest, ListDirResponse, MakeDirRequest,
    MakeDirResponse, MoveRequest, MoveResponse, RemoveRequest, RemoveResponse, RemoveWatcherRequest, StatRequest,
    StatResponse,
};

use super::body::Response;
use super::rpc::{self, Call};
use super::watch;
use crate::agent::Agent;
use crate::files::{Owner, entry, tree};
use crate::paths::resolve;
use crate::process::users::{Accounts, Identity};

pub(super) async fn serve(agent: Rc<Agent>, method: &str, call: Call) -> Response {
    if !matches!(
        method,
        "Stat"
            | "MakeDir"
            | "Move"
            | "ListDir"
            | "Remove"
            | "WatchDir"
            | "CreateWatcher"
            | "GetWatcherEvents"
            | "RemoveWatcher"
    ) {
        return rpc::unknown_method(method);
    }
    let user = match agent.identity(call.user.as_deref()) {
        Ok(user) => user,
        Err(error) => return rpc::unary_error(&error),
    };
    match method {
        "Stat" => rpc::unary(call, async |request: StatRequest| stat(&user, request).await).await,
        "MakeDir" => rpc::unary(call, async |request: MakeDirRequest| make_dir(&user, request).await).await,
        "Move" => rpc::unary(call, async |request: MoveRequest| rename(&user, request).await).await,
        "ListDir" => rpc::unary(call, async |request: ListDirRequest| list_dir(&user, request).await).await,
        "Remove" => rpc::unary(call, async |request: RemoveRequest| remove(&user, request).await).await,
        "WatchDir" => watch::watch_dir(user, call).await,
        "CreateWatcher" => {
            rpc::unary(call, async |request: CreateWatcherRequest| {
                agent.watchers.create(&user, &request)
            })
            .await
        }
        "GetWatcherEvents" => {
            rpc::unary(call, async |request: GetWatcherEventsRequest| {
                agent.watchers.take_events(&request.watcher_id)
            })
            .await
        }
        _ => {
            rpc::unary(call, async |request: RemoveWatcherRequest| {
                agent.watchers.remove(&request.watcher_id)
            })
            .await
        }
    }
}

/// Runs file work on a helper thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConnectError> + Send + 'static,
) -> Result<T, ConnectError> {
    let failed = |_| ConnectError::new(Code::Internal, "the file work was cut off");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

pub(super) fn path_of(user: &Identity, path: &str) -> Result<PathBuf, ConnectError> {
    resolve(path, &user.home).map_err(|error| ConnectError::new(Code::InvalidArgument, error.to_string()))
}

async fn entry_of(path: PathBuf) -> Result<Option<EntryInfo>, ConnectError> {
    blocking(move || entry::read(&path, &Accounts::load()).map(Some)).await
}

async fn stat(user: &Identity, request: StatRequest) -> Result<StatResponse, ConnectError> {
    Ok(StatResponse {
        entry: entry_of(path_of(user, &request.path)?).await?,
    })
}

async fn make_dir(user: &Identity, request: MakeDirRequest) -> Result<MakeDirResponse, ConnectError> {
    let (path, owner) = (path_of(user, &request.path)?, Owner::from(user));
    let made = path.clone();
    blocking(move || tree::make(&made, &owner)).await?;
    Ok(MakeDirResponse {
        entry: entry_of(path).await?,
    })
}

async fn rename(user: &Identity, request: MoveRequest) -> Result<MoveResponse, ConnectError> {
    let (source, destination) = (path_of(user, &request.source)?, path_of(user, &request.destination)?);
    let (owner, target) = (Owner::from(user), destination.clone());
    blocking(move || tree::rename(&source, &target, &owner)).await?;
    Ok(MoveResponse {
        entry: entry_of(destination).await?,
    })
}

async fn list_dir(user: &Identity, request: ListDirRequest) -> Result<ListDirResponse, ConnectError> {
    let path = path_of(user, &request.path)?;
    let entries = blocking(move || tree::list(&path, request.depth, &Accounts::load())).await?;
    Ok(ListDirResponse { entries })
}

async fn remove(user: &Identity, request: RemoveRequest) -> Result<RemoveResponse, ConnectError> {
    let path = path_of(user, &request.path)?;
    blocking(move || tree::remove(&path)).await.map(|()| RemoveResponse {})
}
