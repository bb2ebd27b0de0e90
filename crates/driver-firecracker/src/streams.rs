//! The VMM's log and metrics, bounded.
//!
//! A guest can make the VMM log as fast and as long as it likes, also while this process is away, so the VMM must not
//! write into a file, nor ever wait for a reader. It gets named pipes, which it opens for reading too and without
//! blocking; what does not fit, it drops. This side moves what is in a pipe into two files, of which the older is
//! dropped when the newer is full. While nobody reads, the pipe's own capacity is the bound.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hearth_driver::VmmUser;
use rustix::fs::{FileType, Mode, OFlags};
use tokio::{net::unix::pipe::Receiver, task::JoinHandle, time::sleep};
use tracing::warn;

use crate::layout::Stream;

/// How much each of a stream's two files may hold.
const SEGMENT_BYTES: u64 = 512 * 1024;

/// How much is moved at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The rest between two moves: it bounds what one flooding VMM costs of this process's time.
const REST: Duration = Duration::from_millis(20);

/// How many moves one look at a stream may make.
const MOVES_A_LOOK: usize = 32;

/// Makes a stream's pipe, which only `user` may open.
pub(crate) fn make(stream: Stream, folder: &Path, user: VmmUser) -> io::Result<()> {
    let path = stream.fifo(folder);
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    std::os::unix::fs::lchown(&path, Some(user.uid), Some(user.gid))
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// All streams that this process reads.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    readers: Mutex<HashMap<PathBuf, Vec<Reader>>>,
}

#[derive(Debug)]
struct Reader {
    stream: Stream,
    source: Arc<Source>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Streams {
    /// Reads the streams of the machine with this folder from now on, until [`Self::leave`].
    pub(crate) fn follow(&self, folder: &Path) -> io::Result<()> {
        if self.lock().contains_key(folder) {
            return Ok(());
        }
        let readers = Stream::ALL.into_iter().map(|stream| Reader::start(stream, folder));
        let readers = readers.collect::<io::Result<Vec<_>>>()?;
        self.lock().entry(folder.to_owned()).or_insert(readers);
        Ok(())
    }

    /// Reads them no more.
    pub(crate) fn leave(&self, folder: &Path) {
        self.lock().remove(folder);
    }

    /// The last bytes of a stream, those still in its pipe included.
    pub(crate) fn tail(&self, stream: Stream, folder: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        let source = self
            .source(stream, folder)
            .or_else(|| Source::open(stream, folder).map(Arc::new).ok());
        if let Some(source) = source {
            source.look()?;
        }
        let kept = Kept::of(stream, folder);
        kept.tail(max_bytes)
    }

    fn source(&self, stream: Stream, folder: &Path) -> Option<Arc<Source>> {
        let readers = self.lock();
        let reader = readers.get(folder)?.iter().find(|reader| reader.stream == stream)?;
        Some(Arc::clone(&reader.source))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Vec<Reader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    fn start(stream: Stream, folder: &Path) -> io::Result<Self> {
        let source = Arc::new(Source::open(stream, folder)?);
        let task = tokio::spawn(run(Arc::clone(&source)));
        Ok(Self { stream, source, task })
    }
}

/// Moves until the reader is dropped.
async fn run(source: Arc<Source>) {
    loop {
        if let Err(error) = source.wait_and_move().await {
            warn!(error = &error as &dyn std::error::Error, file = %source.kept.newer.display(), "cannot keep VMM output");
        }
        sleep(REST).await;
    }
}

/// A pipe and where its contents go. The lock keeps two movers from changing the order.
#[derive(Debug)]
struct Source {
    pipe: Receiver,
    kept: Kept,
    moving: Mutex<()>,
}

impl Source {
    fn open(stream: Stream, folder: &Path) -> io::Result<Self> {
        // Refuses what is no pipe.
        let pipe = Receiver::from_file(open(&stream.fifo(folder))?)?;
        Ok(Self {
            pipe,
            kept: Kept::of(stream, folder),
            moving: Mutex::new(()),
        })
    }

    async fn wait_and_move(&self) -> io::Result<()> {
        self.pipe.readable().await?;
        self.move_some(|chunk| self.pipe.try_read(chunk)).map(drop)
    }

    /// Moves what is there now, as far as one look may. Reads past the runtime, which may not know yet that there is
    /// something.
    fn look(&self) -> io::Result<()> {
        for _move in 0..MOVES_A_LOOK {
            if self.move_some(|chunk| Ok(rustix::io::read(&self.pipe, chunk)?))? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn move_some(&self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = vec![0; CHUNK_BYTES];
        match read(&mut chunk) {
            Ok(length) => self.kept.append(&chunk[..length]).map(|()| length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// The two files of a stream.
#[derive(Debug)]
struct Kept {
    newer: PathBuf,
    older: PathBuf,
}

impl Kept {
    fn of(stream: Stream, folder: &Path) -> Self {
        Self {
            newer: stream.kept(folder),
            older: stream.kept_before(folder),
        }
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.open()?;
        if file.metadata()?.len() + bytes.len() as u64 > SEGMENT_BYTES {
            fs::rename(&self.newer, &self.older)?;
            file = self.open()?;
        }
        file.write_all(bytes)
    }

    fn open(&self) -> io::Result<File> {
        let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(nofollow)
            .open(&self.newer)
    }

    fn tail(&self, max_bytes: usize) -> io::Result<Vec<u8>> {
        let newer = last_bytes(&self.newer, max_bytes)?;
        let mut bytes = last_bytes(&self.older, max_bytes - newer.len())?;
        bytes.extend(newer);
        Ok(bytes)
    }
}

fn last_bytes(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = match File::options()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max_bytes as u64)))?;
    let mut bytes = Vec::new();
    file.take(max_bytes as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: fn() -> VmmUser = || VmmUser {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };

    /// Writes as the VMM does: what does not fit is lost.
    fn write(vmm: &mut File, bytes: &[u8]) -> usize {
        match vmm.write(bytes) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn log(folder: &Path) -> File {
        for stream in Stream::ALL {
            make(stream, folder, ME()).unwrap();
        }
        open(&Stream::Log.fifo(folder)).unwrap()
    }

    #[tokio::test]
    async fn the_end_of_a_flood_is_kept_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let mut vmm = log(folder.path());
        let streams = Streams::default();
        streams.follow(folder.path()).unwrap();
        let mut lost = 0;
        for round in 0..60 {
            let line = vec![b'a' + round % 26; CHUNK_BYTES];
            lost += CHUNK_BYTES - write(&mut vmm, &line);
            streams.tail(Stream::Log, folder.path(), 1).unwrap();
        }
        write(&mut vmm, b"the end");
        assert_eq!(lost, 0, "a reader that keeps up loses nothing");
        assert!(
            streams
                .tail(Stream::Log, folder.path(), 1_000)
                .unwrap()
                .ends_with(b"the end")
        );
        let kept = Kept::of(Stream::Log, folder.path());
        for file in [kept.newer, kept.older] {
            assert!(file.metadata().unwrap().len() <= SEGMENT_BYTES);
        }
    }

    #[tokio::test]
    async fn without_a_reader_the_pipe_is_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let mut vmm = log(folder.path());
        let written: usize = (0..100).map(|_round| write(&mut vmm, &vec![b'x'; CHUNK_BYTES])).sum();
        assert!(written <= 1 << 20, "{written}");
        let tail = Streams::default().tail(Stream::Log, folder.path(), usize::MAX).unwrap();
        assert_eq!(tail.len(), written);
    }

    #[tokio::test]
    async fn what_a_vmm_puts_in_a_pipes_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        drop(log(folder.path()));
        let fifo = Stream::Log.fifo(folder.path());
        fs::remove_file(&fifo).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &fifo).unwrap();
        assert!(Streams::default().follow(folder.path()).is_err());
        assert!(
            Streams::default()
                .tail(Stream::Log, folder.path(), 100)
                .unwrap()
                .is_empty()
        );
    }
}
