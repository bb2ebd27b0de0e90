//! How far a pull goes.
//!
//! A registry's name, its redirects and its token server lead the daemon wherever they like, and a guest can be a
//! registry. So who does not administer the host has the daemon ask public addresses alone, and what the host's owner
//! named:
//!
//! ```text
//!   host and port that the owner named ──► asked
//!   an address                         ──► asked if it is public
//!   a name, by way of a proxy          ──► refused if it is known to lead elsewhere; else the proxy decides
//!   a name                             ──► looked up, and asked at its public addresses alone
//! ```
//! The last is decided as the connection is made: a name that leads elsewhere a moment later changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hearth_domain::is_world;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use tokio::time::timeout;

use super::transport::RegistryConfig;

/// Any would do.
const DISCARD_PORT: u16 = 9;

/// What a pull may speak to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses, and what the host's owner named.
    #[default]
    World,
    /// Whatever the host reaches, and loopback over plain HTTP: for who administers the host.
    Host,
}

/// A host that is not of the world.
#[derive(Debug, thiserror::Error)]
#[error("{host} is at {address}, which is not a public address")]
pub(super) struct Near {
    host: String,
    pub(super) address: IpAddr,
}

/// Looks names up, and gives their public addresses alone.
pub(super) struct WorldResolver(pub(super) Arc<RegistryConfig>);

impl Resolve for WorldResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let config = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let (public, near): (Vec<_>, Vec<_>) = look_up(&config, host)
                .await?
                .into_iter()
                .partition(|found| may_be_asked(found.ip()));
            match near.first() {
                Some(near) if public.is_empty() => Err(near_at(host, near.ip()).into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// Refuses an address that is not public. Names pass.
pub(super) fn check_address(host: &str) -> Result<(), Near> {
    match address(host) {
        Some(address) if !may_be_asked(address) => Err(near_at(host, address)),
        _ => Ok(()),
    }
}

/// Refuses a name that leads, as far as is known here, to anything but public addresses.
pub(super) async fn check_name(config: &RegistryConfig, host: &str) -> Result<(), Near> {
    // Where there is a proxy there may be nobody else who knows names.
    let looking = timeout(Duration::from_millis(config.connect_timeout_ms), look_up(config, host));
    let found = looking.await.ok().and_then(Result::ok).unwrap_or_default();
    match found.iter().find(|found| !may_be_asked(found.ip())) {
        Some(near) => Err(near_at(host, near.ip())),
        None => Ok(()),
    }
}

/// Whether an address is public, and not this host's own, which firewalls outside of it do not see.
fn may_be_asked(address: IpAddr) -> bool {
    is_world(address) && !is_own(address)
}

/// Whether an address is this host's: what is sent to it would come from it.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((any, 0))?;
        // Nothing is sent by this.
        socket.connect((address, DISCARD_PORT))?;
        Ok(socket.local_addr()?.ip())
    };
    source().is_ok_and(|source| source == address)
}

async fn look_up(config: &RegistryConfig, host: &str) -> std::io::Result<Vec<SocketAddr>> {
    if let Some(known) = config.hosts.get(host) {
        return Ok(known.iter().map(|address| SocketAddr::new(*address, 0)).collect());
    }
    Ok(tokio::net::lookup_host((host, 0)).await?.collect())
}

fn near_at(host: &str, address: IpAddr) -> Near {
    Near {
        host: host.to_owned(),
        address,
    }
}

/// Where names without a registry lead.
pub(super) fn endpoint(registry: &str) -> &str {
    match registry {
        "docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// Whether `url` leads to the host and port of one of these registries.
pub(super) fn is_among(registries: &[String], url: &Url) -> bool {
    registries.iter().any(|registry| {
        let named = format!("{}://{}/", url.scheme(), endpoint(registry)).parse::<Url>();
        named.is_ok_and(|named| named.origin() == url.origin())
    })
}

/// The host and port of a URL, the latter if it is not the usual one.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether `host` is this machine, as far as its name tells.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

/// A host that is an address, in a URL's form or by itself.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_name_and_by_address() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "127.0.0.1.example", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn addresses_are_judged_as_the_url_means_them() {
        let check = |url: &str| check_address(url.parse::<Url>().unwrap().host_str().unwrap()).is_ok();
        for url in [
            "https://198.51.100.7/",
            "https://[2001:db8::1]/",
            "https://name.example/",
        ] {
            assert!(check(url), "{url}");
        }
        let near = [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "127.0.0.1.",
            "0.0.0.0",
            "10.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[fe80::1]",
            "[64:ff9b::a9fe:a9fe]",
        ];
        for host in near {
            assert!(!check(&format!("https://{host}:5000/v2/")), "{host}");
        }
    }

    #[test]
    fn a_hosts_own_address_is_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("198.51.100.7".parse().unwrap()));
    }

    #[test]
    fn what_is_named_is_a_host_with_its_port() {
        let named = ["r.example:5000".to_owned(), "plain.example".into(), "docker.io".into()];
        let among = |url: &str| is_among(&named, &url.parse().unwrap());
        for url in [
            "https://r.example:5000/v2/",
            "http://R.example:5000/",
            "https://plain.example/",
            "http://plain.example/x?y",
            "https://registry-1.docker.io/v2/",
        ] {
            assert!(among(url), "{url}");
        }
        for url in [
            "https://r.example/",
            "http://r.example:5001/",
            "http://plain.example:443/",
            "https://a.plain.example/",
            "https://r.example:5000.evil.example/",
        ] {
            assert!(url.parse::<Url>().is_err() || !among(url), "{url}");
        }
    }

    #[tokio::test]
    async fn names_lead_to_public_addresses_alone() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let config = Arc::new(RegistryConfig {
            hosts: [
                ("near.example".to_owned(), addresses(&["10.1.2.3"])),
                ("both.example".to_owned(), addresses(&["fd00::1", "198.51.100.7"])),
            ]
            .into(),
            ..RegistryConfig::default()
        });
        let resolver = WorldResolver(Arc::clone(&config));
        let Err(refused) = resolver.resolve("near.example".parse().unwrap()).await else {
            panic!("a private address was given")
        };
        assert!(
            refused.is::<Near>() && refused.to_string().contains("10.1.2.3"),
            "{refused}"
        );
        let found: Vec<_> = resolver
            .resolve("both.example".parse().unwrap())
            .await
            .unwrap()
            .collect();
        assert_eq!(found, ["198.51.100.7:0".parse().unwrap()]);
        // By a proxy nobody here says which of them is taken.
        assert!(check_name(&config, "both.example").await.is_err());
        assert!(check_name(&config, "unknown.invalid").await.is_ok());
    }
}
