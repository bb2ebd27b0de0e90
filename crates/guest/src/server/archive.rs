//! `/hearth/archive`: a tree of the guest as a tar, out or in, with owners and modes. For the host's `cp`.
//!
//! Each runs on a thread of its own rather than on a shared helper, since it lasts as long as the other side is slow.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, Bytes};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};

use super::body::{self, Body, Incoming, Response};

const MAX_AT_ONCE: usize = 8;
const PIECE_BYTES: usize = 256 * 1024;
const UPLOAD_SILENCE: std::time::Duration = std::time::Duration::from_mins(2);
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A place among those that may run at once.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken = RUNNING.fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
            (running < MAX_AT_ONCE).then_some(running + 1)
        });
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) async fn serve(request: Request<Incoming>) -> Response {
    let query = super::files::parse_query(request.uri().query().unwrap_or_default());
    let Some(path) = query
        .get("path")
        .filter(|path| path.starts_with('/') && !path.contains('\0'))
    else {
        return body::json_error(StatusCode::BAD_REQUEST, "the query needs an absolute `path`");
    };
    let path = crate::paths::expand(path, "/");
    let Some(place) = Place::take() else {
        return body::json_error(
            StatusCode::TOO_MANY_REQUESTS,
            "too many archives at once; try again later",
        );
    };
    if request.method() == Method::GET {
        pack(path, place)
    } else {
        unpack(path, place, request.into_body()).await
    }
}

fn pack(path: PathBuf, place: Place) -> Response {
    if let Err(error) = fs::symlink_metadata(&path) {
        return io_error(&path, &error);
    }
    let (pieces, body) = Body::pieces();
    let failures = pieces.clone();
    let packed = std::thread::Builder::new().name("archive".into()).spawn(move || {
        let _place = place;
        let mut output = Output {
            pieces,
            pending: Vec::with_capacity(PIECE_BYTES),
        };
        if let Err(error) = write_tar(&path, &mut output).and_then(|()| output.flush()) {
            // Cuts the connection, so that nobody takes half a tar for a whole one.
            let _ = failures.blocking_send(Err(error));
        }
    });
    match packed {
        Ok(_) => body::with_type(StatusCode::OK, "application/x-tar", body),
        Err(error) => body::json_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("cannot start a thread: {error}"),
        ),
    }
}

fn write_tar(path: &Path, output: &mut Output) -> io::Result<()> {
    let mut builder = tar::Builder::new(output);
    builder.follow_symlinks(false);
    let name = path.file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut waiting = vec![(path.to_owned(), name)];
    while let Some((path, name)) = waiting.pop() {
        // Removed since its folder was read.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        // A tar has no word for a socket, and a socket is worth nothing elsewhere.
        if metadata.file_type().is_socket() {
            continue;
        }
        builder.append_path_with_name(&path, &name)?;
        if metadata.is_dir() {
            let mut inside: Vec<_> = fs::read_dir(&path)?
                .filter_map(|entry| Some(entry.ok()?.file_name()))
                .collect();
            inside.sort_unstable_by(|a, b| b.cmp(a));
            waiting.extend(inside.into_iter().map(|entry| (path.join(&entry), name.join(&entry))));
        }
    }
    builder.finish()
}

/// Collects small writes into pieces and waits while the client is slow.
struct Output {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(data);
        if self.pending.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.pending).into();
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn unpack(path: PathBuf, place: Place, mut body: Incoming) -> Response {
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return body::json_error(
                StatusCode::BAD_REQUEST,
                &format!("path '{}' is not a directory", path.display()),
            );
        }
        Err(error) => return io_error(&path, &error),
    }
    let (sender, receiver) = mpsc::channel(2);
    let (done, result) = oneshot::channel();
    let target = path.clone();
    let unpacking = std::thread::Builder::new().name("archive".into()).spawn(move || {
        let _place = place;
        // Nobody waits any more if the client has left.
        let _ = done.send(read_tar(
            Input {
                receiver,
                current: Bytes::new(),
            },
            &target,
        ));
    });
    if let Err(error) = unpacking {
        return body::json_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("cannot start a thread: {error}"),
        );
    }
    feed(&mut body, sender).await;
    match result.await {
        Ok(Ok(())) => body::status(StatusCode::NO_CONTENT),
        Ok(Err(error)) => io_error(&path, &error),
        Err(_) => body::json_error(StatusCode::INTERNAL_SERVER_ERROR, "unpacking was cut off"),
    }
}

/// Moves the request's body to the thread; a body that breaks off, or stops coming, becomes the thread's read error.
async fn feed(body: &mut Incoming, sender: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = match tokio::time::timeout(UPLOAD_SILENCE, body.frame()).await {
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
            Ok(None) => return,
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
        };
        let is_last = piece.is_err();
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

fn read_tar(input: Input, target: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(input);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(true);
    archive.set_overwrite(true);
    archive.unpack(target)?;
    // What follows the tar's end is padding; unread, it would break the connection.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(|_| ())
}

struct Input {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

fn io_error(path: &Path, error: &io::Error) -> Response {
    let status = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    // The outer error names the member, its source says why.
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    body::json_error(status, &format!("'{}': {error}{cause}", path.display()))
}
