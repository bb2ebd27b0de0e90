//! Who is at the other end, and whether it may speak to us.
//!
//! On the unix socket the kernel says who connected: root, the daemon's own user and the members of a group may. On
//! TCP a key is needed; and where there is no TLS, on loopback, a browser that was led here by a foreign page is told
//! apart by its `Host` and `Origin` headers.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header};
use nix::unistd::{Gid, Group, Uid, User};
use tokio::net::unix::UCred;

use crate::error::ApiError;
use hearth_api::ProblemCode;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process on this host.
    Unix { uid: u32, gid: u32 },
    /// Something that reached a loopback address, without TLS.
    Tcp(SocketAddr),
    /// Something that reached us by TLS.
    Tls(SocketAddr),
}

/// Who may use the unix socket.
#[derive(Debug, Clone)]
pub(crate) struct PeerRule {
    own_uid: u32,
    group: Option<Gid>,
    group_name: String,
}

impl PeerRule {
    /// The rule for this process and a group, which need not exist.
    pub(crate) fn new(group_name: &str) -> Self {
        let group = Group::from_name(group_name).ok().flatten().map(|group| group.gid);
        Self {
            own_uid: Uid::effective().as_raw(),
            group,
            group_name: group_name.to_owned(),
        }
    }

    pub(crate) fn group(&self) -> Option<Gid> {
        self.group
    }

    /// Whether a process of this user may. Asks the user database, which may block.
    pub(crate) fn allows(&self, uid: u32, gid: u32) -> bool {
        self.allows_with(uid, gid, groups_of)
    }

    fn allows_with(&self, uid: u32, gid: u32, groups_of: impl Fn(u32, u32) -> Vec<Gid>) -> bool {
        if uid == 0 || uid == self.own_uid {
            return true;
        }
        self.group
            .is_some_and(|group| gid == group.as_raw() || groups_of(uid, gid).contains(&group))
    }

    pub(crate) fn refusal(&self, uid: u32) -> ApiError {
        let Self {
            own_uid, group_name, ..
        } = self;
        ApiError::new(
            ProblemCode::Forbidden,
            format!(
                "user {uid} may not use Hearth; add it to the group {group_name} (and log in again), or call as root or as user {own_uid}"
            ),
        )
    }
}

impl Peer {
    pub(crate) fn of(credentials: UCred) -> Self {
        Self::Unix {
            uid: credentials.uid(),
            gid: credentials.gid(),
        }
    }

    /// Whether paths of the node's own file system may be named to us: only by who can see them.
    pub(crate) fn is_on_this_host(self) -> bool {
        matches!(self, Self::Unix { .. })
    }
}

/// All groups of a user, as the user database has them.
fn groups_of(uid: u32, gid: u32) -> Vec<Gid> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user.and_then(|user| std::ffi::CString::new(user.name).ok());
    name.and_then(|name| nix::unistd::getgrouplist(&name, Gid::from_raw(gid)).ok())
        .unwrap_or_default()
}

/// Refuses, on TCP, what a browser sends on behalf of a page from elsewhere. A page that made its own name lead to
/// 127.0.0.1 (DNS rebinding) shows that name in `Host`; any other page's request shows an `Origin`.
pub(crate) fn check_web(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::ORIGIN) {
        return Err(ApiError::new(
            ProblemCode::Forbidden,
            "requests of web pages (with an Origin header) are not answered on this address; use the CLI or the unix socket",
        ));
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or(uri.host());
    match host {
        Some(host) if is_loopback_name(host) => Ok(()),
        _ => Err(ApiError::new(
            ProblemCode::Forbidden,
            format!(
                "host {:?} is not answered on this address; call it 127.0.0.1, [::1] or localhost",
                host.unwrap_or_default().chars().take(80).collect::<String>()
            ),
        )),
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_ourselves_and_the_group_may() {
        let group = Gid::from_raw(900);
        let rule = PeerRule {
            own_uid: 500,
            group: Some(group),
            group_name: "hearth".into(),
        };
        let members = |uid, _| {
            if uid == 1000 {
                vec![group]
            } else {
                vec![Gid::from_raw(1)]
            }
        };
        for (uid, gid, may) in [
            (0, 0, true),
            (500, 5, true),
            (1000, 5, true),
            (1001, 900, true),
            (1001, 5, false),
        ] {
            assert_eq!(rule.allows_with(uid, gid, members), may, "{uid}:{gid}");
        }
        let without = PeerRule { group: None, ..rule };
        assert!(!without.allows_with(1000, 900, members));
        assert!(without.refusal(1000).problem.detail.contains("group hearth"));
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let with = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            });
            check_web(&Uri::from_static("/v1/version"), &headers.collect())
        };
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:7000",
            "127.9.9.9",
            "[::1]:7000",
            "[::1]",
        ] {
            assert!(with(&[("host", host)]).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "[fe80::1]",
            "127.0.0.1.nip.io",
        ] {
            assert!(with(&[("host", host)]).is_err(), "{host}");
        }
        assert!(with(&[]).is_err());
        assert!(with(&[("host", "localhost"), ("origin", "http://localhost")]).is_err());
    }
}
