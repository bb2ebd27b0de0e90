//! Reading the `Authorization` header of a signed request.

use hearth_ids::KeyId;
use http::{HeaderMap, header};
use jiff::civil::DateTime;

use super::{ALGORITHM, Payload, SERVICE, SignatureError, Signed, TERMINATOR, UNSIGNED};

const DATE: &str = "x-amz-date";
const CONTENT_HASH: &str = "x-amz-content-sha256";
const SESSION_TOKEN: &str = "x-amz-security-token";
const SIGNED_HEADERS_MAX: usize = 100;
const REGION_MAX: usize = 64;

/// Whether a request says that it is signed.
pub(in crate::lambda) fn is_signed(headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION);
    value.is_some_and(|value| value.as_bytes().starts_with(b"AWS4-"))
}

/// What the headers say of the signature.
pub(super) fn signed(headers: &HeaderMap) -> Result<Signed, SignatureError> {
    if headers.contains_key(SESSION_TOKEN) {
        return Err(SignatureError::Unknown(
            "there are no session tokens here; use a key's access key ID and secret access key alone".to_owned(),
        ));
    }
    let fields = text(headers, header::AUTHORIZATION.as_str())?
        .and_then(|value| value.strip_prefix(ALGORITHM))
        .filter(|rest| rest.starts_with(' '))
        .ok_or_else(|| incomplete(format!("Authorization has to be one of {ALGORITHM}")))?;
    let (credential, names, signature) = fields_of(fields)?;
    let time = text(headers, DATE)?.ok_or_else(|| incomplete("X-Amz-Date is missing"))?;
    let (key, date, region) = scope(credential)?;
    if time.get(..8) != Some(date) {
        return Err(incomplete("the date of Credential is not that of X-Amz-Date"));
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(signature, &mut bytes).map_err(|_| incomplete("Signature is not 64 hexadecimal digits"))?;
    Ok(Signed {
        key,
        payload: payload(text(headers, CONTENT_HASH)?)?,
        time: time.to_owned(),
        region: region.to_owned(),
        headers: header_names(names)?,
        signature: bytes,
    })
}

/// `Credential`, `SignedHeaders` and `Signature`, each once.
fn fields_of(text: &str) -> Result<(&str, &str, &str), SignatureError> {
    let (mut credential, mut names, mut signature) = (None, None, None);
    for field in text.split(',') {
        let (name, value) = field.trim().split_once('=').unwrap_or_default();
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut names,
            "Signature" => &mut signature,
            _ => return Err(incomplete("Authorization has a part that is unknown")),
        };
        if place.replace(value).is_some() {
            return Err(incomplete(format!("Authorization has {name} twice")));
        }
    }
    match (credential, names, signature) {
        (Some(credential), Some(names), Some(signature)) => Ok((credential, names, signature)),
        _ => Err(incomplete(
            "Authorization needs Credential, SignedHeaders and Signature",
        )),
    }
}

/// Key, date and region of `KEY/DATE/REGION/lambda/aws4_request`.
fn scope(credential: &str) -> Result<(KeyId, &str, &str), SignatureError> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [key, date, region, service, terminator] = parts.as_slice() else {
        return Err(incomplete("Credential is not KEY/DATE/REGION/lambda/aws4_request"));
    };
    if *service != SERVICE || *terminator != TERMINATOR {
        return Err(incomplete("Credential is not for the service lambda"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if region.is_empty() || region.len() > REGION_MAX || !region.chars().all(plain) {
        return Err(incomplete("Credential names no region"));
    }
    let key = key.parse().map_err(|_| {
        SignatureError::Unknown("the access key ID is none of this host; `hearth key create` makes one".to_owned())
    })?;
    Ok((key, date, region))
}

fn header_names(text: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let sorted = names.is_sorted_by(|one, next| one < next);
    let lower = names
        .iter()
        .all(|name| !name.is_empty() && !name.contains(|c: char| c.is_ascii_uppercase()));
    if names.len() <= SIGNED_HEADERS_MAX && sorted && lower {
        return Ok(names);
    }
    Err(incomplete("SignedHeaders has to be sorted, in lower case"))
}

fn payload(hash: Option<&str>) -> Result<Payload, SignatureError> {
    match hash {
        None => Ok(Payload::Untold),
        Some(UNSIGNED) => Ok(Payload::Unsigned),
        Some(hash) if hash.len() == 64 => Ok(Payload::Hash(hash.to_owned())),
        Some(_) => Err(incomplete(format!("{CONTENT_HASH} has to be SHA-256, or {UNSIGNED}"))),
    }
}

/// The time of `20261121T180000Z`, in milliseconds since the Unix epoch.
pub(super) fn unix_ms(text: &str) -> Option<u64> {
    if text.len() != 16 {
        return None;
    }
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let stamp = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(crate::time::unix_ms(stamp))
}

/// A header that may be there once, and is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(incomplete(format!("the header {name} is there twice")));
    }
    let text = value.map(http::HeaderValue::to_str).transpose();
    text.map_err(|_| incomplete(format!("the header {name} is not text")))
}

fn incomplete(what: impl Into<String>) -> SignatureError {
    SignatureError::Incomplete(what.into())
}
