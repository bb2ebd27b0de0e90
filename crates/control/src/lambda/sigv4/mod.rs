//! Signature version 4, as AWS's clients sign: `Authorization: AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
//!
//! ```text
//!  HMAC(HMAC(HMAC(HMAC("AWS4" secret, date), region), service), "aws4_request")  the key of a day
//!  HMAC(key, "AWS4-HMAC-SHA256" time scope SHA-256(canonical request))           the signature
//! ```
//!
//! What a signature does not cover does not count: host, time and whatever else may change what is done must be in it, and the
//! body by its hash. A signed request may be sent again as it is until its time is over: there is no nonce.
//!
//! Source: AWS, "Signature Version 4 signing process", and botocore's `auth.py`, whose requests the tests have.

mod canonical;
mod parse;

use hearth_ids::KeyId;
use hmac::{Hmac, Mac as _};
use http::request::Parts;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

pub(super) use parse::is_signed;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "lambda";
const TERMINATOR: &str = "aws4_request";
/// The hash of a body that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How far a request's time may be from ours, in milliseconds: AWS's five minutes.
const SKEW_MAX_MS: u64 = 5 * 60 * 1000;

/// What a request says of its signature, which is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// Whose it claims to be.
    pub(super) key: KeyId,
    /// What it says of its body.
    pub(super) payload: Payload,
    /// `20261121T180000Z`.
    time: String,
    region: String,
    /// Names of the signed headers, sorted, in lower case.
    headers: Vec<String>,
    signature: [u8; 32],
}

/// What a signature says of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing in a header: its hash is in the signature all the same.
    Untold,
    /// SHA-256, in hexadecimal.
    Hash(String),
    /// It is not signed.
    Unsigned,
}

/// Why a signature is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum SignatureError {
    /// Something is missing or cannot be read.
    #[error("The request signature does not conform to AWS standards: {0}.")]
    Incomplete(String),
    /// Its time is not now.
    #[error("Signature expired: {time} is not within 5 minutes of {now}; check this host's clock and the caller's.")]
    Expired {
        /// The request's.
        time: String,
        /// Ours.
        now: String,
    },
    /// The credential names no key of ours.
    #[error("The security token included in the request is invalid: {0}.")]
    Unknown(String),
}

impl Signed {
    /// Reads what a request says, and refuses what cannot be right whoever signed it.
    pub(super) fn of(request: &Parts, now_unix_ms: u64) -> Result<Self, SignatureError> {
        let signed = parse::signed(&request.headers)?;
        signed.check_time(now_unix_ms)?;
        signed.check_cover(&request.headers)?;
        Ok(signed)
    }

    /// Whether whoever knows the secret signed this request with a body of this hash. In constant time.
    pub(super) fn is_of(&self, secret: &str, request: &Parts, payload_hash: &str) -> bool {
        let canonical = canonical::request(request, &self.headers, payload_hash);
        let scope = format!("{}/{}/{SERVICE}/{TERMINATOR}", self.date(), self.region);
        let text = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            self.time,
            hex::encode(Sha256::digest(canonical))
        );
        let Some(key) = self.day_key(secret) else { return false };
        let wanted = hmac(key.as_slice(), text.as_bytes());
        wanted.is_some_and(|wanted| bool::from(wanted.as_slice().ct_eq(&self.signature)))
    }

    /// The hash that stands for a body that is not signed.
    pub(super) fn unsigned_payload() -> &'static str {
        UNSIGNED
    }

    fn date(&self) -> &str {
        self.time.get(..8).unwrap_or_default()
    }

    fn day_key(&self, secret: &str) -> Option<Zeroizing<[u8; 32]>> {
        let first = Zeroizing::new(format!("AWS4{secret}"));
        let day = hmac(first.as_bytes(), self.date().as_bytes())?;
        let region = hmac(day.as_slice(), self.region.as_bytes())?;
        let service = hmac(region.as_slice(), SERVICE.as_bytes())?;
        hmac(service.as_slice(), TERMINATOR.as_bytes())
    }

    fn check_time(&self, now_unix_ms: u64) -> Result<(), SignatureError> {
        let time = parse::unix_ms(&self.time).ok_or_else(|| {
            SignatureError::Incomplete("X-Amz-Date is not a time such as 20261121T180000Z".to_owned())
        })?;
        if time.abs_diff(now_unix_ms) <= SKEW_MAX_MS {
            return Ok(());
        }
        let now = crate::time::timestamp(now_unix_ms).strftime("%Y%m%dT%H%M%SZ");
        Err(SignatureError::Expired {
            time: self.time.clone(),
            now: now.to_string(),
        })
    }

    /// Refuses a signature that leaves out what changes the request's meaning.
    fn check_cover(&self, headers: &http::HeaderMap) -> Result<(), SignatureError> {
        let covers = |name: &str| self.headers.iter().any(|signed| signed == name);
        let must = |name: &str| {
            matches!(name, "host" | "x-amz-date" | crate::caller::PROJECT_HEADER) || name.starts_with("x-amz-")
        };
        let present = headers.keys().map(http::HeaderName::as_str);
        let wanted = present.chain(["host", "x-amz-date"]).filter(|name| must(name));
        for name in wanted {
            if !covers(name) {
                return Err(SignatureError::Incomplete(format!(
                    "the header {name} has to be signed"
                )));
            }
        }
        match self.headers.iter().find(|name| !headers.contains_key(name.as_str())) {
            Some(name) => Err(SignatureError::Incomplete(format!(
                "the header {name} is signed and was not sent"
            ))),
            None => Ok(()),
        }
    }
}

/// SHA-256 of a body, as signatures have it.
pub(super) fn hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// HMAC takes keys of any length, so this is never `None`.
fn hmac(key: &[u8], text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(Zeroizing::new(mac.finalize().into_bytes().into()))
}

#[cfg(test)]
mod tests;
