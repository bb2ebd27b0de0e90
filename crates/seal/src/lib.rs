//! Secrets at rest.
//!
//! One master key of 256 random bits, in a file that its owner alone may read or in the environment. From it come, by
//! HMAC-SHA256, a key for each purpose: one closes boxes (XChaCha20-Poly1305), another makes the secrets that clients
//! sign with. A box is bound to its project and its name, so that one cannot be put in another's place.

mod boxes;
mod master;

pub use boxes::{OpenError, SealError, name_of};
use hearth_ids::KeyId;
pub use master::{MASTER_KEY_VARIABLE, MasterKeyError};
use zeroize::Zeroizing;

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// Bytes of a block of SHA-256.
const BLOCK_LEN: usize = 64;

/// A key, forgotten when it is dropped.
type Key = Zeroizing<[u8; KEY_LEN]>;

/// What closes secrets, and opens them.
pub struct Seal {
    master: Key,
    boxes: Key,
    /// Names the master key without telling it.
    key_id: String,
}

impl Seal {
    /// Of a master key.
    pub fn new(master: [u8; KEY_LEN]) -> Self {
        let master = Zeroizing::new(master);
        let boxes = derived(&master, &[b"hearth secrets v1"]);
        let key_id = hex::encode(&derived(&master, &[b"hearth key id v1"])[..4]);
        Self { master, boxes, key_id }
    }

    /// The secret access key of a key, for clients that sign as AWS does: HMAC-SHA256 of the master key over
    /// `aws-sigv4` and the key's ID, in hexadecimal. So signatures are verified without a secret being stored.
    pub fn sigv4_secret(&self, key: KeyId) -> Zeroizing<String> {
        let secret = derived(&self.master, &[b"aws-sigv4", key.to_string().as_bytes()]);
        Zeroizing::new(hex::encode(secret.as_slice()))
    }

    /// What opens one thing for one purpose, to whoever is given it: HMAC-SHA256 of the master key over the purpose, a NUL and
    /// what it opens, in hexadecimal. So nothing is stored of it.
    pub fn token(&self, purpose: &str, what: &str) -> Zeroizing<String> {
        let token = derived(&self.master, &[purpose.as_bytes(), b"\0", what.as_bytes()]);
        Zeroizing::new(hex::encode(token.as_slice()))
    }
}

impl std::fmt::Debug for Seal {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// HMAC-SHA256 over the parts, one after the other.
fn derived(key: &Key, parts: &[&[u8]]) -> Key {
    use hmac::Mac as _;
    // A key shorter than a block is filled up with zeros (RFC 2104, section 2).
    let mut block = Zeroizing::new([0; BLOCK_LEN]);
    block[..KEY_LEN].copy_from_slice(key.as_slice());
    let mut mac = hmac::Hmac::<sha2::Sha256>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_purpose_master_and_id() {
        let (one, other) = (Seal::new([1; 32]), Seal::new([2; 32]));
        let (a, b) = (KeyId::new(), KeyId::new());
        assert_eq!(one.sigv4_secret(a), one.sigv4_secret(a));
        assert_eq!(one.sigv4_secret(a).len(), 64);
        assert_ne!(one.sigv4_secret(a), one.sigv4_secret(b));
        assert_ne!(one.sigv4_secret(a), other.sigv4_secret(a));
        assert_eq!(one.token("traffic", "x"), one.token("traffic", "x"));
        assert_ne!(one.token("traffic", "x"), one.token("upload", "x"));
        assert_ne!(one.token("traffic", "x"), one.token("traffic", "y"));
        assert_ne!(one.boxes, one.master);
        assert!(!format!("{one:?}").contains(&hex::encode([1; 32])));
    }

    #[test]
    fn derivation_is_hmac_sha256() {
        // RFC 4231's first test with a key of 32 bytes, made by another implementation.
        let made = derived(&Zeroizing::new([0x0b; 32]), &[b"Hi ", b"There"]);
        assert_eq!(
            hex::encode(made.as_slice()),
            "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7"
        );
    }
}
