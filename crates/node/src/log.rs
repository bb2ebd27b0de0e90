//! What a machine's program wrote, kept on disk and readable while it grows.
//!
//! Records lie one after another in files `log.<generation>`; when one is full the next is begun, and only the last
//! two are kept, so a program that writes for ever fills no disk. A record cut off by a crash is dropped at the next
//! start. Readers follow the writer by a watch and survive the change of files.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use hearth_node_api::{LogChunk, LogStream};
use tokio::sync::watch;

/// A file is full at this size, in bytes. Two are kept.
const FILE_BYTES: u64 = 8 << 20;
/// Programs write secrets, too.
const OWNER_ONLY: u32 = 0o600;
/// Length, our number, the guest's number, time, stream.
const HEADER_BYTES: usize = 4 + 8 + 8 + 8 + 1;
/// No record is longer, in bytes.
const RECORD_BYTES: usize = 256 << 10;

/// How far the log has come; sent to readers.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    generation: u64,
    next_seq: u64,
    /// No more will come until the machine is started again.
    closed: bool,
    /// The files that this writer wrote, the former and the current one: who reads them needs no path, which may be
    /// gone with its machine by then.
    files: [Option<Arc<File>>; 2],
}

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

/// What a reader needs to begin.
#[derive(Debug, Clone)]
pub(crate) struct LogSource {
    folder: PathBuf,
    position: watch::Receiver<Position>,
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
    /// guest's numbers begin anew. More may come from now on.
    pub(crate) fn follow_boot(&mut self, first: u64) {
        if self.next_seq() <= first {
            self.guest_next = 0;
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

fn put_record(out: &mut Vec<u8>, numbers: [u64; 3], stream: LogStream, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(stream_byte(stream));
    out.extend_from_slice(bytes);
}

/// A walk through the log from its oldest record on.
#[derive(Debug)]
pub(crate) struct LogReader {
    source: LogSource,
    /// What is being read: its generation, and how far.
    file: Option<(u64, Arc<File>, u64)>,
    /// The oldest generation that is not read yet.
    unread: u64,
    /// The number after the last record that was read.
    next_seq: u64,
    /// Where to end if not following: the log as it was at the start, for a flood may outrun its readers.
    end: u64,
    follow: bool,
}

impl LogSource {
    /// Starts at the oldest record. A reader that follows ends when the log is closed, another when it has read all.
    pub(crate) fn read(self, follow: bool) -> LogReader {
        let end = self.position.borrow().next_seq;
        LogReader {
            source: self,
            file: None,
            unread: 0,
            next_seq: 0,
            end,
            follow,
        }
    }

    /// The last `lines` lines as chunks, and a reader that goes on from there.
    pub(crate) async fn tail(self, lines: usize, follow: bool) -> io::Result<(VecDeque<LogChunk>, LogReader)> {
        let mut reader = self.read(false);
        let mut kept: VecDeque<LogChunk> = VecDeque::new();
        let mut kept_lines = 0;
        while let Some(chunk) = reader.next().await? {
            kept_lines += line_ends(&chunk.bytes);
            kept.push_back(chunk);
            while let Some(first) = kept.front() {
                let in_first = line_ends(&first.bytes);
                if kept_lines - in_first < lines.saturating_add(1) {
                    break;
                }
                kept_lines -= in_first;
                kept.pop_front();
            }
        }
        cut_to_lines(&mut kept, lines);
        reader.follow = follow;
        Ok((kept, reader))
    }
}

/// Cuts the front of `chunks` so that they hold `lines` lines; an unended last line counts as one.
fn cut_to_lines(chunks: &mut VecDeque<LogChunk>, lines: usize) {
    if lines == 0 {
        chunks.clear();
        return;
    }
    let open_end = chunks.back().is_some_and(|c| c.bytes.last() != Some(&b'\n'));
    let total: usize = chunks.iter().map(|c| line_ends(&c.bytes)).sum::<usize>() + usize::from(open_end);
    let mut surplus = total.saturating_sub(lines);
    while surplus > 0 {
        let Some(first) = chunks.front_mut() else { return };
        let in_first = line_ends(&first.bytes);
        if in_first < surplus {
            surplus -= in_first;
            chunks.pop_front();
            continue;
        }
        let ends = first.bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
        if let Some((end, _)) = ends.clone().nth(surplus - 1) {
            first.bytes = first.bytes.slice(end + 1..);
        }
        if first.bytes.is_empty() {
            chunks.pop_front();
        }
        return;
    }
}

#[expect(
    clippy::naive_bytecount,
    reason = "a tail counts a few MiB at most, which is not worth a dependency"
)]
fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'\n').count()
}

impl LogReader {
    /// The next record; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<LogChunk>> {
        loop {
            if !self.follow && self.next_seq >= self.end {
                return Ok(None);
            }
            let position = self.source.position.borrow_and_update().clone();
            if let Some(chunk) = self.read_one(&position)? {
                self.next_seq = chunk.sequence.saturating_add(1);
                return Ok(Some(chunk));
            }
            if let Some((generation, ..)) = &self.file
                && *generation < position.generation
            {
                self.unread = generation + 1;
                self.file = None;
                continue;
            }
            if !self.follow || position.closed || self.source.position.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    fn read_one(&mut self, position: &Position) -> io::Result<Option<LogChunk>> {
        if self.file.is_none() {
            self.file = self.open_next(position)?;
        }
        let Some((_, file, offset)) = &mut self.file else {
            return Ok(None);
        };
        let Some((chunk, len)) = read_record(file, *offset)? else {
            return Ok(None);
        };
        *offset += len;
        Ok(Some(chunk))
    }

    fn open_next(&self, position: &Position) -> io::Result<Option<(u64, Arc<File>, u64)>> {
        let newest = position.generation;
        for generation in newest.saturating_sub(1).max(self.unread)..=newest {
            let at_hand = &position.files[usize::from(generation == newest)];
            if let Some(file) = at_hand {
                return Ok(Some((generation, Arc::clone(file), 0)));
            }
            match File::open(file_path(&self.source.folder, generation)) {
                Ok(file) => return Ok(Some((generation, Arc::new(file), 0))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

fn read_record(file: &File, offset: u64) -> io::Result<Option<(LogChunk, u64)>> {
    let mut header = [0; HEADER_BYTES];
    if !read_fully_at(file, &mut header, offset)? {
        return Ok(None);
    }
    let (len, rest) = header.split_at(4);
    let (seq, rest) = rest.split_at(8);
    let (unix_ns, stream) = rest[8..].split_at(8);
    let len = u32::from_le_bytes(fixed(len)) as usize;
    if len > RECORD_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a log record is longer than any that is written",
        ));
    }
    let mut bytes = vec![0; len];
    if !read_fully_at(file, &mut bytes, offset + HEADER_BYTES as u64)? {
        return Ok(None);
    }
    let chunk = LogChunk {
        sequence: u64::from_le_bytes(fixed(seq)),
        unix_ns: u64::from_le_bytes(fixed(unix_ns)),
        stream: stream_of(stream[0]),
        bytes: Bytes::from(bytes),
    };
    Ok(Some((chunk, (HEADER_BYTES + len) as u64)))
}

/// Whether there was enough to fill `buffer`.
fn read_fully_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn fixed<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(slice);
    out
}

/// Size of the whole records at a file's beginning, and the numbers after the last, ours and the guest's.
fn whole_records(file: &File) -> io::Result<(u64, u64, u64)> {
    let mut reader = BufReader::new(file);
    let (mut size, mut next_seq, mut guest_next) = (0, 0, 0);
    let mut header = [0; HEADER_BYTES];
    while reader.read_exact(&mut header).is_ok() {
        let len = u64::from(u32::from_le_bytes(fixed(&header[..4])));
        if len > RECORD_BYTES as u64 || io::copy(&mut (&mut reader).take(len), &mut io::sink())? < len {
            break;
        }
        size += HEADER_BYTES as u64 + len;
        next_seq = u64::from_le_bytes(fixed(&header[4..12])).saturating_add(1);
        guest_next = u64::from_le_bytes(fixed(&header[12..20])).saturating_add(1);
    }
    Ok((size, next_seq, guest_next))
}

fn generations(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("log.")?.parse().ok())
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn file_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("log.{generation}"))
}

fn stream_byte(stream: LogStream) -> u8 {
    match stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    }
}

fn stream_of(byte: u8) -> LogStream {
    if byte == 2 {
        LogStream::Stderr
    } else {
        LogStream::Stdout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut reader: LogReader) -> Vec<(u64, Bytes)> {
        let mut found = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            found.push((chunk.sequence, chunk.bytes));
        }
        found
    }

    #[tokio::test]
    async fn what_is_written_is_read_also_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        writer.append(0, 1, LogStream::Stdout, b"one\n").unwrap();
        writer.append(5, 2, LogStream::Stderr, b"two\n").unwrap();
        writer.append(5, 2, LogStream::Stderr, b"again\n").unwrap();
        drop(writer);
        let path = folder.path().join("log.0");
        let mut half = OpenOptions::new().append(true).open(&path).unwrap();
        half.write_all(&[9, 0, 0, 0, 1]).unwrap();

        let mut writer = LogWriter::open(folder.path()).unwrap();
        assert_eq!((writer.next_seq(), writer.guest_next()), (2, 6));
        writer.follow_boot(0);
        writer.append(6, 3, LogStream::Stdout, b"three\n").unwrap();
        let found = all(writer.source().read(false)).await;
        assert_eq!(found, [(0, "one\n".into()), (1, "two\n".into()), (2, "three\n".into())]);
    }

    #[tokio::test]
    async fn a_guest_that_lies_about_numbers_harms_its_boot_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        writer.append(u64::MAX, 0, LogStream::Stdout, b"lie").unwrap();
        writer.append(1, 0, LogStream::Stdout, b"lost").unwrap();
        writer.follow_boot(writer.next_seq());
        writer.append(0, 0, LogStream::Stdout, b"next boot").unwrap();
        let found = all(writer.source().read(false)).await;
        assert_eq!(found, [(0, "lie".into()), (1, "next boot".into())]);
    }

    #[tokio::test]
    async fn a_follower_sees_all_and_ends_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        writer.set_closed(false);
        let follower = tokio::spawn(all(writer.source().read(true)));
        for seq in 0..100 {
            writer.append(seq, 0, LogStream::Stdout, b"x").unwrap();
            tokio::task::yield_now().await;
        }
        writer.set_closed(true);
        assert_eq!(follower.await.unwrap().len(), 100);
    }

    #[tokio::test]
    async fn a_long_record_is_kept_whole_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        let long: Vec<u8> = (0..2 * RECORD_BYTES + 7)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        writer.append(0, 0, LogStream::Stdout, &long).unwrap();
        writer.append(1, 0, LogStream::Stdout, b"next").unwrap();
        let found = all(writer.source().read(false)).await;
        let numbers: Vec<u64> = found.iter().map(|(seq, _)| *seq).collect();
        let bytes = found.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(bytes, [&long[..], b"next"].concat());
    }

    #[tokio::test]
    async fn a_flood_is_bounded_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        let record = vec![b'x'; RECORD_BYTES];
        for seq in 0..200 {
            writer.append(seq, 0, LogStream::Stdout, &record).unwrap();
        }
        let size: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= 2 * (FILE_BYTES + RECORD_BYTES as u64 + 64), "{size}");
        let found = all(writer.source().read(false)).await;
        assert_eq!(found.last().unwrap().0, 199);
        assert!(found.windows(2).all(|w| w[0].0 + 1 == w[1].0));
    }

    #[tokio::test]
    async fn a_reader_goes_on_to_the_next_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        writer.set_closed(false);
        let follower = tokio::spawn(all(writer.source().read(true)));
        let record = vec![b'x'; RECORD_BYTES];
        for seq in 0..100 {
            writer.append(seq, 0, LogStream::Stdout, &record).unwrap();
            tokio::task::yield_now().await;
        }
        writer.set_closed(true);
        let found: Vec<u64> = follower.await.unwrap().into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(found, (0..100).collect::<Vec<_>>());
        let reopened = LogWriter::open(folder.path()).unwrap();
        let found = all(reopened.source().read(false)).await;
        assert!(found.windows(2).all(|w| w[0].0 + 1 == w[1].0) && found.last().unwrap().0 == 99);
    }

    #[tokio::test]
    async fn a_log_outlives_its_folder_for_who_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        writer.set_closed(false);
        let (late, never) = (
            writer.source().read(true),
            LogWriter::open(folder.path()).unwrap().source(),
        );
        writer.append(0, 0, LogStream::Stdout, b"last words").unwrap();
        writer.set_closed(true);
        fs::remove_dir_all(folder.path()).unwrap();
        drop(writer);
        assert_eq!(all(late).await, [(0, "last words".into())]);
        assert_eq!(all(never.read(true)).await, []);
    }

    #[tokio::test]
    async fn tail_counts_lines_not_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(folder.path()).unwrap();
        for (seq, text) in ["a\nb\nc\n", "d\n", "e\nf"].iter().enumerate() {
            writer
                .append(seq as u64, 0, LogStream::Stdout, text.as_bytes())
                .unwrap();
        }
        for (lines, expected) in [
            (0, ""),
            (1, "f"),
            (2, "e\nf"),
            (4, "c\nd\ne\nf"),
            (99, "a\nb\nc\nd\ne\nf"),
        ] {
            let (chunks, _) = writer.source().tail(lines, false).await.unwrap();
            let text: Vec<u8> = chunks.iter().flat_map(|c| c.bytes.to_vec()).collect();
            assert_eq!(String::from_utf8(text).unwrap(), expected, "{lines}");
        }
    }
}
