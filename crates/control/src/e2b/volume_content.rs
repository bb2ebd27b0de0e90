//! Files of volumes. They are asked for with the volume's token, which opens that volume and nothing else.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, State},
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use hearth_api::ProblemCode;
use hearth_ids::VolumeId;
use hearth_volume::{Changes, Entry, EntryKind, Folder, LIST_BYTES_MAX, LIST_MAX, Uploading, VolumePath};
use http::{HeaderMap, StatusCode, header, request::Parts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use crate::{
    app::App,
    error::{ApiError, ApiResult},
    extract::{self, ApiBody, ApiPath, ApiQuery},
    layers::too_many,
    volumes,
};

/// `ELOOP`.
const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();
/// What is read of a file at a time, in bytes.
const CHUNK: usize = 64 * 1024;

/// Whether a request is about files of a volume.
pub(crate) fn is_meant(request: &Parts) -> bool {
    let mut parts = request.uri.path().trim_start_matches('/').split('/');
    parts.next() == Some("volumecontent") && parts.next().is_some() && parts.next().is_some()
}

/// A volume whose token the request shows.
pub(super) struct Opened(Arc<Folder>);

impl FromRequestParts<Arc<App>> for Opened {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> ApiResult<Self> {
        let ApiPath(wanted) = ApiPath::from_request_parts(parts, app).await?;
        // Without the token nobody is told whether there is such a volume.
        let refused = || {
            ApiError::new(
                ProblemCode::Unauthorized,
                "the volume's token is needed: `Authorization: Bearer …`",
            )
        };
        let id: VolumeId = wanted.parse().map_err(|_| refused())?;
        let shown = bearer(&parts.headers).ok_or_else(refused)?;
        if !bool::from(volumes::token(app, id).as_bytes().ct_eq(shown.as_bytes())) {
            return Err(refused());
        }
        let row = app.store.volume(id).await?;
        let row = row.ok_or_else(|| volumes::no_volume(&wanted))?;
        app.limits.take_known(row.project).map_err(too_many)?;
        Ok(Self(volumes::folder(app, &row).await?))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Opened {
    /// Does something with the volume's files, where it may block.
    async fn run<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&Arc<Folder>, VolumePath) -> io::Result<T> + Send + 'static,
    ) -> ApiResult<T> {
        let parsed = parsed(path)?;
        let done = self.0.blocking(move |folder| work(folder, parsed)).await;
        done.flatten().map_err(|error| refused(path, error))
    }
}

fn parsed(path: &str) -> ApiResult<VolumePath> {
    VolumePath::parse(path).map_err(|error| ApiError::field("path", error.to_string()))
}

fn refused(path: &str, error: io::Error) -> ApiError {
    use io::ErrorKind as Kind;
    let path: String = path.chars().take(80).collect();
    let field = |why: &str| ApiError::field("path", format!("path {path:?} {why}"));
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory => ApiError::new(
            ProblemCode::PathNotFound,
            format!("there is no {path:?} in the volume, or no folder to put it in"),
        ),
        Kind::AlreadyExists => ApiError::new(
            ProblemCode::NameTaken,
            format!("there is something at {path:?} in the volume already; remove it, or choose another path"),
        ),
        Kind::IsADirectory => field("is a folder; name a file"),
        Kind::InvalidInput => field("is no file that can be read or written"),
        Kind::ResourceBusy => field("is the volume itself; remove the volume instead"),
        _ if error.raw_os_error() == Some(LOOP) => field("leads through links that lead to themselves"),
        Kind::InvalidFilename => field("has a name that is too long"),
        Kind::ArgumentListTooLong => field(&format!(
            "has more than {LIST_MAX} entries within, or {} MiB of names and links; list its folders one by one, with a lower depth",
            LIST_BYTES_MAX >> 20
        )),
        Kind::QuotaExceeded => ApiError::new(
            ProblemCode::VolumeFull,
            "the volume has no room for that; remove files from it",
        ),
        Kind::StorageFull => ApiError::new(
            ProblemCode::DiskFull,
            "what the host's disk has left is not for volumes",
        ),
        Kind::StaleNetworkFileHandle => volumes::no_volume("of this address"),
        _ => ApiError::internal(format!("the host's disk failed at {path:?} of a volume")).caused_by(error),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PathQuery {
    path: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    path: String,
    depth: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NewQuery {
    path: String,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
    force: Option<bool>,
}

impl NewQuery {
    fn changes(&self) -> ApiResult<Changes> {
        changes(self.uid, self.gid, self.mode)
    }
}

/// What is to be set. The last of all numbers is no user and no group: to the kernel it says that nothing changes.
fn changes(uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> ApiResult<Changes> {
    for (name, id) in [("uid", uid), ("gid", gid)] {
        if id == Some(u32::MAX) {
            return Err(ApiError::field(
                name,
                format!("{name} {} is nobody's; name a smaller one", u32::MAX),
            ));
        }
    }
    Ok(Changes { uid, gid, mode })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
}

/// An entry as E2B has it.
#[derive(Debug, Serialize)]
pub(super) struct VolumeEntry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    atime: String,
    mtime: String,
    ctime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

fn shown(entry: Entry) -> VolumeEntry {
    VolumeEntry {
        kind: match entry.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink => "symlink",
            EntryKind::Unknown => "unknown",
        },
        atime: time(entry.accessed),
        mtime: time(entry.modified),
        ctime: time(entry.changed),
        name: entry.name,
        path: entry.path,
        size: entry.size,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        target: entry.target,
    }
}

/// Guests may set any time.
fn time((seconds, nanoseconds): (i64, u32)) -> String {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    let time = Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_string()
}

/// `GET …/path`.
pub(super) async fn stat(volume: Opened, ApiQuery(query): ApiQuery<PathQuery>) -> ApiResult<Json<VolumeEntry>> {
    let entry = volume.run(&query.path, |folder, path| folder.stat(&path)).await?;
    Ok(Json(shown(entry)))
}

/// `PATCH …/path`: user, group and mode.
pub(super) async fn change(
    volume: Opened,
    ApiQuery(query): ApiQuery<PathQuery>,
    body: ApiBody,
) -> ApiResult<Json<VolumeEntry>> {
    let Metadata { uid, gid, mode } = body.json_or_default().await?;
    let changes = changes(uid, gid, mode)?;
    let entry = volume.run(&query.path, move |folder, path| folder.change(&path, changes));
    Ok(Json(shown(entry.await?)))
}

/// `DELETE …/path`: with all that is in it.
pub(super) async fn remove(volume: Opened, ApiQuery(query): ApiQuery<PathQuery>) -> ApiResult<StatusCode> {
    let removed = volume.0.remove_slowly(parsed(&query.path)?).await;
    removed.map_err(|error| refused(&query.path, error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET …/dir`.
pub(super) async fn list(volume: Opened, ApiQuery(query): ApiQuery<ListQuery>) -> ApiResult<Json<Vec<VolumeEntry>>> {
    let depth = query.depth.unwrap_or(1);
    if depth == 0 {
        return Err(ApiError::field("depth", "depth 0 is not valid: 1 is the folder alone"));
    }
    let listed = volume.run(&query.path, move |folder, path| {
        let listed = folder.list(&path, depth)?;
        Ok(listed.into_iter().map(shown).collect())
    });
    Ok(Json(listed.await?))
}

/// `POST …/dir`.
pub(super) async fn make_dir(
    volume: Opened,
    ApiQuery(query): ApiQuery<NewQuery>,
) -> ApiResult<(StatusCode, Json<VolumeEntry>)> {
    let (changes, parents) = (query.changes()?, query.force.unwrap_or(false));
    let made = volume.run(&query.path, move |folder, path| {
        folder.make_dir(&path, changes, parents)
    });
    Ok((StatusCode::CREATED, Json(shown(made.await?))))
}

/// `GET …/file`: as it is sent, piece by piece.
pub(super) async fn read(volume: Opened, ApiQuery(query): ApiQuery<PathQuery>) -> ApiResult<Response> {
    let (file, length) = volume.run(&query.path, |folder, path| folder.read(&path)).await?;
    // No more than was announced, should it grow.
    let file = tokio::fs::File::from_std(file).take(length);
    let body = Body::from_stream(ReaderStream::with_capacity(file, CHUNK));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, body).into_response())
}

/// `PUT …/file`: it is there once all of it has come.
pub(super) async fn write(
    volume: Opened,
    State(_): State<Arc<App>>,
    ApiQuery(query): ApiQuery<NewQuery>,
    body: Body,
) -> ApiResult<(StatusCode, Json<VolumeEntry>)> {
    let (changes, parents) = (query.changes()?, query.force.unwrap_or(false));
    let failed = |error| refused(&query.path, error);
    let begun = Uploading::begin(&volume.0, parsed(&query.path)?, changes, parents);
    let mut upload = begun.await.map_err(failed)?;
    let mut chunks = extract::chunks(body);
    while let Some(chunk) = chunks.next().await {
        upload.write(chunk?).await.map_err(failed)?;
    }
    let entry = upload.finish().await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(shown(entry))))
}
