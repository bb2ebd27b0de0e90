//! The reading side.

use std::{collections::VecDeque, fs::File, io, path::PathBuf, sync::Arc};

use hearth_node_api::LogChunk;
use tokio::sync::watch;

use super::{
    Position,
    format::{file_path, read_record},
};

/// What a reader needs to begin.
#[derive(Debug, Clone)]
pub(crate) struct LogSource {
    pub(super) folder: PathBuf,
    pub(super) position: watch::Receiver<Position>,
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
