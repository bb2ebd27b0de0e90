//! `/files`: a file's content, up or down, of any size, with tokens or signed addresses.

pub(super) mod compose;
mod content;
mod upload;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use hearth_guest_api::files::{FileOperation, same_secret, signature};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use rustix::fs::OFlags;

use super::body::{self, Body, Incoming, Response};
use super::named_user;
use crate::agent::Agent;
use crate::clock::unix_ns;
use crate::files::is_loop;
use crate::paths::{PathError, resolve};
use crate::process::users::Identity;

/// Moved between disk and socket at once.
const PIECE_BYTES: usize = 256 * 1024;
/// A silent uploader is given up.
const UPLOAD_SILENCE: std::time::Duration = std::time::Duration::from_mins(2);

/// An error as it is answered.
struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, format!("path '{shown}' does not exist")),
            io::ErrorKind::IsADirectory => Self::bad(format!("path '{shown}' is a directory")),
            // The latter of a link that leads nowhere, where a directory was to be made.
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                Self::bad(format!("a part of path '{shown}' is not a directory"))
            }
            io::ErrorKind::InvalidFilename => Self::bad(format!("a name in the path '{shown:.200}' is too long")),
            _ if is_loop(error) => Self::bad(format!("path '{shown}' leads through too many links")),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                format!("not enough disk space for '{shown}'"),
            ),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::new(StatusCode::FORBIDDEN, format!("'{shown}': {error}"))
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("'{shown}': {error}")),
        }
    }
}

pub(super) async fn serve(agent: Rc<Agent>, request: Request<Incoming>) -> Response {
    let operation = if request.method() == Method::GET {
        FileOperation::Read
    } else {
        FileOperation::Write
    };
    let query = parse_query(request.uri().query().unwrap_or_default());
    let served = match authorize(&agent, request.headers(), &query, operation) {
        Err(refused) => Err(refused),
        Ok(user) if operation == FileOperation::Read => download(&user, &query).await,
        Ok(user) => upload::serve(&user, &query, request).await,
    };
    served.unwrap_or_else(|refused| body::json_error(refused.status, &refused.message))
}

/// `a=b&c=d` with percent-encoding and `+` for a space; the first of a repeated name counts.
pub(super) fn parse_query(query: &str) -> HashMap<String, String> {
    let mut parsed = HashMap::new();
    for pair in query.split('&').take(32) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parsed
            .entry(decode_percent(name))
            .or_insert_with(|| decode_percent(value));
    }
    parsed
}

fn decode_percent(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}

/// By the access token, or by a signature over path, operation and user. Gives the user to act for.
fn authorize(
    agent: &Agent,
    headers: &HeaderMap,
    query: &HashMap<String, String>,
    operation: FileOperation,
) -> Result<Identity, Refused> {
    let denied = |message: &str| Refused::new(StatusCode::UNAUTHORIZED, message);
    let is_signed = agent.check_access(headers).is_err();
    if is_signed {
        check_signature(agent, query, operation, unix_ns() / 1_000_000_000).map_err(denied)?;
    }
    let named = query
        .get("username")
        .cloned()
        .filter(|name| !name.is_empty())
        // Whom a signature names is in the address; a header is whatever its bearer likes.
        .or_else(|| named_user(headers).filter(|_| !is_signed));
    agent.identity(named.as_deref()).map_err(|error| denied(&error.message))
}

fn check_signature(
    agent: &Agent,
    query: &HashMap<String, String>,
    operation: FileOperation,
    now: i64,
) -> Result<(), &'static str> {
    let settings = agent.settings.borrow();
    let token = settings
        .tokens
        .as_ref()
        .map(|tokens| tokens.access.as_str())
        .filter(|token| !token.is_empty());
    let given = query.get("signature").ok_or("missing signature query parameter")?;
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    let expiration = match text("signature_expiration") {
        "" => None,
        seconds => Some(
            seconds
                .parse::<i64>()
                .map_err(|_| "signature expiration is not a number")?,
        ),
    };
    let expected = signature(
        text("path"),
        operation,
        text("username"),
        token.ok_or("invalid signature")?,
        expiration,
    );
    if !same_secret(expected.as_bytes(), given.as_bytes()) {
        return Err("invalid signature");
    }
    if expiration.is_some_and(|expiration| expiration < now) {
        Err("signature is already expired")
    } else {
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    let failed = |_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the file work was cut off");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

fn path_in(user: &Identity, path: &str) -> Result<PathBuf, Refused> {
    resolve(path, &user.home).map_err(|error: PathError| Refused::bad(error.to_string()))
}

/// Nothing that is made to be read or written by waiting: a pipe that nobody holds the other end of would keep a helper thread.
fn without_waiting() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options
}

async fn download(user: &Identity, query: &HashMap<String, String>) -> Result<Response, Refused> {
    let path = path_in(user, query.get("path").map_or("", String::as_str))?;
    let (file, length) = blocking(move || open_regular(&path)).await?;
    let (pieces, body) = Body::pieces();
    tokio::task::spawn_local(async move {
        let mut file = file;
        loop {
            let read = tokio::task::spawn_blocking(move || read_piece(file)).await;
            let (again, piece) = match read {
                Ok(Ok((_, piece))) if piece.is_empty() => return,
                Ok(Ok(read)) => read,
                // The receiver cuts the connection; whether it still listens does not matter.
                Ok(Err(error)) => return drop(pieces.send(Err(error)).await),
                Err(_) => return,
            };
            file = again;
            if pieces.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    });
    let mut response = body::with_type(StatusCode::OK, "application/octet-stream", body);
    // Unknown for files that the kernel makes up as they are read.
    if length > 0 {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// The file, limited to the length it had when it was opened, so that one that grows does not break the answer.
fn open_regular(path: &Path) -> Result<(io::Take<File>, u64), Refused> {
    let metadata = std::fs::metadata(path).map_err(|error| Refused::io(path, &error))?;
    if metadata.is_dir() {
        return Err(Refused::bad(format!("path '{}' is a directory", path.display())));
    }
    if !metadata.is_file() {
        return Err(Refused::bad(format!("path '{}' is not a regular file", path.display())));
    }
    let opened = without_waiting().read(true).open(path);
    let file = opened.map_err(|error| Refused::io(path, &error))?;
    let limit = if metadata.len() == 0 { u64::MAX } else { metadata.len() };
    Ok((file.take(limit), metadata.len()))
}

fn read_piece(mut file: io::Take<File>) -> io::Result<(io::Take<File>, Bytes)> {
    let mut piece = vec![0; PIECE_BYTES];
    let length = file.read(&mut piece)?;
    piece.truncate(length);
    Ok((file, piece.into()))
}

async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Refused> {
    loop {
        let silent = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, "the content stopped coming");
        let Some(frame) = tokio::time::timeout(UPLOAD_SILENCE, body.frame())
            .await
            .map_err(silent)?
        else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| Refused::bad(format!("the content broke off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query = parse_query("path=%2Fa%20b+c&username=&x&path=second&bad=%zz%4");
        assert_eq!(query["path"], "/a b c");
        assert_eq!(query["bad"], "%zz%4");
        assert!(query.contains_key("x"));
    }
}
