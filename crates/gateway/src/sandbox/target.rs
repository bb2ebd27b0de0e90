//! Which request is for a port of a sandbox, and for which.
//!
//! | request | sandbox and port |
//! |---|---|
//! | host `PORT-SANDBOX_ID.any.domain` | those |
//! | headers `E2b-Sandbox-Id` and `E2b-Sandbox-Port`, by any other host | those |
//!
//! A host of functions (`….fn.<domain>`) is a function's, whatever else the request says.

use hearth_ids::{ID_LEN, SandboxId};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::Refusal;

pub(super) const SANDBOX_ID: HeaderName = HeaderName::from_static("e2b-sandbox-id");
pub(super) const SANDBOX_PORT: HeaderName = HeaderName::from_static("e2b-sandbox-port");
/// What of a name that is none is repeated to who sent it, in characters.
const NAME_MAX: usize = 64;

/// A port of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The sandbox as it was named; nothing but letters, digits, `-` and `_`.
    pub(super) name: String,
    /// Absent where no sandbox can have that name.
    pub(super) id: Option<SandboxId>,
    pub(super) port: u16,
}

/// What the request is for, if it is for a sandbox. Calls of functions pay for one byte and one header that is not there.
pub(crate) fn target(
    host: Option<&str>,
    headers: &HeaderMap,
    is_function: impl FnOnce(&str) -> bool,
) -> Option<Result<Target, Refusal>> {
    let by_host = host.and_then(of_host);
    if by_host.is_none() && !headers.contains_key(&SANDBOX_ID) {
        return None;
    }
    if host.is_some_and(is_function) {
        return None;
    }
    Some(by_headers(headers).and_then(|named| {
        let named = by_host.or(named);
        named.ok_or(Refusal::Invalid("E2b-Sandbox-Port is missing: it names the port"))
    }))
}

/// `PORT-SANDBOX_ID`, as the first label of a host.
fn of_host(host: &str) -> Option<Target> {
    if !host.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let label = host.split(['.', ':']).next()?;
    let (port, name) = label.split_once('-')?;
    if name.len() != ID_LEN || !name.get(..3)?.eq_ignore_ascii_case(SandboxId::PREFIX) {
        return None;
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some(Target::new(name, port_of(port)?))
}

/// The same of the two headers. One that is there twice may be read in two ways, so it is in none.
fn by_headers(headers: &HeaderMap) -> Result<Option<Target>, Refusal> {
    let id = one(headers, &SANDBOX_ID, "E2b-Sandbox-Id is there more than once")?;
    let port = one(headers, &SANDBOX_PORT, "E2b-Sandbox-Port is there more than once")?;
    let (Some(id), Some(port)) = (id, port) else {
        return Ok(None);
    };
    let port = port.to_str().ok().and_then(port_of);
    let port = port.ok_or(Refusal::Invalid(
        "E2b-Sandbox-Port is not a port: give a number from 1 to 65535",
    ))?;
    Ok(Some(Target::new(&String::from_utf8_lossy(id.as_bytes()), port)))
}

/// The value, if there is one.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName, more: &'static str) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Refusal::Invalid(more)),
    }
}

/// A port in its one spelling: 1 to 65535, without leading zeros.
fn port_of(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

impl Target {
    fn new(name: &str, port: u16) -> Self {
        let plain = |c: char| {
            let kept = c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if kept { c.to_ascii_lowercase() } else { '?' }
        };
        let id = name.to_ascii_lowercase().parse().ok();
        let name = name.chars().take(NAME_MAX).map(plain).collect();
        Self { name, id, port }
    }
}

#[cfg(test)]
mod tests;
