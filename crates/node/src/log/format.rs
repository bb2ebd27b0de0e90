//! A record on disk, and the files that records lie in.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hearth_node_api::{LogChunk, LogStream};

/// Length, our number, the guest's number, time, stream.
pub(super) const HEADER_BYTES: usize = 4 + 8 + 8 + 8 + 1;
/// No record is longer, in bytes.
pub(super) const RECORD_BYTES: usize = 256 << 10;

pub(super) fn put_record(out: &mut Vec<u8>, numbers: [u64; 3], stream: LogStream, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(stream_byte(stream));
    out.extend_from_slice(bytes);
}

pub(super) fn read_record(file: &File, offset: u64) -> io::Result<Option<(LogChunk, u64)>> {
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
pub(super) fn whole_records(file: &File) -> io::Result<(u64, u64, u64)> {
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

pub(super) fn generations(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("log.")?.parse().ok())
        .collect();
    found.sort_unstable();
    Ok(found)
}

pub(super) fn file_path(folder: &Path, generation: u64) -> PathBuf {
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
