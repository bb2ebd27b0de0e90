//! Who may: what of the agent is the host's alone, and what a request has to show for the other ports.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq as _;

use super::{AGENT_PORT, refusal::Refusal};

pub(super) const TRAFFIC_TOKEN: HeaderName = HeaderName::from_static("e2b-traffic-access-token");
/// What the agent asks for.
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");
/// What the agent serves to the host alone, by the first part of the path: its own contract, files past all users, and what
/// others' agents have for the same.
const HOST_ONLY: &[&str] = &[
    "hearth",
    "init",
    "freeze",
    "thaw",
    "pause",
    "resume",
    "snapshot",
    "restore",
    "checkpoint",
    "shutdown",
];
/// The same, where more may follow before the next slash.
const HOST_ONLY_PREFIX: &str = "hearth.";
/// How often a path may be encoded over itself.
const DECODINGS_MAX: usize = 4;

/// Checks whether anybody may ask this of the port.
pub(super) fn check_path(port: u16, path: &str) -> Result<(), Refusal> {
    if port == AGENT_PORT && is_host_only(path) {
        return Err(Refusal::HostOnly);
    }
    Ok(())
}

/// Checks the token, where one is asked for.
pub(super) fn check_token(port: u16, expected: Option<&str>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(expected) = expected.filter(|_| port != AGENT_PORT) else {
        return Ok(());
    };
    let mut shown = headers.get_all(&TRAFFIC_TOKEN).iter();
    let first = shown.next().ok_or(Refusal::TokenMissing)?;
    let equal: bool = first.as_bytes().ct_eq(expected.as_bytes()).into();
    if equal && shown.next().is_none() {
        return Ok(());
    }
    Err(Refusal::TokenInvalid)
}

/// Whether the headers have the token that the agent asks for, once.
pub(super) fn shows_access(expected: &str, headers: &HeaderMap) -> bool {
    let mut shown = headers.get_all(&ACCESS_TOKEN).iter();
    let first = shown.next();
    first.is_some_and(|first| first.as_bytes().ct_eq(expected.as_bytes()).into()) && shown.next().is_none()
}

/// Whether the path, read in any way that a server may read it, is the host's.
fn is_host_only(path: &str) -> bool {
    let mut path = Cow::Borrowed(path);
    for _ in 0..=DECODINGS_MAX {
        if leads_to_host_only(&path) {
            return true;
        }
        let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        if decoded == path {
            return false;
        }
        path = Cow::Owned(decoded);
    }
    // Nobody encodes so often who has nothing to hide.
    true
}

/// Whether the path as it is leads there, without empty parts and dots.
fn leads_to_host_only(path: &str) -> bool {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split(['/', '\\']) {
        // What stands behind it are parameters or a query to some.
        let part = part.split([';', '?', '#', '\0']).next().unwrap_or_default().trim();
        match part {
            "" | "." => (),
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.first().is_some_and(|first| {
        let first = first.to_ascii_lowercase();
        HOST_ONLY.contains(&first.as_str()) || first.starts_with(HOST_ONLY_PREFIX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_paths_are_known_in_any_disguise() {
        for path in [
            "/init",
            "/init/",
            "//init",
            "/./init",
            "/files/../init",
            "/files/%2e%2e/init",
            "/files/%2E%2e%2finit",
            "/%69nit",
            "/%2569nit",
            "/%252569nit",
            "/INIT",
            "/init;a=b",
            "/init%3Fa=b",
            "/init%00",
            "/init%20",
            "/\\init",
            "/%5cinit",
            "/../../init",
            "/hearth/archive",
            "/hearth",
            "/hearth.guest.v1.Guest/Init",
            "/Hearth.Guest.v1.Guest/Init",
            "/process.Process/../hearth.guest.v1.Guest/Follow",
            "/%68earth.guest.v1.Guest/Init",
            "/freeze",
            "/thaw",
            "/snapshot/now",
            "/%25252525252569nit",
        ] {
            assert!(check_path(AGENT_PORT, path).is_err(), "{path}");
            assert!(check_path(8080, path).is_ok(), "{path}");
        }
    }

    #[test]
    fn everybodys_paths_are_not_the_hosts() {
        for path in [
            "/",
            "*",
            "/health",
            "/files",
            "/files/compose",
            "/envs",
            "/metrics",
            "/process.Process/Start",
            "/filesystem.Filesystem/WatchDir",
            "/initial",
            "/hearthstone",
            "/files/init",
            "/init/../health",
            "/%zz",
            "/100%",
        ] {
            assert!(check_path(AGENT_PORT, path).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_token_is_asked_for_but_not_by_the_agents_port() {
        let headers = |values: &[&str]| {
            let pair = |value: &&str| (TRAFFIC_TOKEN, value.parse().unwrap());
            values.iter().map(pair).collect::<HeaderMap>()
        };
        let check = |port, values: &[&str]| check_token(port, Some("secret"), &headers(values));
        assert_eq!(check(3000, &["secret"]), Ok(()));
        assert_eq!(check(3000, &[]), Err(Refusal::TokenMissing));
        assert_eq!(check(3000, &["secrets"]), Err(Refusal::TokenInvalid));
        assert_eq!(check(3000, &[""]), Err(Refusal::TokenInvalid));
        assert_eq!(check(AGENT_PORT, &[]), Ok(()));
        assert_eq!(check_token(3000, None, &HeaderMap::new()), Ok(()));
    }
}
