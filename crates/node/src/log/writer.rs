//! The writing side.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hearth_node_api::LogStream;
use tokio::sync::watch;

use super::{
    LogSource, Position,
    format::{HEADER_BYTES, RECORD_BYTES, file_path, generations, put_record, whole_records},
};

/// A file is full at this size, in bytes. Two are kept.
pub(super) const FILE_BYTES: u64 = 8 << 20;
/// Programs write secrets, too.
const OWNER_ONLY: u32 = 0o600;

/// The one writer of a machine's log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    folder: PathBuf,
    /// Opened with the first record: a machine that says nothing costs no file.
    file: Option<Arc<File>>,
    size: u64,
    /// The guest's number of the first record that is not here yet. The guest counts anew with each boot, and may
    /// lie: so its numbers only serve to pass over what was written before, and ours order the log.
    guest_next: u64,
    position: watch::Sender<Position>,
}

impl LogWriter {
    /// Opens the log of a folder, new or left by a predecessor.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let generation = generations(folder)?.last().copied().unwrap_or(0);
        let path = file_path(folder, generation);
        let (mut file, mut size, mut next_seq, mut guest_next) = (None, 0, 0, 0);
        if path.exists() {
            let opened = OpenOptions::new().read(true).append(true).open(&path)?;
            (size, next_seq, guest_next) = whole_records(&opened)?;
            opened.set_len(size)?;
            file = Some(Arc::new(opened));
        }
        let position = watch::Sender::new(Position {
            generation,
            next_seq,
            closed: true,
            files: [None, file.clone()],
        });
        Ok(Self {
            folder: folder.to_owned(),
            file,
            size,
            guest_next,
            position,
        })
    }

    /// Says that records from our number `first` on are of the boot that is now followed; if there are none yet, the
    /// guest's numbers begin with `guest_first`. More may come from now on.
    pub(crate) fn follow_boot(&mut self, first: u64, guest_first: u64) {
        if self.next_seq() <= first {
            self.guest_next = guest_first;
        }
        self.set_closed(false);
    }

    /// The guest's number from which on its records are wanted.
    pub(crate) fn guest_next(&self) -> u64 {
        self.guest_next
    }

    /// Our number of the next record.
    pub(crate) fn next_seq(&self) -> u64 {
        self.position.borrow().next_seq
    }

    /// Where readers begin.
    pub(crate) fn source(&self) -> LogSource {
        LogSource {
            folder: self.folder.clone(),
            position: self.position.subscribe(),
        }
    }

    /// Says whether more may come.
    pub(crate) fn set_closed(&self, closed: bool) {
        self.position
            .send_if_modified(|p| std::mem::replace(&mut p.closed, closed) != closed);
    }

    /// Adds a guest's record, as several of ours if it is longer than one may be. The guest's number may leap (the
    /// guest dropped something) but never falls back; what falls back was written before and is passed over.
    pub(crate) fn append(&mut self, guest_seq: u64, unix_ns: u64, stream: LogStream, bytes: &[u8]) -> io::Result<()> {
        if guest_seq < self.guest_next {
            return Ok(());
        }
        let (mut generation, first_seq) = {
            let position = self.position.borrow();
            (position.generation, position.next_seq)
        };
        if self.file.is_some() && self.size >= FILE_BYTES {
            generation += 1;
            self.file = None;
            if let Some(old) = generation.checked_sub(2) {
                let _ = fs::remove_file(file_path(&self.folder, old));
            }
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.create(generation)?,
        };
        let mut records = Vec::with_capacity(HEADER_BYTES + bytes.len());
        let mut next_seq = first_seq;
        for piece in bytes.chunks(RECORD_BYTES) {
            put_record(&mut records, [next_seq, guest_seq, unix_ns], stream, piece);
            next_seq += 1;
        }
        if let Err(error) = file.as_ref().write_all(&records) {
            // A full disk may have taken half of it; readers must never see that half.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += records.len() as u64;
        self.guest_next = guest_seq.saturating_add(1);
        self.position.send_modify(|p| {
            if p.generation != generation {
                p.files[0] = p.files[1].take();
            }
            p.files[1] = Some(file);
            p.generation = generation;
            p.next_seq = next_seq;
        });
        Ok(())
    }

    fn create(&mut self, generation: u64) -> io::Result<Arc<File>> {
        let path = file_path(&self.folder, generation);
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true).mode(OWNER_ONLY);
        let file = Arc::new(options.open(path)?);
        self.file = Some(Arc::clone(&file));
        self.size = 0;
        Ok(file)
    }
}
