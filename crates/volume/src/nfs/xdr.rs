//! XDR (RFC 4506): words of four bytes, the largest first.

/// What was sent cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbage;

/// Reads what was received.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Garbage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Garbage)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Garbage> {
        let bytes = self.take(4)?.first_chunk().ok_or(Garbage)?;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Garbage> {
        let bytes = self.take(8)?.first_chunk().ok_or(Garbage)?;
        Ok(u64::from_be_bytes(*bytes))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Garbage> {
        Ok(self.u32()? != 0)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Garbage> {
        self.take(N)?.first_chunk().copied().ok_or(Garbage)
    }

    /// Bytes with their length before them, of which there may be so many.
    pub(super) fn opaque(&mut self, max: usize) -> Result<&'a [u8], Garbage> {
        let length = self.u32()? as usize;
        if length > max {
            return Err(Garbage);
        }
        let bytes = self.take(length)?;
        self.take(length.next_multiple_of(4) - length)?;
        Ok(bytes)
    }
}

/// Writes an answer.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        // What we send is far shorter than 4 GiB.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Words of zero: what is absent.
    pub(super) fn absent(&mut self, words: usize) -> &mut Self {
        self.0.resize(self.0.len() + 4 * words, 0);
        self
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn opaque_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            let mut writer = Writer::default();
            writer.opaque(&bytes).u32(7);
            prop_assert_eq!(writer.len() % 4, 0);
            let mut reader = Reader::new(&writer.0);
            prop_assert_eq!(reader.opaque(70), Ok(&bytes[..]));
            prop_assert_eq!(reader.u32(), Ok(7));
            prop_assert_eq!(reader.u32(), Err(Garbage));
        }
    }

    #[test]
    fn a_length_beyond_what_is_there_or_may_be_is_refused() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        assert_eq!(Reader::new(&bytes).opaque(usize::MAX), Err(Garbage));
        assert_eq!(Reader::new(&[0, 0, 0, 4, 1, 2, 3, 4]).opaque(3), Err(Garbage));
    }
}
