//! What COPY copies: files of the folder that is built in, without what `.dockerignore` names, found, hashed and packed.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::Stream;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    dockerfile::Source,
    ignored::{IGNORE_FILE, IGNORE_MAX, Ignored, glob},
};
use crate::commands::image::ChunkWriter;

/// Files and folders in one folder that is built in.
const ENTRIES_MAX: usize = 200_000;
/// Pieces of an archive that are made ahead.
const AHEAD: usize = 8;
const PIECE_BYTES: usize = 64 * 1024;

/// A folder that is built in.
pub(super) struct BuildFolder {
    folder: PathBuf,
    /// Relative, sorted; none that is ignored.
    entries: Vec<PathBuf>,
}

/// What one COPY copies.
#[derive(Debug)]
pub(super) struct Files {
    /// What the step names as its source.
    pub(super) pattern: String,
    /// SHA-256 of names, modes and contents, in hexadecimal digits.
    pub(super) hash: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// In the archive.
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// What lies here.
    Here(PathBuf),
    /// A file with this text.
    Text(String),
}

impl BuildFolder {
    /// Looks a folder through.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let ignored = match read_at_most(&folder.join(IGNORE_FILE), IGNORE_MAX) {
            Ok(text) => Ignored::read(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ignored::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {IGNORE_FILE}")),
        };
        let mut entries = Vec::new();
        walk(folder, Path::new(""), &mut entries)?;
        entries.retain(|path| !ignored.has(path));
        entries.sort_unstable();
        Ok(Self {
            folder: folder.to_owned(),
            entries,
        })
    }

    /// What a COPY means.
    pub(super) fn files(&self, source: &Source) -> anyhow::Result<Files> {
        let (pattern, entries) = match source {
            Source::Text { name, text } => {
                let entry = Entry {
                    path: PathBuf::from(name),
                    content: Content::Text(text.clone()),
                };
                (name.clone(), vec![entry])
            }
            Source::Path(path) => {
                let pattern = inside(path)?;
                let entries = self.matching(&pattern)?;
                ensure!(
                    !entries.is_empty() || pattern == ".",
                    "COPY {path}: nothing in {} is called so, or {IGNORE_FILE} names it",
                    self.folder.display()
                );
                (pattern, entries)
            }
        };
        let hash = hash(&entries)?;
        Ok(Files { pattern, hash, entries })
    }

    /// What a pattern matches, with all that is below it.
    fn matching(&self, pattern: &str) -> anyhow::Result<Vec<Entry>> {
        let literal = Path::new(pattern);
        let is_there = self.entries.iter().any(|path| path.starts_with(literal));
        let glob = if pattern == "." || is_there {
            None
        } else {
            Some(glob(pattern)?)
        };
        let wanted = |path: &&PathBuf| match &glob {
            None => pattern == "." || path.starts_with(literal),
            Some(glob) => path.ancestors().any(|part| glob.is_match(part)),
        };
        let entry = |path: &PathBuf| Entry {
            path: path.clone(),
            content: Content::Here(self.folder.join(path)),
        };
        Ok(self.entries.iter().filter(wanted).map(entry).collect())
    }
}

/// The text of a file that has no more bytes than these: what somebody else made may have no end.
pub(super) fn read_at_most(place: &Path, max: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(place)?;
    io::Read::read_to_end(&mut io::Read::take(file, max as u64 + 1), &mut bytes)?;
    if bytes.len() > max {
        let message = format!("it has more than the {max} bytes that are read of it; shorten it");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// All that lies in a folder. Links are not followed.
fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let folder = root.join(below);
    let listed = fs::read_dir(&folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in listed {
        let entry = entry?;
        let path = below.join(entry.file_name());
        ensure!(
            found.len() < ENTRIES_MAX,
            "{} holds more than {ENTRIES_MAX} files; build in a smaller folder",
            root.display()
        );
        let is_folder = entry.file_type()?.is_dir();
        found.push(path.clone());
        if is_folder {
            walk(root, &path, found)?;
        }
    }
    Ok(())
}

/// A source as a path in the folder: as docker has it, `/` is the folder itself.
fn inside(source: &str) -> anyhow::Result<String> {
    let mut path = PathBuf::new();
    for part in Path::new(source).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => ensure!(
                path.pop(),
                "COPY {source}: it leads out of the folder that is built in; copy from within it"
            ),
        }
    }
    let path = path.into_os_string().into_string();
    let path = path.map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))?;
    Ok(if path.is_empty() { ".".to_owned() } else { path })
}

/// SHA-256 over names, modes and contents.
fn hash(entries: &[Entry]) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    for Entry { path, content } in entries {
        let name = path.as_os_str().as_encoded_bytes();
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
        match content {
            Content::Text(text) => part(&mut digest, b'f', 0o644, text.as_bytes()),
            Content::Here(place) => hash_here(&mut digest, place).with_context(|| place.display().to_string())?,
        }
    }
    Ok(hex::encode(digest.finalize()))
}

fn hash_here(digest: &mut Sha256, place: &Path) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(place)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_symlink() {
        part(digest, b'l', 0, fs::read_link(place)?.as_os_str().as_encoded_bytes());
    } else if metadata.is_dir() {
        part(digest, b'd', mode, b"");
    } else if metadata.is_file() {
        // By its own digest, so that its length need not be known before.
        let mut own = Sha256::new();
        io::copy(&mut fs::File::open(place)?, &mut own)?;
        part(digest, b'h', mode, &own.finalize());
    } else {
        bail!("it is neither a file nor a folder nor a link; name it in {IGNORE_FILE}");
    }
    Ok(())
}

fn part(digest: &mut Sha256, kind: u8, mode: u32, content: &[u8]) {
    digest.update([kind]);
    digest.update(mode.to_le_bytes());
    digest.update((content.len() as u64).to_le_bytes());
    digest.update(content);
}

impl Files {
    /// The archive, as it is made: a tar, compressed by gzip.
    pub(super) fn into_archive(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (pieces, made) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let out = io::BufWriter::with_capacity(PIECE_BYTES, ChunkWriter(pieces.clone()));
            if let Err(error) = self.write(out) {
                // Whoever reads has gone, or is told.
                let _ = pieces.blocking_send(Err(error));
            }
        });
        ReceiverStream::new(made)
    }

    fn write(&self, out: impl io::Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
        tar.follow_symlinks(false);
        for Entry { path, content } in &self.entries {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            match content {
                Content::Here(place) => tar.append_path_with_name(place, path).map_err(named)?,
                Content::Text(text) => {
                    let mut header = tar::Header::new_gnu();
                    header.set_mode(0o644);
                    header.set_size(text.len() as u64);
                    tar.append_data(&mut header, path, text.as_bytes()).map_err(named)?;
                }
            }
        }
        io::Write::flush(&mut tar.into_inner()?.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use futures::TryStreamExt as _;

    use super::{
        super::ignored::{PATTERN_MAX, RULES_MAX},
        *,
    };

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for path in ["src/lib", "target/debug", "docs"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in [
            "src/a.py",
            "src/lib/b.py",
            "src/lib/[id].js",
            "target/debug/x",
            "docs/k.md",
            "docs/README.md",
            "a.txt",
        ] {
            fs::write(at(path), path).unwrap();
        }
        symlink("a.py", at("src/link")).unwrap();
        folder
    }

    fn names(folder: &Path, source: &str) -> Vec<String> {
        let files = BuildFolder::open(folder)
            .unwrap()
            .files(&Source::Path(source.into()))
            .unwrap();
        files
            .entries
            .iter()
            .map(|entry| entry.path.display().to_string())
            .collect()
    }

    #[test]
    fn sources_are_paths_or_patterns() {
        let folder = tree();
        let is = |source: &str, wanted: &[&str]| assert_eq!(names(folder.path(), source), wanted, "{source}");
        is("src/lib", &["src/lib", "src/lib/[id].js", "src/lib/b.py"]);
        is("/a.txt", &["a.txt"]);
        is("./src/../a.txt", &["a.txt"]);
        is("*.txt", &["a.txt"]);
        is("src/*.py", &["src/a.py"]);
        is("src/lib/[id].js", &["src/lib/[id].js"]);
        is("d*", &["docs", "docs/README.md", "docs/k.md"]);
        assert_eq!(names(folder.path(), ".").len(), 13);
        for wrong in ["none", "../x", "src/../../x", "*.rs"] {
            let folder = BuildFolder::open(folder.path()).unwrap();
            assert!(folder.files(&Source::Path(wrong.into())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_dockerignore_names_is_not_there() {
        let folder = tree();
        let rules = "# built\n/target\n**/*.md\n!docs/README.md\nsrc/lib/\n";
        fs::write(folder.path().join(IGNORE_FILE), rules).unwrap();
        let left = names(folder.path(), ".");
        assert_eq!(
            left,
            [
                ".dockerignore",
                "a.txt",
                "docs",
                "docs/README.md",
                "src",
                "src/a.py",
                "src/link"
            ]
        );
    }

    #[test]
    fn what_is_too_much_for_dockerignore_is_refused() {
        let folder = tree();
        let refused = |rules: &str| {
            fs::write(folder.path().join(IGNORE_FILE), rules).unwrap();
            format!("{:#}", BuildFolder::open(folder.path()).err().unwrap())
        };
        for rules in [nested(17), nested(300_000), "?".repeat(PATTERN_MAX + 1)] {
            let refused = refused(&format!("docs\n\n{rules}\n"));
            assert!(refused.contains(".dockerignore, line 3"), "{refused}");
        }
        let many = refused(&"a\n".repeat(RULES_MAX + 1));
        assert!(
            many.contains("line 2001") && many.contains("more than 2000 patterns"),
            "{many}"
        );
        let long = refused(&format!("#{}", "x".repeat(IGNORE_MAX)));
        assert!(long.contains("more than the 1048576 bytes"), "{long}");
        fs::write(
            folder.path().join(IGNORE_FILE),
            format!("{}\n{}", nested(16), "a\n".repeat(RULES_MAX - 1)),
        )
        .unwrap();
        assert!(BuildFolder::open(folder.path()).is_ok());
    }

    fn nested(depth: usize) -> String {
        format!("*{}{}", "{".repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn a_pattern_of_too_many_alternatives_is_refused() {
        let folder = tree();
        let opened = BuildFolder::open(folder.path()).unwrap();
        for pattern in [nested(17), nested(300_000), format!("*{}", "?".repeat(PATTERN_MAX))] {
            let refused = opened.files(&Source::Path(pattern)).unwrap_err().to_string();
            assert!(
                refused.len() < 300 && (refused.contains("16 braces") || refused.contains("1024")),
                "{refused}"
            );
        }
    }

    #[test]
    fn the_hash_tells_names_modes_and_contents_and_nothing_else() {
        let folder = tree();
        let place = folder.path().join("a.txt");
        let hash = || {
            let folder = BuildFolder::open(folder.path()).unwrap();
            folder.files(&Source::Path(".".into())).unwrap().hash
        };
        let before = hash();
        assert_eq!(before.len(), 64);
        fs::write(&place, "a.txt").unwrap();
        assert_eq!(hash(), before, "a time is nothing");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        let executable = hash();
        assert_ne!(executable, before);
        fs::write(&place, "b.txt").unwrap();
        assert_ne!(hash(), executable);
        fs::rename(&place, folder.path().join("b.txt")).unwrap();
        assert_ne!(hash(), executable);
    }

    #[tokio::test]
    async fn the_archive_holds_files_links_and_texts() {
        let folder = tree();
        let opened = BuildFolder::open(folder.path()).unwrap();
        let archive = async |source| {
            let pieces: Vec<Bytes> = opened
                .files(&source)
                .unwrap()
                .into_archive()
                .try_collect()
                .await
                .unwrap();
            let bytes = pieces.concat();
            let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
            let entries = tar.entries().unwrap();
            let told = entries.map(|entry| {
                let mut entry = entry.unwrap();
                let (path, link) = (entry.path().unwrap().display().to_string(), entry.link_name().unwrap());
                let link = link.map(|link| link.display().to_string());
                let mut text = String::new();
                io::Read::read_to_string(&mut entry, &mut text).unwrap();
                (path.trim_end_matches('/').to_owned(), link.unwrap_or(text))
            });
            told.collect::<Vec<_>>()
        };
        let told = archive(Source::Path("src".into())).await;
        assert!(told.contains(&("src/link".into(), "a.py".into())), "{told:?}");
        assert!(told.contains(&("src/lib/b.py".into(), "src/lib/b.py".into())));
        let text = Source::Text {
            name: "EOF".into(),
            text: "hi\n".into(),
        };
        assert_eq!(archive(text).await, [("EOF".into(), "hi\n".into())]);
    }
}
