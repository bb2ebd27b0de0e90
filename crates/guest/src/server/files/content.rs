//! What is written of a file's content: the bytes that came, or what they say once unpacked.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use flate2::write::MultiGzDecoder;

use super::Refused;

/// A file that content goes to. Unpacked bytes go straight on, so that what unpacks to a thousand times its size takes no memory.
pub(super) enum Content {
    Plain(File),
    Packed(Box<MultiGzDecoder<Counted>>),
}

/// A file that remembers an error of its own, to be told from one of the packed bytes.
pub(super) struct Counted {
    file: File,
    failed: Option<io::Error>,
}

/// Why content was not written.
#[derive(Debug)]
pub(super) enum ContentError {
    File(io::Error),
    Packing(io::Error),
}

impl ContentError {
    pub(super) fn refused(&self, path: &Path) -> Refused {
        match self {
            Self::File(error) => Refused::io(path, error),
            Self::Packing(error) => Refused::bad(format!("the content is not what gzip makes: {error}")),
        }
    }
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|error| self.keep(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Counted {
    fn keep(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        if kind != io::ErrorKind::Interrupted {
            self.failed = Some(error);
        }
        kind.into()
    }
}

impl Content {
    pub(super) fn new(file: File, is_packed: bool) -> Self {
        if is_packed {
            Self::Packed(Box::new(MultiGzDecoder::new(Counted { file, failed: None })))
        } else {
            Self::Plain(file)
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        match self {
            Self::Plain(file) => file.write_all(bytes).map_err(ContentError::File),
            Self::Packed(decoder) => {
                let written = decoder.write_all(bytes);
                written.map_err(|error| told_apart(decoder.get_mut(), error))
            }
        }
    }

    /// Errors where packed content ends too early.
    pub(super) fn finish(self) -> Result<(), ContentError> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Packed(mut decoder) => {
                let finished = decoder.try_finish();
                finished.map_err(|error| told_apart(decoder.get_mut(), error))
            }
        }
    }
}

fn told_apart(file: &mut Counted, error: io::Error) -> ContentError {
    file.failed
        .take()
        .map_or(ContentError::Packing(error), ContentError::File)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8], step: usize) -> Result<Vec<u8>, ContentError> {
        let mut file = tempfile::tempfile().unwrap();
        let mut content = Content::new(file.try_clone().unwrap(), true);
        for piece in bytes.chunks(step) {
            content.write(piece)?;
        }
        content.finish()?;
        let mut text = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn unpacks_one_member_or_more_however_they_come() {
        let text = b"some text ".repeat(5000);
        let two = [packed(&text), packed(b"and more")].concat();
        for step in [1, 7, 1000, two.len()] {
            assert_eq!(unpacked(&two, step).unwrap(), [text.as_slice(), b"and more"].concat());
        }
        assert_eq!(unpacked(&packed(b""), 100).unwrap(), b"");
    }

    #[test]
    fn what_is_cut_short_or_no_gzip_is_refused() {
        let whole = packed(&b"some text ".repeat(5000));
        for bad in [
            &whole[..whole.len() - 1],
            &whole[..20],
            b"plain text, not packed at all",
            b"",
        ] {
            assert!(
                matches!(unpacked(bad, 64), Err(ContentError::Packing(_))),
                "{}",
                bad.len()
            );
        }
        let mut changed = whole.clone();
        let last = changed.len() - 6;
        changed[last] ^= 1;
        assert!(matches!(unpacked(&changed, 64), Err(ContentError::Packing(_))));
    }
}
