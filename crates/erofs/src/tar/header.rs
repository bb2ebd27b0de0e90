//! One 512-byte tar header: v7, ustar, GNU and star flavours.

use super::TarError;

pub(super) const BLOCK: usize = 512;

const CHECKSUM: std::ops::Range<usize> = 148..156;

pub(super) struct Header {
    pub(super) block: [u8; BLOCK],
}

impl Header {
    pub(super) fn is_zero(&self) -> bool {
        self.block == [0; BLOCK]
    }

    /// Old tars summed signed bytes; both are accepted, as every tar does.
    pub(super) fn check_sum(&self) -> Result<(), TarError> {
        let stated = number("checksum", &self.block[CHECKSUM]).map_err(|_| TarError::Checksum)?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, &byte) in self.block.iter().enumerate() {
            let byte = if CHECKSUM.contains(&at) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if stated == unsigned || stated == signed {
            Ok(())
        } else {
            Err(TarError::Checksum)
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.block[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.block[..100]);
        let prefix = match &self.block[257..265] {
            b"ustar\x0000" if &self.block[508..512] == b"tar\0" => until_nul(&self.block[345..476]),
            b"ustar\x0000" => until_nul(&self.block[345..500]),
            _ => b"",
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(&self.block[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<i64, TarError> {
        number("mode", &self.block[100..108])
    }

    pub(super) fn uid(&self) -> Result<i64, TarError> {
        number("uid", &self.block[108..116])
    }

    pub(super) fn gid(&self) -> Result<i64, TarError> {
        number("gid", &self.block[116..124])
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        unsigned("size", number("size", &self.block[124..136])?)
    }

    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        number("mtime", &self.block[136..148])
    }

    pub(super) fn device(&self) -> Result<(u64, u64), TarError> {
        let major = unsigned("devmajor", number("devmajor", &self.block[329..337])?)?;
        let minor = unsigned("devminor", number("devminor", &self.block[337..345])?)?;
        Ok((major, minor))
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

pub(super) fn unsigned(field: &'static str, value: i64) -> Result<u64, TarError> {
    u64::try_from(value).map_err(|_| TarError::Number {
        field,
        value: value.to_string(),
    })
}

/// A numeric field: octal text, or (GNU, star) a big-endian number marked by its first bit.
pub(super) fn number(field: &'static str, raw: &[u8]) -> Result<i64, TarError> {
    let parsed = if raw[0] & 0x80 == 0 { octal(raw) } else { base256(raw) };
    parsed.ok_or_else(|| TarError::Number {
        field,
        value: raw.escape_ascii().to_string(),
    })
}

fn octal(raw: &[u8]) -> Option<i64> {
    let text = raw.trim_ascii_start();
    let end = text
        .iter()
        .position(|byte| matches!(byte, b' ' | 0))
        .unwrap_or(text.len());
    text[..end].iter().try_fold(0_i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

fn base256(raw: &[u8]) -> Option<i64> {
    let negative = raw[0] & 0x40 != 0;
    let first = if negative {
        i128::from(raw[0]) - 256
    } else {
        i128::from(raw[0] & 0x3f)
    };
    // At most 12 bytes, so 96 bits: no overflow before the range check.
    let value = raw[1..]
        .iter()
        .fold(first, |value, &byte| value * 256 + i128::from(byte));
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_their_spellings() {
        assert_eq!(number("x", b"0000644\0").unwrap(), 0o644);
        assert_eq!(number("x", b"   644 \0").unwrap(), 0o644);
        assert_eq!(number("x", b"\0\0\0\0\0\0\0\0").unwrap(), 0);
        assert_eq!(number("x", b"77777777").unwrap(), 0o7777_7777);
        assert_eq!(number("x", b"\x80\0\0\0\xff\xff\xff\xff").unwrap(), 0xffff_ffff);
        assert_eq!(number("x", b"\xff\xff\xff\xff\xff\xff\xff\xfe").unwrap(), -2);
        assert!(number("x", b"12a\0").is_err());
        assert!(number("x", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(number("x", &[b'7'; 12]).is_ok());
    }
}
