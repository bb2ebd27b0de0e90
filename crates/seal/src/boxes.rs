//! Closed boxes as text: `hs1:KEY:NAME:DATA`, where `KEY` names the master key, and `DATA` is nonce and ciphertext in
//! base 64. The number counts formats, so that a later one, or another key, can be told apart.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    AeadInPlace as _, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hearth_domain::SecretName;
use hearth_ids::ProjectId;
use rand::TryRngCore as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::Seal;

const FORMAT: &str = "hs1";
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

/// Why a value cannot be closed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The host has no randomness.
    #[error("cannot take random bytes from the host")]
    Random(#[from] rand::rand_core::OsError),
    /// The value is longer than the cipher takes, which is 256 GiB.
    #[error("the value is too long to be closed")]
    TooLong,
}

/// Why a box cannot be opened. None tells anything of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It is none of ours.
    #[error("the closed secret cannot be read; set it anew")]
    Malformed,
    /// It was closed with another master key.
    #[error(
        "the secret {name} was closed with another master key ({found}, and this host has {known}); put that one back, or set the secret anew"
    )]
    OtherKey {
        /// Whose.
        name: SecretName,
        /// Name of the key that closed it.
        found: String,
        /// Name of ours.
        known: String,
    },
    /// It was changed, or belongs to another project or name.
    #[error("the closed secret {name} was tampered with, or belongs to another project; set it anew")]
    Refused {
        /// Whose.
        name: SecretName,
    },
}

/// The name of the secret in a box.
pub fn name_of(sealed: &str) -> Result<SecretName, OpenError> {
    parts(sealed).map(|parts| parts.name)
}

struct Parts<'a> {
    key: &'a str,
    name: SecretName,
    data: &'a str,
}

fn parts(sealed: &str) -> Result<Parts<'_>, OpenError> {
    let mut fields = sealed.split(':');
    match (
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
        fields.next(),
    ) {
        (Some(FORMAT), Some(key), Some(name), Some(data), None) => Ok(Parts {
            key,
            name: name.parse().map_err(|_| OpenError::Malformed)?,
            data,
        }),
        _ => Err(OpenError::Malformed),
    }
}

/// What a box is bound to. Neither part holds a `:`, so no two pairs are alike.
fn bound_to(project: ProjectId, name: &SecretName) -> String {
    format!("{FORMAT}:{project}:{name}")
}

impl Seal {
    /// Closes a value.
    pub fn seal(&self, project: ProjectId, name: &SecretName, value: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::rngs::OsRng.try_fill_bytes(&mut nonce)?;
        let bound = bound_to(project, name);
        let payload = Payload {
            msg: value,
            aad: bound.as_bytes(),
        };
        let closed = self
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| SealError::TooLong)?;
        let data = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &closed].concat());
        Ok(format!("{FORMAT}:{}:{name}:{data}", self.key_id))
    }

    /// Opens a box of a project.
    pub fn open(&self, project: ProjectId, sealed: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let Parts { key, name, data } = parts(sealed)?;
        if key != self.key_id {
            return Err(OpenError::OtherKey {
                name,
                found: key.chars().take(16).collect(),
                known: self.key_id.clone(),
            });
        }
        let data = URL_SAFE_NO_PAD.decode(data).map_err(|_| OpenError::Malformed)?;
        let (nonce, closed) = data.split_at_checked(NONCE_LEN).ok_or(OpenError::Malformed)?;
        let (closed, tag) = closed
            .split_at_checked(closed.len().checked_sub(TAG_LEN).ok_or(OpenError::Malformed)?)
            .ok_or(OpenError::Malformed)?;
        // Opened in place, in memory that is wiped, so that no second copy is left.
        let mut value = Zeroizing::new(closed.to_vec());
        let bound = bound_to(project, &name);
        self.cipher()
            .decrypt_in_place_detached(XNonce::from_slice(nonce), bound.as_bytes(), &mut value, tag.into())
            .map_err(|_| OpenError::Refused { name })?;
        Ok(value)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.boxes.as_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    #[test]
    fn a_box_opens_in_its_own_place_only() {
        let seal = Seal::new([7; 32]);
        let project = ProjectId::new();
        let sealed = seal.seal(project, &name("db.password"), b"hunter2").unwrap();
        assert_eq!(seal.open(project, &sealed).unwrap().as_slice(), b"hunter2");
        assert_eq!(name_of(&sealed), Ok(name("db.password")));
        assert!(!sealed.contains("hunter2"));
        assert!(matches!(
            seal.open(ProjectId::DEFAULT, &sealed),
            Err(OpenError::Refused { .. })
        ));
        let renamed = sealed.replace("db.password", "db.passwore");
        assert!(matches!(seal.open(project, &renamed), Err(OpenError::Refused { .. })));
        assert!(matches!(
            Seal::new([8; 32]).open(project, &sealed),
            Err(OpenError::OtherKey { .. })
        ));
        assert_ne!(
            sealed,
            seal.seal(project, &name("db.password"), b"hunter2").unwrap(),
            "each box has a nonce of its own"
        );
    }

    #[test]
    fn what_is_no_box_is_refused() {
        let seal = Seal::new([7; 32]);
        let good = seal.seal(ProjectId::DEFAULT, &name("a"), b"").unwrap();
        for bad in [
            "",
            ":",
            "hs1",
            "hs1:::",
            "hs2:x:a:AA",
            &good[..30],
            &format!("{good}:x"),
        ] {
            assert!(seal.open(ProjectId::DEFAULT, bad).is_err(), "{bad}");
        }
        assert_eq!(seal.open(ProjectId::DEFAULT, &good).unwrap().as_slice(), b"");
    }

    proptest! {
        #[test]
        fn any_value_comes_back_and_any_change_is_seen(value: Vec<u8>, place: prop::sample::Index, flip in 1..=255u8) {
            let seal = Seal::new([9; 32]);
            let project = ProjectId::new();
            let sealed = seal.seal(project, &name("x"), &value).unwrap();
            let opened = seal.open(project, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), &value);
            let (head, data) = sealed.rsplit_once(':').unwrap();
            let mut data = URL_SAFE_NO_PAD.decode(data).unwrap();
            let place = place.index(data.len());
            data[place] ^= flip;
            let changed = format!("{head}:{}", URL_SAFE_NO_PAD.encode(data));
            let refused = matches!(seal.open(project, &changed), Err(OpenError::Refused { .. }));
            prop_assert!(refused);
        }

        #[test]
        fn garbage_is_refused_without_harm(text: String) {
            prop_assert!(Seal::new([9; 32]).open(ProjectId::DEFAULT, &text).is_err());
        }
    }
}
