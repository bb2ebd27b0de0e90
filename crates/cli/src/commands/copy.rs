//! `cp`: files between a machine and here, as tars.

use std::{
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::TryStreamExt;
use hearth_api::{ArchiveQuery, PATH_STAT_HEADER, PathKind, PathStat, ProblemCode};
use hearth_client::{ApiPath, ByteStream, Client, ClientError};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    image::ChunkWriter,
    machine_path,
    unpack::{Wanted, unpack},
};
use crate::{args::CpArgs, output::print_json};

/// Chunks that may wait for the other side.
const CHUNKS_MAX: usize = 4;

/// A side of a copy.
enum Side<'a> {
    Here(&'a Path),
    Stream,
    There { machine: &'a str, path: &'a str },
}

/// What a copy came to.
#[derive(Debug, Serialize)]
struct Copied<'a> {
    source: &'a str,
    target: &'a str,
    /// Bytes of the archive that went over.
    bytes: u64,
}

pub(crate) async fn cp(client: &Client, args: &CpArgs, json: bool) -> anyhow::Result<u8> {
    let (source, target) = (side(&args.source), side(&args.target));
    // There, standard output is the archive's.
    let told = json && !matches!(target, Side::Stream);
    let bytes = match (source, target) {
        (Side::There { machine, path }, Side::Here(target)) => fetch(client, machine, path, target).await?,
        (Side::There { machine, path }, Side::Stream) => print_archive(client, machine, path).await?,
        (Side::Here(source), Side::There { machine, path }) => {
            let (folder, name) = destination(client, source, machine, path).await?;
            let source = source.to_owned();
            send(client, machine, &folder, move |out| pack(&source, &name, out)).await?
        }
        (Side::Stream, Side::There { machine, path }) => {
            send(client, machine, path, |mut out| {
                io::copy(&mut io::stdin().lock(), &mut out).map(drop)
            })
            .await?
        }
        (Side::There { .. }, Side::There { .. }) => bail!("one side must be here; copy by way of a file"),
        _ => bail!("neither side is in a machine; write it as MACHINE:PATH"),
    };
    if told {
        print_json(&Copied {
            source: &args.source,
            target: &args.target,
            bytes,
        })?;
    }
    Ok(0)
}

/// `MACHINE:PATH`, unless a slash before the colon (`./a:b`) says that it is a file; `-` is a tar on standard input or
/// output.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        Some((machine, path)) if !machine.is_empty() && !machine.contains('/') && !path.is_empty() => {
            Side::There { machine, path }
        }
        None if text == "-" => Side::Stream,
        _ => Side::Here(Path::new(text)),
    }
}

fn archive_path(machine: &str, path: &str) -> ApiPath {
    machine_path(machine, &["archive"]).query(&ArchiveQuery { path: path.to_owned() })
}

/// Opens a path of a machine as a tar.
async fn open(client: &Client, machine: &str, path: &str) -> Result<(Option<PathStat>, ByteStream), ClientError> {
    let (headers, stream) = client.download(&archive_path(machine, path)).await?;
    let stat = headers
        .get(PATH_STAT_HEADER)
        .and_then(|value| serde_json::from_slice(&STANDARD.decode(value).ok()?).ok());
    Ok((stat, stream))
}

async fn fetch(client: &Client, machine: &str, path: &str, target: &Path) -> anyhow::Result<u64> {
    let (_, mut stream) = open(client, machine, path).await?;
    let (chunks, received) = mpsc::channel(CHUNKS_MAX);
    let target = target.to_owned();
    let wanted = Wanted::of(path);
    let unpacking = tokio::task::spawn_blocking(move || {
        let reader = ChunkReader {
            received,
            rest: Bytes::new(),
        };
        unpack(reader, &wanted, &target)
    });
    let mut bytes = 0;
    while let Some(chunk) = stream.next().await {
        bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let broken = chunk.is_err();
        let sent = chunks.send(chunk.map_err(io::Error::other)).await;
        if broken || sent.is_err() {
            break;
        }
    }
    drop(chunks);
    unpacking.await??;
    Ok(bytes)
}

/// A path of a machine as a tar on standard output.
async fn print_archive(client: &Client, machine: &str, path: &str) -> anyhow::Result<u64> {
    ensure!(
        !io::stdout().is_terminal(),
        "a tar is nothing for a terminal; send it into a file or a program"
    );
    let (_, mut stream) = open(client, machine, path).await?;
    let mut bytes = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        io::stdout().lock().write_all(&chunk).context("cannot write the tar")?;
    }
    io::stdout().lock().flush().context("cannot write the tar")?;
    Ok(bytes)
}

/// The folder of a machine that a source goes to, and its name there.
async fn destination(client: &Client, source: &Path, machine: &str, path: &str) -> anyhow::Result<(String, PathBuf)> {
    ensure!(source.symlink_metadata().is_ok(), "{} does not exist", source.display());
    let (folder, name) = match open(client, machine, path).await {
        Ok((Some(stat), _)) if stat.kind == PathKind::Directory => (path.to_owned(), own_name(source)),
        Ok(_) => split(path),
        Err(ClientError::Problem(problem)) if problem.code == ProblemCode::PathNotFound => {
            ensure!(
                !path.ends_with('/'),
                "there is no folder {path} in the machine; make it first"
            );
            split(path)
        }
        Err(error) => return Err(error.into()),
    };
    let name = name.with_context(|| format!("{path} names no file"))?;
    Ok((folder, name))
}

/// What a source is called in the folder that it goes to; as docker has it, `FOLDER/.` means what is in it.
fn own_name(source: &Path) -> Option<PathBuf> {
    if source.as_os_str().as_encoded_bytes().ends_with(b"/.") {
        return Some(PathBuf::from("."));
    }
    source.canonicalize().ok()?.file_name().map(PathBuf::from)
}

/// Sends what `pack` writes, a tar, to be unpacked in a folder of a machine; gives its size.
async fn send(
    client: &Client,
    machine: &str,
    folder: &str,
    pack: impl FnOnce(ChunkWriter) -> io::Result<()> + Send + 'static,
) -> anyhow::Result<u64> {
    let (chunks, stream) = mpsc::channel(CHUNKS_MAX);
    let packing = tokio::task::spawn_blocking(move || {
        if let Err(error) = pack(ChunkWriter(chunks.clone())) {
            let _ = chunks.blocking_send(Err(io::Error::other(error.to_string())));
        }
    });
    let sent = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&sent);
    let counted = ReceiverStream::new(stream).inspect_ok(move |chunk| {
        total.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    });
    client.upload_tar(&archive_path(machine, folder), counted).await?;
    packing.await?;
    Ok(sent.load(Ordering::Relaxed))
}

/// The folder of a path, and the name in it.
fn split(path: &str) -> (String, Option<PathBuf>) {
    let path = Path::new(path);
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    (
        folder.to_string_lossy().into_owned(),
        path.file_name().map(PathBuf::from),
    )
}

fn pack(source: &Path, name: &Path, out: ChunkWriter) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(256 << 10, out));
    tar.follow_symlinks(false);
    if source.is_dir() {
        tar.append_dir_all(name, source)?;
    } else {
        tar.append_path_with_name(source, name)?;
    }
    tar.into_inner()?
        .into_inner()
        .map(drop)
        .map_err(io::IntoInnerError::into_error)
}

/// Reads from a stream.
struct ChunkReader {
    received: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.received.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.rest = chunk?,
            }
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        assert!(matches!(
            side("m:/x"),
            Side::There {
                machine: "m",
                path: "/x"
            }
        ));
        assert!(matches!(side("./m:/x"), Side::Here(_)));
        assert!(matches!(side("plain"), Side::Here(_)));
        assert!(matches!(side("-"), Side::Stream));
        assert!(matches!(side("./-"), Side::Here(_)));
    }
}
