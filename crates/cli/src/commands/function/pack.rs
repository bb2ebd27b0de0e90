//! A folder as a tar: what its `.hearthignore` names is left out, and so is what git keeps.
//!
//! The same files make the same tar, whoever packs them.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;
use futures::Stream;
use ignore::WalkBuilder;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Names what of a folder is left out, as `.gitignore` does.
const IGNORE_FILE: &str = ".hearthignore";
/// Pieces of the tar that are made ahead.
const AHEAD: usize = 8;
const PIECE_BYTES: usize = 64 * 1024;

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Source {
    folder: PathBuf,
    /// Relative, sorted.
    entries: Vec<PathBuf>,
    /// Size of its files, in bytes.
    pub(super) size_bytes: u64,
}

impl Source {
    /// Looks a folder through.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let found = fs::metadata(folder).map_err(|error| anyhow::anyhow!("--source {}: {error}", folder.display()))?;
        anyhow::ensure!(found.is_dir(), "--source {} is not a folder", folder.display());
        let mut entries = Vec::new();
        let mut size_bytes = 0;
        for entry in walk(folder) {
            let entry = entry?;
            let path = entry.path().strip_prefix(folder)?.to_owned();
            if path.as_os_str().is_empty() || path.starts_with(".git") || path == Path::new(IGNORE_FILE) {
                continue;
            }
            let metadata = fs::symlink_metadata(entry.path())?;
            if metadata.is_symlink() {
                check_link(&path, &fs::read_link(entry.path())?)?;
            }
            size_bytes += if metadata.is_file() { metadata.len() } else { 0 };
            entries.push(path);
        }
        anyhow::ensure!(
            !entries.is_empty(),
            "--source {} is empty; nothing can be called in it",
            folder.display()
        );
        entries.sort();
        Ok(Self {
            folder: folder.to_owned(),
            entries,
            size_bytes,
        })
    }

    /// The tar, as it is made.
    pub(super) fn into_tar(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (pieces, made) = mpsc::channel(AHEAD);
        let work = move || {
            let mut writer = io::BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
            let written = self.write(&mut writer);
            let written = written.and_then(|()| io::Write::flush(&mut writer));
            if let Err(error) = written {
                // Whoever reads has gone, or is told.
                let _ = pieces.blocking_send(Err(error));
            }
        };
        tokio::task::spawn_blocking(work);
        ReceiverStream::new(made)
    }

    fn write(&self, writer: &mut impl io::Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(writer);
        tar.follow_symlinks(false);
        tar.mode(tar::HeaderMode::Deterministic);
        for path in &self.entries {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            tar.append_path_with_name(self.folder.join(path), path).map_err(named)?;
        }
        tar.finish()
    }
}

fn walk(folder: &Path) -> ignore::Walk {
    WalkBuilder::new(folder)
        .standard_filters(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .follow_links(false)
        .build()
}

/// A link may lead anywhere within the folder.
fn check_link(path: &Path, target: &Path) -> anyhow::Result<()> {
    let mut depth = path.components().count().saturating_sub(1);
    for part in target.components() {
        let inside = match part {
            Component::Prefix(_) | Component::RootDir => None,
            Component::CurDir => Some(depth),
            Component::ParentDir => depth.checked_sub(1),
            Component::Normal(_) => Some(depth + 1),
        };
        depth = inside.ok_or_else(|| {
            anyhow::anyhow!(
                "{} is a link that leads out of the folder, to {}; copy what it means, or name it in {IGNORE_FILE}",
                path.display(),
                target.display()
            )
        })?;
    }
    Ok(())
}

/// Writes into a channel.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(piece));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use futures::TryStreamExt as _;

    use super::*;

    async fn names(folder: &Path) -> Vec<String> {
        let tar: Vec<Bytes> = Source::open(folder).unwrap().into_tar().try_collect().await.unwrap();
        let bytes = tar.concat();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[tokio::test]
    async fn what_is_ignored_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at(".git/objects")).unwrap();
        fs::create_dir_all(at("lib")).unwrap();
        fs::create_dir_all(at("node_modules/x")).unwrap();
        fs::write(at("node_modules/x/a.js"), "").unwrap();
        fs::write(at("main.py"), "x").unwrap();
        fs::write(at("lib/a.pyc"), "x").unwrap();
        fs::write(at("lib/a.py"), "x").unwrap();
        symlink("../main.py", at("lib/link")).unwrap();
        fs::write(at(IGNORE_FILE), "*.pyc\nnode_modules/\n").unwrap();
        assert_eq!(names(folder.path()).await, ["lib", "lib/a.py", "lib/link", "main.py"]);
    }

    #[test]
    fn links_out_of_the_folder_are_refused() {
        for target in ["/etc/passwd", "../x", "a/../../x", "a/../../../etc"] {
            let folder = tempfile::tempdir().unwrap();
            symlink(target, folder.path().join("link")).unwrap();
            let refused = Source::open(folder.path()).unwrap_err().to_string();
            assert!(refused.contains("link") && refused.contains(target), "{refused}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(Source::open(empty.path()).unwrap_err().to_string().contains("empty"));
        assert!(Source::open(&empty.path().join("none")).is_err());
    }
}
