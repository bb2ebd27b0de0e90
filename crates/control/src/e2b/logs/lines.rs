//! Lines of a sandbox's log, of pieces that are cut anywhere.

use std::collections::VecDeque;

use hearth_node_api::{LogChunk, LogStream};

/// Lines of the log's end that are looked through.
const LINES_MAX: usize = 10_000;
/// What is kept of a line, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// By the stream.
const LEVELS: [&str; 2] = ["info", "warn"];

/// A line, read.
#[derive(Debug)]
pub(super) struct Line {
    /// When it began.
    pub(super) at_unix_ms: u64,
    pub(super) level: &'static str,
    bytes: Vec<u8>,
    /// What it had beyond that.
    cut: usize,
}

impl Line {
    /// As it is told.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.cut {
            0 => text.trim_end().to_owned(),
            cut => format!("{text} … ({cut} more bytes of this line are left out)"),
        }
    }

    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.cut == 0
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.bytes.len();
        let (kept, cut) = bytes.split_at(room.min(bytes.len()));
        self.bytes.extend_from_slice(kept);
        self.cut += cut.len();
    }
}

/// The last lines of what was added.
#[derive(Debug, Default)]
pub(super) struct Lines {
    ended: VecDeque<Line>,
    /// Of each stream, the line that goes on.
    open: [Option<Line>; 2],
}

impl Lines {
    pub(super) fn add(&mut self, chunk: &LogChunk) {
        let at = usize::from(chunk.stream == LogStream::Stderr);
        for piece in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = self.open[at].get_or_insert_with(|| Line {
                at_unix_ms: chunk.unix_ns / 1_000_000,
                level: LEVELS[at],
                bytes: Vec::new(),
                cut: 0,
            });
            let text = piece.strip_suffix(b"\n");
            line.add(text.unwrap_or(piece));
            if text.is_some() {
                self.ended.extend(self.open[at].take());
            }
            if self.ended.len() > LINES_MAX {
                self.ended.pop_front();
            }
        }
    }

    /// In the order of their beginnings. A line that is not ended yet is one as well.
    pub(super) fn finish(self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.ended.into();
        lines.extend(self.open.into_iter().flatten());
        lines.sort_by_key(|line| line.at_unix_ms);
        lines
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;

    pub(crate) fn chunk(ms: u64, stream: LogStream, text: &str) -> LogChunk {
        LogChunk {
            sequence: 0,
            unix_ns: ms * 1_000_000,
            stream,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    pub(crate) fn split(chunks: &[LogChunk]) -> Vec<Line> {
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.add(chunk);
        }
        lines.finish()
    }

    #[test]
    fn lines_are_whole_whatever_pieces_they_come_in() {
        let lines = split(&[
            chunk(1, LogStream::Stdout, "a"),
            chunk(2, LogStream::Stderr, "oops\n"),
            chunk(3, LogStream::Stdout, "b\nc"),
        ]);
        let seen: Vec<_> = lines
            .iter()
            .map(|line| (line.at_unix_ms, line.level, line.text()))
            .collect();
        let expected = [(1, "info", "ab"), (2, "warn", "oops"), (3, "info", "c")];
        assert_eq!(seen, expected.map(|(at, level, text)| (at, level, text.to_owned())));
    }

    #[test]
    fn a_line_is_cut_and_says_so() {
        let piece = "x".repeat(LINE_BYTES_MAX / 2 + 1);
        let chunks = [&piece, &piece, "\nnext\n"].map(|text| chunk(1, LogStream::Stdout, text));
        let lines = split(&chunks);
        assert_eq!(lines.len(), 2);
        assert!(!lines[0].is_whole() && lines[1].is_whole());
        assert_eq!(lines[0].bytes.len(), LINE_BYTES_MAX);
        assert!(lines[0].text().ends_with("(2 more bytes of this line are left out)"));
        assert_eq!(lines[1].text(), "next");
    }

    #[test]
    fn the_last_lines_are_looked_through() {
        let numbers: Vec<String> = (0..LINES_MAX + 3).map(|number| number.to_string()).collect();
        let text = numbers.join("\n") + "\n";
        let lines = split(&[chunk(1, LogStream::Stdout, &text)]);
        assert_eq!((lines.len(), lines[0].text().as_str()), (LINES_MAX, "3"));
    }
}
