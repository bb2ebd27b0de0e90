//! Where the daemon is, and how it is trusted.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use thiserror::Error;

/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Where the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// Plain TCP, on loopback.
    Tcp(SocketAddr),
    /// TLS, anywhere.
    Tls {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// A text that says no place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidEndpoint {
    /// It is none of the forms.
    #[error("{0:?} is no address of a daemon: write https://HOST:PORT, http://127.0.0.1:PORT or unix:///PATH")]
    Form(String),
    /// Without TLS it would be read on the way.
    #[error("{0:?} would send the key in the clear: write https://…, or an address of loopback")]
    Plain(String),
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let form = || InvalidEndpoint::Form(text.chars().take(200).collect());
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(form())
            };
        }
        if let Some(place) = text.strip_prefix("https://") {
            let (host, port) = host_and_port(place.trim_end_matches('/')).ok_or_else(form)?;
            return Ok(Self::Tls { host, port });
        }
        let place = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        // A resolver could lead `localhost` anywhere; nobody means that.
        let place = match place.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => place.to_owned(),
        };
        let address: SocketAddr = place.parse().map_err(|_| form())?;
        if address.ip().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(InvalidEndpoint::Plain(text.chars().take(200).collect()))
        }
    }
}

fn host_and_port(place: &str) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
    let port = port.map_or(Some(HTTPS_PORT), |port| port.parse().ok())?;
    (!host.is_empty() && host.chars().all(plain)).then(|| (host.to_owned(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
            Self::Tls { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let tls = |host: &str, port| Endpoint::Tls {
            host: host.to_owned(),
            port,
        };
        for (text, endpoint) in [
            ("unix:///run/x", Endpoint::Unix("/run/x".into())),
            ("http://127.0.0.1:7", Endpoint::Tcp("127.0.0.1:7".parse().unwrap())),
            ("http://localhost:7/", Endpoint::Tcp("127.0.0.1:7".parse().unwrap())),
            ("127.0.0.1:7", Endpoint::Tcp("127.0.0.1:7".parse().unwrap())),
            ("[::1]:7", Endpoint::Tcp("[::1]:7".parse().unwrap())),
            ("https://a.example", tls("a.example", 443)),
            ("https://a.example:8443/", tls("a.example", 8443)),
            ("https://10.0.0.1:1", tls("10.0.0.1", 1)),
            ("https://[fd00::1]:1", tls("fd00::1", 1)),
        ] {
            assert_eq!(text.parse(), Ok(endpoint), "{text}");
        }
        for bad in [
            "",
            "unix://x",
            "https://",
            "https://a:b",
            "https://a/b",
            "https://u@h",
            "ftp://x",
            "a",
        ] {
            assert!(
                matches!(bad.parse::<Endpoint>(), Err(InvalidEndpoint::Form(_))),
                "{bad}"
            );
        }
        for plain in ["http://10.0.0.1:7", "10.0.0.1:7"] {
            assert!(
                matches!(plain.parse::<Endpoint>(), Err(InvalidEndpoint::Plain(_))),
                "{plain}"
            );
        }
        assert_eq!(tls("fd00::1", 1).to_string().parse(), Ok(tls("fd00::1", 1)));
    }
}
