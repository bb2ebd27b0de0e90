//! From pieces of output, cut anywhere, to lines.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

use hearth_api::{FunctionLogRecord, LogStream};
use hearth_ids::MachineId;
use hearth_node_api::LogChunk;
use jiff::Timestamp;

/// A line that is longer is cut, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// Puts the lines of one instance together.
pub(crate) struct Lines {
    machine: MachineId,
    version: u32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(machine: MachineId, version: u32) -> Self {
        Self {
            machine,
            version,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// The lines that a piece completes.
    pub(crate) fn push(&mut self, chunk: &LogChunk) -> Vec<FunctionLogRecord> {
        let stream = match chunk.stream {
            hearth_node_api::LogStream::Stdout => LogStream::Stdout,
            hearth_node_api::LogStream::Stderr => LogStream::Stderr,
        };
        let at = time(chunk.unix_ns);
        let mut lines = Vec::new();
        for piece in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = self.open(stream);
            open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || open.len() >= LINE_MAX {
                let line = std::mem::take(open);
                lines.push(self.record(at, stream, &line));
            }
        }
        lines
    }

    /// What is left at the end without a line's end.
    pub(crate) fn rest(&mut self, at: Timestamp) -> Vec<FunctionLogRecord> {
        let mut lines = Vec::new();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let line = std::mem::take(self.open(stream));
            if !line.is_empty() {
                lines.push(self.record(at, stream, &line));
            }
        }
        lines
    }

    fn open(&mut self, stream: LogStream) -> &mut Vec<u8> {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    fn record(&self, at: Timestamp, stream: LogStream, line: &[u8]) -> FunctionLogRecord {
        let text = String::from_utf8_lossy(line);
        FunctionLogRecord {
            at,
            version: self.version,
            machine: self.machine,
            stream,
            line: text.trim_end_matches(['\n', '\r']).to_owned(),
        }
    }
}

/// Times beyond what the wire can say become its last one: a guest sets them.
fn time(unix_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or(Timestamp::MAX)
}

/// The last lines of many: a function may write as many as it likes, and empty ones too.
#[derive(Debug)]
pub(crate) struct Newest {
    lines: VecDeque<FunctionLogRecord>,
    lines_max: usize,
    bytes_max: usize,
    bytes: usize,
}

impl Newest {
    pub(crate) fn new(lines_max: usize, bytes_max: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            lines_max,
            bytes_max,
            bytes: 0,
        }
    }

    pub(crate) fn push(&mut self, line: FunctionLogRecord) {
        self.bytes += line.line.len();
        self.lines.push_back(line);
        while self.lines.len() > self.lines_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.line.len();
        }
    }

    pub(crate) fn into_lines(self) -> Vec<FunctionLogRecord> {
        self.lines.into()
    }
}

/// The newest lines of many instances, by when they were written; of the same moment, by when they came.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The oldest is on top.
    lines: BinaryHeap<Reverse<Placed>>,
    lines_max: usize,
    bytes_max: usize,
    bytes: usize,
    count: u64,
}

#[derive(Debug)]
struct Placed {
    place: (Timestamp, u64),
    record: FunctionLogRecord,
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

impl Merged {
    pub(crate) fn new(lines_max: usize, bytes_max: usize) -> Self {
        Self {
            lines: BinaryHeap::new(),
            lines_max,
            bytes_max,
            bytes: 0,
            count: 0,
        }
    }

    /// The lines, oldest first.
    pub(crate) fn into_lines(self) -> Vec<FunctionLogRecord> {
        let lines = self.lines.into_sorted_vec().into_iter().rev();
        lines.map(|Reverse(placed)| placed.record).collect()
    }
}

impl Extend<FunctionLogRecord> for Merged {
    fn extend<T: IntoIterator<Item = FunctionLogRecord>>(&mut self, lines: T) {
        for record in lines {
            self.bytes += record.line.len();
            let place = (record.at, self.count);
            self.count += 1;
            self.lines.push(Reverse(Placed { place, record }));
            while self.lines.len() > self.lines_max || self.bytes > self.bytes_max {
                let Some(Reverse(oldest)) = self.lines.pop() else { break };
                self.bytes -= oldest.record.line.len();
            }
        }
    }
}

impl Extend<FunctionLogRecord> for Newest {
    fn extend<T: IntoIterator<Item = FunctionLogRecord>>(&mut self, lines: T) {
        for line in lines {
            self.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_the_newest_stay() {
        let mut newest = Newest::new(3, 10);
        let lines = Lines::new(MachineId::new(), 1);
        let record = |text: &str| lines.record(Timestamp::UNIX_EPOCH, LogStream::Stdout, text.as_bytes());
        newest.extend(["a", "", "", "b"].map(record));
        assert_eq!(newest.lines.len(), 3);
        newest.push(record("0123456789"));
        let left: Vec<_> = newest.into_lines().into_iter().map(|line| line.line).collect();
        assert_eq!(left, ["0123456789"]);
    }

    fn chunk(stream: hearth_node_api::LogStream, text: &str) -> LogChunk {
        LogChunk {
            sequence: 0,
            unix_ns: 5,
            stream,
            bytes: bytes::Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    #[test]
    fn lines_come_whole_and_each_stream_by_itself() {
        use hearth_node_api::LogStream::{Stderr, Stdout};
        let mut lines = Lines::new(MachineId::new(), 1);
        let texts = |records: Vec<FunctionLogRecord>| records.into_iter().map(|r| r.line).collect::<Vec<_>>();
        assert!(texts(lines.push(&chunk(Stdout, "he"))).is_empty());
        assert_eq!(texts(lines.push(&chunk(Stderr, "oops\r\n"))), ["oops"]);
        assert_eq!(texts(lines.push(&chunk(Stdout, "llo\n\nwor"))), ["hello", ""]);
        assert_eq!(texts(lines.rest(Timestamp::UNIX_EPOCH)), ["wor"]);
        let long = "x".repeat(LINE_MAX + 1);
        assert_eq!(texts(lines.push(&chunk(Stdout, &long))).len(), 1);
    }
}
