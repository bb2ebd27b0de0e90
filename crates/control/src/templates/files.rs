//! What COPY copies: archives that clients upload before a build, by the hash that the step names.
//!
//! The hash is the client's, of the files and not of the archive, so it proves nothing; archives are kept by project, and nobody
//! reads another's.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hearth_ids::ProjectId;
use hearth_node_api::{ErrorKind, NodeError};
use tokio::{io::AsyncWriteExt as _, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{
    machine::Builder,
    steps::{Reason, quote},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    extract,
};

/// The longest archive, in bytes.
pub(crate) const ARCHIVE_MAX: u64 = 8 << 30;
/// Archives that nobody has used for so long are removed.
const UNUSED_AGE: Duration = Duration::from_hours(7 * 24);
/// What the archives of one project may have together before another is taken, in bytes.
const PROJECT_MAX: u64 = 64 << 30;
/// What of the host's file system is not for archives: machines' disks and the daemon's own files are on it as well.
const FREE_MIN: u64 = 1 << 30;
/// Bytes between two looks at what is free.
const LOOK_EACH: usize = 16 << 20;
const PRUNED_EACH: Duration = Duration::from_hours(6);
/// How the names of those begin that are not whole yet.
const TEMPORARY: &[u8] = b".tmp";
/// How long an upload may be begun after it was allowed, in seconds.
pub(crate) const UPLOAD_S: u64 = 3600;
const CHUNK: usize = 64 * 1024;
const COPY_TIMEOUT: Duration = Duration::from_mins(30);

/// The archives of a project.
pub(crate) struct StepFiles {
    pub(super) folder: PathBuf,
}

/// What is copied out of an archive, and where to.
pub(super) struct Copy<'a> {
    pub(super) hash: &'a str,
    /// A path or a pattern in the archive.
    pub(super) source: &'a str,
    pub(super) place: &'a str,
    /// Whose it is then; whose it is in the archive, if nobody is named.
    pub(super) owner: Option<&'a str>,
    pub(super) mode: Option<&'a str>,
}

impl StepFiles {
    pub(crate) fn of(app: &App, project: ProjectId) -> Self {
        Self {
            folder: app.config.template_files_dir.join(project.to_string()),
        }
    }

    pub(super) fn path(&self, hash: &str) -> ApiResult<PathBuf> {
        let valid = (32..=128).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !valid {
            return Err(ApiError::field(
                "hash",
                "the hash of files is a number in hexadecimal digits",
            ));
        }
        Ok(self.folder.join(hash.to_ascii_lowercase()))
    }

    /// Whether there is an archive. One that there is will not be removed soon.
    pub(crate) async fn has(&self, hash: &str) -> ApiResult<bool> {
        let path = self.path(hash)?;
        let touched = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::options().append(true).open(path)?;
            file.set_modified(SystemTime::now())
        });
        Ok(matches!(touched.await, Ok(Ok(()))))
    }

    /// Keeps an archive, whole or not at all.
    pub(crate) async fn put(&self, hash: &str, body: axum::body::Body) -> ApiResult<()> {
        self.put_within(ARCHIVE_MAX, hash, body).await
    }

    async fn put_within(&self, max: u64, hash: &str, body: axum::body::Body) -> ApiResult<()> {
        let path = self.path(hash)?;
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::StorageFull => ApiError::new(hearth_api::ProblemCode::DiskFull, error.to_string()),
            _ => ApiError::internal("cannot keep the files").caused_by(error),
        };
        tokio::fs::create_dir_all(&self.folder).await.map_err(failed)?;
        let folder = self.folder.clone();
        let temporary = tokio::task::spawn_blocking(move || tempfile::NamedTempFile::new_in(folder));
        let temporary = temporary
            .await
            .map_err(std::io::Error::other)
            .and_then(|made| made)
            .map_err(failed)?;
        let mut file = tokio::fs::File::from_std(temporary.reopen().map_err(failed)?);
        let (mut chunks, mut length) = (extract::chunks(body), 0_u64);
        let mut room = Room::of(&self.folder).map_err(failed)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            length += chunk.len() as u64;
            if length > max {
                return Err(ApiError::new(
                    hearth_api::ProblemCode::BodyTooLarge,
                    format!("the files are longer than the {max} bytes that are taken"),
                ));
            }
            room.take(chunk.len()).map_err(failed)?;
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.sync_all().await.map_err(failed)?;
        let kept = tokio::task::spawn_blocking(move || temporary.persist(path).map(drop).map_err(|error| error.error));
        kept.await
            .map_err(std::io::Error::other)
            .and_then(|kept| kept)
            .map_err(failed)
    }

    /// Copies what matches within an archive to a place in the machine, by docker's rules: of a folder its content, and a file
    /// under the place's name, unless that is a folder, or ends with `/`.
    pub(super) async fn copy(&self, builder: &Builder, copy: &Copy<'_>) -> Result<(), Reason> {
        let path = self.path(copy.hash).map_err(|error| error.problem.detail)?;
        let archive = open(&path).await?;
        let staging = format!("/tmp/.hearth-copy-{}", &copy.hash[..16]);
        let prepared = format!("rm -rf {staging} && mkdir -m 700 {staging}");
        builder.script(&prepared, COPY_TIMEOUT).await?;
        builder.unpack(&staging, archive).await?;
        let script = format!(
            "staging={staging}; source={}; place={}; owner={}; mode={}\n{COPY_SCRIPT}",
            quote(copy.source),
            quote(copy.place),
            quote(copy.owner.unwrap_or_default()),
            quote(copy.mode.unwrap_or_default()),
        );
        builder.script(&script, COPY_TIMEOUT).await
    }
}

/// Moves what was unpacked to where it belongs. Names are never expanded twice, and what a link points to is left alone: what is
/// in the way is replaced, not written through. A folder that is there keeps its owner and its mode.
const COPY_SCRIPT: &str = r#"set -e
trap 'rm -rf "$staging"' EXIT
cd "$staging"
shopt -s dotglob nullglob globstar
source="${source#./}"
IFS=''
if [ "$source" = . ] || [ -z "$source" ]; then found=(.); else found=($source); fi
if [ ${#found[@]} -eq 0 ]; then
    if [ -e "$source" ] || [ -L "$source" ]; then found=("$source"); else echo "nothing matches $source" >&2; exit 1; fi
fi
if [ -n "$owner" ]; then chown -hR -- "$owner" .; fi
if [ -n "$mode" ]; then
    for item in "${found[@]}"; do find "./$item" ! -type l -exec chmod -- "$mode" {} +; done
fi
fresh=''
if cp --help 2>&1 | grep -q -e --remove-destination; then fresh=--remove-destination; fi
one=${#found[@]}
for item in "${found[@]}"; do
    if [ -d "$item" ] && [ ! -L "$item" ] && [ -d "$place" ]; then
        inner=("$item"/*)
        for ((at = 0; at < ${#inner[@]}; at += 100)); do cp -a $fresh -- "${inner[@]:at:100}" "$place/"; done
    elif [ -d "$item" ] && [ ! -L "$item" ]; then
        mkdir -p -- "$place"
        cp -a $fresh -- "$item/." "$place/"
    elif [ "$one" -gt 1 ] || [ -d "$place" ] || [[ "$place" = */ ]]; then
        mkdir -p -- "$place"
        cp -a $fresh -- "$item" "$place/"
    else
        mkdir -p -- "$(dirname -- "$place")"
        cp -aT $fresh -- "$item" "$place"
    fi
done
"#;

/// The archive as a tar stream, whether it is compressed or not.
async fn open(path: &Path) -> Result<stream::BoxStream<'static, Result<Bytes, NodeError>>, Reason> {
    let path = path.to_owned();
    let (send, receive) = mpsc::channel(4);
    let opened = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let mut magic = [0; 2];
        let length = file.read(&mut magic)?;
        std::io::Seek::rewind(&mut file)?;
        let is_gzip = length == 2 && magic == [0x1f, 0x8b];
        Ok::<_, std::io::Error>((file, is_gzip))
    });
    let absent = |error| format!("the files of this step were not uploaded: {error}");
    let (file, is_gzip) = opened.await.map_err(|error| error.to_string())?.map_err(absent)?;
    tokio::task::spawn_blocking(move || {
        let mut reader: Box<dyn std::io::Read> = if is_gzip {
            Box::new(flate2::read::MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut buffer = vec![0; CHUNK];
        loop {
            let piece = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) => Err(NodeError::new(
                    ErrorKind::InvalidInput,
                    format!("the files cannot be read: {error}"),
                )),
            };
            let failed = piece.is_err();
            if send.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receive).boxed())
}

/// Room for an archive of a project, asked for as it grows.
pub(super) struct Room {
    folder: PathBuf,
    /// Bytes until the next look.
    left: usize,
}

impl Room {
    /// Refuses a project that has very much already.
    pub(super) fn of(folder: &Path) -> std::io::Result<Self> {
        let mut held = 0_u64;
        for archive in std::fs::read_dir(folder)? {
            // One that goes meanwhile takes no room.
            held += archive?.metadata().map_or(0, |of| of.len());
        }
        if held > PROJECT_MAX {
            return Err(full(format!(
                "the files of the project's builds have more than {PROJECT_MAX} bytes; they go a week after they were last used"
            )));
        }
        let folder = folder.to_owned();
        Ok(Self { folder, left: 0 })
    }

    /// Refuses what would leave the host's file system too little.
    pub(super) fn take(&mut self, bytes: usize) -> std::io::Result<()> {
        if bytes > self.left {
            // A file system that says nothing of itself is no reason to refuse.
            let free =
                rustix::fs::statvfs(&self.folder).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
            if free < FREE_MIN {
                return Err(full(
                    "what the host's disk has left is not for files of builds".to_owned(),
                ));
            }
            self.left = LOOK_EACH;
        }
        self.left = self.left.saturating_sub(bytes);
        Ok(())
    }
}

fn full(message: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::StorageFull, message)
}

/// Removes archives that nobody has used for long, and builds that nobody starts, now and then, until it is stopped.
pub(crate) async fn keep_pruned(app: Weak<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNED_EACH) => {}
        }
        let Some(app) = app.upgrade() else { return };
        prune(&app, false).await;
        super::prune::waiting(&app).await;
    }
}

/// Removes archives that nobody has used for long; at a start also what was left of those that were cut off.
pub(crate) async fn prune(app: &Arc<App>, at_start: bool) {
    let folder = app.config.template_files_dir.clone();
    let pruned = tokio::task::spawn_blocking(move || {
        let Ok(projects) = std::fs::read_dir(folder) else {
            return;
        };
        for project in projects.flatten() {
            let Ok(archives) = std::fs::read_dir(project.path()) else {
                continue;
            };
            for archive in archives.flatten() {
                let modified = archive.metadata().and_then(|of| of.modified());
                let old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNUSED_AGE));
                let cut_off = at_start && archive.file_name().as_encoded_bytes().starts_with(TEMPORARY);
                if old || cut_off {
                    // What cannot be removed now is tried at the next start.
                    let _ = std::fs::remove_file(archive.path());
                }
            }
        }
    });
    let _ = pruned.await;
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hearth_api::ProblemCode;

    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef";

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn an_archive_is_kept_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let files = StepFiles {
            folder: folder.path().join("project"),
        };
        let pieces = |pieces: &'static [&'static str]| {
            Body::from_stream(stream::iter(pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece))))
        };
        let refused = files.put_within(8, HASH, pieces(&["12345", "6789"])).await.unwrap_err();
        assert_eq!(refused.problem.code, ProblemCode::BodyTooLarge);
        assert!(refused.problem.detail.contains("8 bytes"), "{}", refused.problem);
        assert_eq!(names(&files.folder), [""; 0]);
        let broken = stream::iter([Ok("123"), Err(std::io::Error::other("cut off"))]);
        let refused = files.put_within(8, HASH, Body::from_stream(broken)).await.unwrap_err();
        assert_eq!(refused.problem.code, ProblemCode::InvalidRequest);
        assert_eq!(names(&files.folder), [""; 0]);
        files.put_within(8, HASH, pieces(&["12345", "678"])).await.unwrap();
        assert_eq!(std::fs::read(files.folder.join(HASH)).unwrap(), b"12345678");
        // What is there already stays, whatever comes over it.
        assert!(files.put_within(8, HASH, pieces(&["123456789"])).await.is_err());
        assert_eq!(std::fs::read(files.folder.join(HASH)).unwrap(), b"12345678");
        assert_eq!(names(&files.folder), [HASH]);
    }

    #[tokio::test]
    async fn a_project_that_has_very_much_is_given_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let files = StepFiles {
            folder: folder.path().to_owned(),
        };
        let much = std::fs::File::create(folder.path().join("much")).unwrap();
        // It is sparse, and takes nothing of the disk.
        much.set_len(PROJECT_MAX + 1).unwrap();
        let refused = files.put(HASH, Body::from("x")).await.unwrap_err();
        assert_eq!(refused.problem.code, ProblemCode::DiskFull);
        assert_eq!(names(folder.path()), ["much"]);
        much.set_len(PROJECT_MAX - 1).unwrap();
        files.put(HASH, Body::from("x")).await.unwrap();
    }
}
