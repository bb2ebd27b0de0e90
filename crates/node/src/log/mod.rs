//! What a machine's program wrote, kept on disk and readable while it grows.
//!
//! Records lie one after another in files `log.<generation>`; when one is full the next is begun, and only the last
//! two are kept, so a program that writes for ever fills no disk. A record cut off by a crash is dropped at the next
//! start. Readers follow the writer by a watch and survive the change of files.

mod format;
mod reader;
mod writer;

use std::{fs::File, sync::Arc};

pub(crate) use reader::{LogReader, LogSource};
pub(crate) use writer::LogWriter;

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

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
    };

    use bytes::Bytes;
    use hearth_node_api::LogStream;

    use super::{format::RECORD_BYTES, writer::FILE_BYTES, *};

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
        writer.follow_boot(0, 0);
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
        writer.follow_boot(writer.next_seq(), 0);
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
