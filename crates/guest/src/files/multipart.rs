//! `multipart/form-data`, cut from a stream of chunks without ever holding more than a chunk and one header block.

use bytes::{Buf as _, Bytes, BytesMut};

const MAX_HEADER_BYTES: usize = 16 * 1024;
/// RFC 2046.
const MAX_BOUNDARY_BYTES: usize = 70;

/// What the parser found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A new part: its `name`, and `filename` where it has one.
    Begin { name: String, filename: Option<String> },
    /// Some of the part's content.
    Data(Bytes),
    /// The part is complete.
    End,
    /// The whole is complete.
    Done,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the multipart body is malformed: {0}")]
pub(crate) struct Malformed(&'static str);

enum State {
    Preamble,
    Headers,
    Content,
    Done,
}

/// Push chunks, then take parts until there are none.
pub(crate) struct Multipart {
    /// `\r\n--boundary`
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

/// The boundary of a content type, if it is a multipart form's.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameter(parameters, "boundary")?;
    (1..=MAX_BOUNDARY_BYTES).contains(&value.len()).then_some(value)
}

/// A parameter's value, quoted or not.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters.trim_start_matches([';', ' ']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => after
                .split_once(';')
                .map_or((after.trim().to_owned(), ""), |(value, next)| {
                    (value.trim().to_owned(), next)
                }),
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next.trim_start_matches([';', ' ']);
    }
    None
}

/// Up to the closing quote. Clients escape a quote as `\"` or `%22`, line breaks as `%0A` and `%0D`; a backslash may stand for itself.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((unescape(&value), &text[at + 1..])),
            '\\' if text[at + 1..].starts_with(['"', '\\']) => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn unescape(value: &str) -> String {
    let escapes = [("%22", "\""), ("%0A", "\n"), ("%0D", "\r")];
    escapes.iter().fold(value.to_owned(), |text, (escape, character)| {
        text.replace(escape, character)
    })
}

impl Multipart {
    pub(crate) fn new(boundary: &str) -> Self {
        // The first delimiter has no line break before it unless there is a preamble; this makes all alike.
        Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Preamble,
        }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next part, or `None` when more input is needed.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, Malformed> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Preamble => {
                    let Some(at) = self.find_delimiter() else {
                        self.drop_preamble();
                        return Ok(None);
                    };
                    let Some(is_last) = self.is_last_delimiter(at)? else {
                        return Ok(None);
                    };
                    self.buffer.advance(at + self.delimiter.len() + 2);
                    self.state = if is_last { State::Done } else { State::Headers };
                    if is_last {
                        return Ok(Some(Part::Done));
                    }
                }
                State::Headers => return self.headers(),
                State::Content => return self.content(),
            }
        }
    }

    fn drop_preamble(&mut self) {
        let keep = self.delimiter.len() + 2;
        if self.buffer.len() > keep {
            self.buffer.advance(self.buffer.len() - keep);
        }
    }

    fn find_delimiter(&self) -> Option<usize> {
        self.buffer
            .windows(self.delimiter.len())
            .position(|window| window == self.delimiter)
    }

    /// What follows a delimiter: a line break (more), two dashes (last), or not enough bytes yet.
    fn is_last_delimiter(&self, at: usize) -> Result<Option<bool>, Malformed> {
        match self
            .buffer
            .get(at + self.delimiter.len()..at + self.delimiter.len() + 2)
        {
            None => Ok(None),
            Some(b"\r\n") => Ok(Some(false)),
            Some(b"--") => Ok(Some(true)),
            Some(_) => Err(Malformed(
                "a boundary is followed by neither a line break nor two dashes",
            )),
        }
    }

    fn headers(&mut self) -> Result<Option<Part>, Malformed> {
        let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.buffer.len() > MAX_HEADER_BYTES {
                Err(Malformed("a part's headers are too long"))
            } else {
                Ok(None)
            };
        };
        if end > MAX_HEADER_BYTES {
            return Err(Malformed("a part's headers are too long"));
        }
        let headers = self.buffer.split_to(end + 4);
        let headers = String::from_utf8_lossy(&headers[..end]).into_owned();
        let disposition = headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case("content-disposition")
                .then(|| value.split_once(';').map_or("", |(_, rest)| rest).to_owned())
        });
        let disposition = disposition.ok_or(Malformed("a part has no content disposition"))?;
        self.state = State::Content;
        let name = parameter(&disposition, "name").unwrap_or_default();
        Ok(Some(Part::Begin {
            name,
            filename: parameter(&disposition, "filename"),
        }))
    }

    fn content(&mut self) -> Result<Option<Part>, Malformed> {
        match self.find_delimiter() {
            Some(0) => {
                if self.is_last_delimiter(0)?.is_none() {
                    return Ok(None);
                }
                self.state = State::Preamble;
                Ok(Some(Part::End))
            }
            Some(at) => Ok(Some(Part::Data(self.buffer.split_to(at).freeze()))),
            None => {
                // The end may be the beginning of a delimiter.
                let certain = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
                Ok((certain > 0).then(|| Part::Data(self.buffer.split_to(certain).freeze())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"/a/b \\\"c\\\".txt\"\r\nContent-Type: text/plain\r\n\r\none\r\n--X\r\ntwo\r\n--XX\r\ncontent-disposition: form-data; name=file; filename=d\r\n\r\n\r\n--XX--\r\n";

    fn parse(body: &[u8], step: usize) -> Result<Vec<Part>, Malformed> {
        let mut multipart = Multipart::new("XX");
        let mut parts: Vec<Part> = Vec::new();
        for chunk in body.chunks(step) {
            multipart.push(chunk);
            while let Some(part) = multipart.next()? {
                match (parts.last_mut(), part) {
                    (Some(Part::Data(whole)), Part::Data(more)) => *whole = [whole.as_ref(), &more].concat().into(),
                    (_, part) => parts.push(part),
                }
            }
        }
        Ok(parts)
    }

    #[test]
    fn any_chunking_gives_the_same_parts() {
        let begin = |filename: &str| Part::Begin {
            name: "file".into(),
            filename: Some(filename.into()),
        };
        for step in 1..=BODY.len() {
            let expected = vec![
                begin("/a/b \"c\".txt"),
                Part::Data(Bytes::from_static(b"one\r\n--X\r\ntwo")),
                Part::End,
                begin("d"),
                Part::End,
                Part::Done,
            ];
            assert_eq!(parse(BODY.as_bytes(), step).unwrap(), expected, "step {step}");
        }
    }

    #[test]
    fn boundaries() {
        assert_eq!(boundary("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(
            boundary("Multipart/Form-Data; charset=x; boundary=\"a b\"").as_deref(),
            Some("a b")
        );
        assert_eq!(boundary("application/octet-stream"), None);
        assert_eq!(boundary("multipart/form-data; boundary="), None);
    }

    #[test]
    fn names_as_clients_quote_them() {
        let of = |quoted: &str| parameter(&format!(" name=\"file\"; filename=\"{quoted}\""), "filename");
        assert_eq!(of(r"a\b").as_deref(), Some(r"a\b"));
        assert_eq!(of(r"a\\b").as_deref(), Some(r"a\b"));
        assert_eq!(of(r#"a\"b"#).as_deref(), Some("a\"b"));
        assert_eq!(of("a%22b%0Ac%25").as_deref(), Some("a\"b\nc%25"));
    }

    #[test]
    fn refuses_nonsense() {
        assert!(parse(b"--XXgarbage", 100).is_err());
        assert!(parse(b"--XX\r\nno: disposition\r\n\r\n", 100).is_err());
        let endless = [b"--XX\r\n".as_slice(), &vec![b'a'; MAX_HEADER_BYTES + 10]].concat();
        assert!(parse(&endless, 1000).is_err());
    }
}
