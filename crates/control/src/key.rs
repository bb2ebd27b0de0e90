//! Keys as clients hold them: `hth_`, the key's ID without its first letters, and 256 random bits in hexadecimal.
//!
//! The ID finds the row; the secret is compared with it in constant time. Only SHA-256 of the secret is stored: it is
//! as random as a key of a cipher, so there is nothing to guess that a slow hash would make costlier.

use hearth_api::ProblemCode;
use hearth_domain::Role;
use hearth_ids::{KeyId, ProjectId};
use hearth_store::KeyRow;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    app::App,
    e2b::KEY_HEADER,
    error::{ApiError, ApiResult},
    time::now_unix_ms,
};

const PREFIX: &str = "hth_";
/// Characters of an ID after the three that name its kind.
const ULID_LEN: usize = 26;
const SECRET_LEN: usize = 32;

/// A key just made: what is stored, and what its holder is told once.
pub(crate) struct NewKey {
    pub(crate) row: KeyRow,
    pub(crate) token: String,
}

/// Makes a key, which is not stored yet.
pub(crate) fn make(
    project: ProjectId,
    name: String,
    role: Role,
    expires_unix_ms: Option<u64>,
) -> Result<NewKey, rand::rand_core::OsError> {
    let mut secret = [0; SECRET_LEN];
    rand::rngs::OsRng.try_fill_bytes(&mut secret)?;
    let id = KeyId::new();
    let token = format!(
        "{PREFIX}{}{}",
        &id.to_string()[KeyId::PREFIX.len()..],
        hex::encode(secret)
    );
    let row = KeyRow {
        id,
        project,
        name,
        role,
        secret_sha256: hex::encode(Sha256::digest(secret)),
        created_unix_ms: now_unix_ms(),
        expires_unix_ms,
    };
    Ok(NewKey { row, token })
}

/// The key of a request's `Authorization` header, or of `X-API-KEY`, read anew for each request: what was revoked is no key any more.
pub(crate) async fn of_headers(app: &App, headers: &HeaderMap) -> ApiResult<KeyRow> {
    let of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let token = of(header::AUTHORIZATION).and_then(bearer);
    // As E2B's clients send it; a page cannot, unless a browser asked us first.
    let token = token.or_else(|| of(HeaderName::from_static(KEY_HEADER)));
    let token = token.ok_or_else(missing)?;
    of_token(app, token).await
}

/// The key of a token as clients hold it.
pub(crate) async fn of_token(app: &App, token: &str) -> ApiResult<KeyRow> {
    let (id, secret) = parse(token).ok_or_else(refused)?;
    let row = app.store.key(id).await?.ok_or_else(refused)?;
    if !matches(&row, &secret) {
        return Err(refused());
    }
    alive(row)
}

/// The key of an ID, for requests that prove by a signature that they know its secret.
pub(crate) async fn of_id(app: &App, id: KeyId) -> ApiResult<KeyRow> {
    alive(app.store.key(id).await?.ok_or_else(refused)?)
}

fn alive(row: KeyRow) -> ApiResult<KeyRow> {
    match row.expires_unix_ms {
        Some(end) if end <= now_unix_ms() => Err(refused()),
        _ => Ok(row),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn parse(token: &str) -> Option<(KeyId, [u8; SECRET_LEN])> {
    let (ulid, secret) = token.strip_prefix(PREFIX)?.split_at_checked(ULID_LEN)?;
    let id = format!("{}{ulid}", KeyId::PREFIX).parse().ok()?;
    let mut bytes = [0; SECRET_LEN];
    hex::decode_to_slice(secret, &mut bytes).ok()?;
    Some((id, bytes))
}

fn matches(row: &KeyRow, secret: &[u8; SECRET_LEN]) -> bool {
    let stored = hex::decode(&row.secret_sha256).unwrap_or_default();
    bool::from(Sha256::digest(secret).as_slice().ct_eq(&stored))
}

/// For requests without a key.
pub(crate) fn missing() -> ApiError {
    ApiError::new(
        ProblemCode::Unauthorized,
        "a key is needed here: send it as Authorization: Bearer hth_… (hearth takes it from HEARTH_KEY)",
    )
}

/// For keys that are none. It is not told whether they ever were.
fn refused() -> ApiError {
    ApiError::new(
        ProblemCode::Unauthorized,
        "the key is not valid: it is unknown, expired or revoked; ask an admin for another one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_proves_its_own_key_only() {
        let key = make(ProjectId::DEFAULT, "ci".into(), Role::Developer, None).unwrap();
        let (id, secret) = parse(&key.token).unwrap();
        assert_eq!(id, key.row.id);
        assert!(matches(&key.row, &secret));
        let other = make(ProjectId::DEFAULT, "ci".into(), Role::Developer, None).unwrap();
        assert!(!matches(&other.row, &secret));
        assert!(!key.row.secret_sha256.contains(&hex::encode(secret)));
        let torn = KeyRow {
            secret_sha256: String::new(),
            ..key.row
        };
        assert!(!matches(&torn, &secret));
    }

    #[test]
    fn what_is_no_token_is_no_key() {
        let token = make(ProjectId::DEFAULT, "ci".into(), Role::Admin, None).unwrap().token;
        for bad in [
            "",
            "hth_",
            &token[4..],
            &token[..token.len() - 1],
            &format!("{token}0"),
            &token.to_uppercase(),
            "hth_é",
            &"é".repeat(60),
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        assert_eq!(bearer("bearer x"), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("x"), None);
    }
}
