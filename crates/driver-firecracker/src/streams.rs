//! The VMM's output, bounded.
//!
//! A guest can write on its console as fast as it likes and for as long as it likes, also while this process is away,
//! so the VMM must not write into a file, nor ever wait for a reader. It gets named pipes, opened for reading too (so
//! that there always is a reader) and non-blocking (Firecracker drops what does not fit). This side moves what is in
//! a pipe into two files, of which the older is dropped when the newer is full. While nobody reads, the pipe's own
//! capacity is the bound.

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

/// The rest between two moves: one flooding guest costs at most so much of this process's time.
const REST: Duration = Duration::from_millis(20);

/// How many moves one look at the console may make.
const MOVES_A_LOOK: usize = 32;

/// Makes a stream's pipe, which only `user` may open.
pub(crate) fn make(stream: Stream, folder: &Path, user: VmmUser) -> io::Result<()> {
    let path = stream.fifo(folder);
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    std::os::unix::fs::lchown(&path, Some(user.uid), Some(user.gid))
}

/// Opens a stream's pipe for the VMM to write. It reads as well, so that the pipe is never without a reader.
pub(crate) fn open_for_vmm(stream: Stream, folder: &Path) -> io::Result<File> {
    open(&stream.fifo(folder))
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
        tail(&stream.kept(folder), max_bytes)
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
        if let Err(error) = source.pipe.readable().await.and_then(|()| source.move_some().map(drop)) {
            warn!(error = &error as &dyn std::error::Error, file = %source.kept.display(), "cannot keep VMM output");
        }
        sleep(REST).await;
    }
}

/// A pipe and where its contents go. The lock keeps two movers from changing the order.
#[derive(Debug)]
struct Source {
    pipe: Receiver,
    kept: PathBuf,
    moving: Mutex<()>,
}

impl Source {
    fn open(stream: Stream, folder: &Path) -> io::Result<Self> {
        let pipe = Receiver::from_file(open(&stream.fifo(folder))?)?;
        Ok(Self {
            pipe,
            kept: stream.kept(folder),
            moving: Mutex::new(()),
        })
    }

    /// Moves what is there now, as far as one look may.
    fn look(&self) -> io::Result<()> {
        for _move in 0..MOVES_A_LOOK {
            if self.move_some()? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn move_some(&self) -> io::Result<usize> {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = vec![0; CHUNK_BYTES];
        match self.pipe.try_read(&mut chunk) {
            Ok(length) => append(&self.kept, &chunk[..length]).map(|()| length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("log.old")
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.len() + bytes.len() as u64 > SEGMENT_BYTES {
        fs::rename(path, old(path))?;
        return append(path, bytes);
    }
    file.write_all(bytes)
}

fn tail(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let newer = last_bytes(path, max_bytes)?;
    let mut bytes = last_bytes(&old(path), max_bytes - newer.len())?;
    bytes.extend(newer);
    Ok(bytes)
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
