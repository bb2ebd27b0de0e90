//! Content addresses: `sha256:` and 64 lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The address of some bytes: their SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Why a string is not a digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// Another hash function.
    #[error("digest {0:?} uses an algorithm other than sha256, the only one supported")]
    Algorithm(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("digest {0:?} is not \"sha256:\" followed by 64 lower-case hexadecimal digits")]
    Malformed(String),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }

    /// The first byte: evenly spread, so good to pick one of 256 locks.
    pub(crate) fn first_byte(&self) -> u8 {
        self.0[0]
    }

    /// Reads 64 lower-case hexadecimal digits without an algorithm.
    pub fn from_hex(digits: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(clip(digits));
        if digits.len() != 64 || digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(malformed());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| malformed())?;
        Ok(Self(bytes))
    }
}

/// A digest in the making.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Keeps messages short and harmless to a terminal when the text comes from a stranger.
pub(crate) fn clip(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown: String = text.chars().take(LONGEST).map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The character, unless it commands a terminal or a log's reader instead of being seen.
fn printable(character: char) -> char {
    match character {
        // Those that end lines, and those that turn the direction of what follows.
        '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        _ if character.is_control() => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.split_once(':') {
            Some(("sha256", digits)) => Self::from_hex(digits).map_err(|_| DigestError::Malformed(clip(text))),
            Some((algorithm, _)) if !algorithm.is_empty() => Err(DigestError::Algorithm(clip(text))),
            _ => Err(DigestError::Malformed(clip(text))),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// An image's identity: the digest of its configuration, which names every layer's content (as docker has it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(Digest);

impl ImageId {
    /// The image whose configuration has this digest.
    pub fn new(config: Digest) -> Self {
        Self(config)
    }

    /// The digest of the configuration.
    pub fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for ImageId {
    type Err = DigestError;

    /// Accepts the digits alone too, as people paste them.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.contains(':') {
            text.parse().map(Self)
        } else {
            Digest::from_hex(text).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_reads_back_what_it_writes() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(digest));
        assert_eq!(digest.short(), "e3b0c44298fc");
    }

    #[test]
    fn other_algorithms_and_malformed_digests_are_told_apart() {
        let sha512 = format!("sha512:{}", "0".repeat(128));
        assert!(matches!(sha512.parse::<Digest>(), Err(DigestError::Algorithm(_))));
        for text in [
            "",
            "sha256:",
            "sha256:12",
            &EMPTY.to_uppercase()[..7],
            ":abc",
            &EMPTY.replace('e', "E"),
            "nothing",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn strangers_words_are_short_and_command_nothing() {
        assert_eq!(clip("denied: größer als erlaubt"), "denied: größer als erlaubt");
        assert_eq!(
            clip("\x1b[2J\x1b]0;x\x07ok\r\nERROR\u{9b}31m\u{202e}\u{7f}"),
            "�[2J�]0;x�ok��ERROR�31m��"
        );
        assert_eq!(clip(&"ä".repeat(200)), "ä".repeat(200));
        assert_eq!(clip(&"\n".repeat(201)), format!("{}…", "�".repeat(200)));
    }

    #[test]
    fn an_image_id_may_come_without_its_algorithm() {
        assert_eq!(EMPTY["sha256:".len()..].parse::<ImageId>(), EMPTY.parse::<ImageId>());
    }
}
