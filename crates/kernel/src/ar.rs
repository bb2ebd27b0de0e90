//! The `ar` container of a `.deb`: a magic and members with a 60-byte header each (deb(5)).

use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Reads forward to the first member whose name starts with `prefix`; returns its name and a reader of its bytes.
pub(crate) fn find_member<R: Read>(mut input: R, prefix: &str) -> io::Result<Option<(String, io::Take<R>)>> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(invalid("it does not start as an ar archive"));
    }
    // A .deb has three members; a handful more are allowed by deb(5).
    for _ in 0..32 {
        let mut header = [0; 60];
        match input.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let (name, size) = parse_header(&header)?;
        if name.starts_with(prefix) {
            return Ok(Some((name, input.take(size))));
        }
        let padded = size + size % 2;
        if io::copy(&mut input.by_ref().take(padded), &mut io::sink())? < size {
            return Ok(None);
        }
    }
    Ok(None)
}

fn parse_header(header: &[u8; 60]) -> io::Result<(String, u64)> {
    if header[58..] != *b"`\n" {
        return Err(invalid("a member's header is damaged"));
    }
    let text = |range: std::ops::Range<usize>| str::from_utf8(&header[range]).map(str::trim_end);
    let name = text(0..16).map_err(|_| invalid("a member's name is not text"))?;
    let size = text(48..58).ok().and_then(|size| size.parse::<u64>().ok());
    let size = size.ok_or_else(|| invalid("a member's size is not a number"))?;
    Ok((name.trim_end_matches('/').to_owned(), size))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, body.len()).into_bytes();
        bytes.extend_from_slice(body);
        if body.len() % 2 == 1 {
            bytes.push(b'\n');
        }
        bytes
    }

    #[test]
    fn finds_a_member_behind_others() {
        let bytes = [
            MAGIC.to_vec(),
            member("debian-binary", b"2.0"),
            member("data.tar.xz/", b"abc"),
        ]
        .concat();
        let (name, mut reader) = find_member(&bytes[..], "data.tar").unwrap().unwrap();
        let mut body = String::new();
        reader.read_to_string(&mut body).unwrap();
        assert_eq!((name.as_str(), body.as_str()), ("data.tar.xz", "abc"));
        assert!(find_member(&bytes[..], "nothing").unwrap().is_none());
    }

    #[test]
    fn damaged_archives_are_errors_or_empty() {
        assert!(find_member(&b"not an archive"[..], "data").is_err());
        assert!(find_member(&b"!<arch>\n"[..], "data").unwrap().is_none());
        assert!(find_member(&[MAGIC.to_vec(), vec![b'x'; 60]].concat()[..], "data").is_err());
    }
}
