//! The name in front of a connection: SNI of a TLS `ClientHello`, or `Host` of an HTTP/1 request. Pure: bytes in.

use std::net::Ipv6Addr;

use rustls::server::Acceptor;
use thiserror::Error;

/// Bytes that a client may take to say where it wants to go. A `ClientHello` has two KiB at most in practice.
pub(crate) const HELLO_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 100;
const TLS_HANDSHAKE: u8 = 0x16;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Why a connection has no name that can be believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NoName {
    #[error("it said too much before where it wants to go")]
    TooLong,
    #[error("its TLS names no server")]
    NoSni,
    #[error("its TLS cannot be read")]
    BadTls,
    #[error("its HTTP cannot be read")]
    BadHttp,
    #[error("its HTTP names no host")]
    NoHost,
    #[error("its HTTP names more than one host")]
    TwoHosts,
    #[error("it asks for a tunnel")]
    Tunnel,
}

/// Takes a connection's first bytes until they give a name.
pub(crate) struct NameReader {
    /// All that was read; the server is sent it.
    bytes: Vec<u8>,
    tls: Option<Acceptor>,
}

impl NameReader {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            tls: None,
        }
    }

    /// What was read so far.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes more bytes; the name, once they are enough.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Option<String>, NoName> {
        if chunk.len() > HELLO_MAX - self.bytes.len() {
            return Err(NoName::TooLong);
        }
        if self.bytes.is_empty() && chunk.first() == Some(&TLS_HANDSHAKE) {
            self.tls = Some(Acceptor::default());
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(chunk);
        if let Some(acceptor) = &mut self.tls {
            return read_sni(acceptor, chunk);
        }
        if self.has_head(before) {
            read_host(&self.bytes).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether the head's end is there; it was not within the first `before` bytes.
    fn has_head(&self, before: usize) -> bool {
        let unseen = &self.bytes[before.saturating_sub(END_OF_HEAD.len() - 1)..];
        unseen.windows(END_OF_HEAD.len()).any(|window| window == END_OF_HEAD)
    }
}

fn read_sni(acceptor: &mut Acceptor, mut chunk: &[u8]) -> Result<Option<String>, NoName> {
    while !chunk.is_empty() {
        let read = acceptor.read_tls(&mut chunk).map_err(|_| NoName::BadTls)?;
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return hello.server_name().map(canonical).map(Some).ok_or(NoName::NoSni);
            }
            Ok(None) if read > 0 => {}
            Ok(None) | Err(_) => return Err(NoName::BadTls),
        }
    }
    Ok(None)
}

fn read_host(bytes: &[u8]) -> Result<String, NoName> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return Err(NoName::BadHttp),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(NoName::BadHttp);
    };
    if method.eq_ignore_ascii_case("CONNECT") {
        return Err(NoName::Tunnel);
    }
    let mut hosts = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let host = hosts.next().ok_or(NoName::NoHost)?.value;
    if hosts.next().is_some() {
        return Err(NoName::TwoHosts);
    }
    let host = authority_name(std::str::from_utf8(host).map_err(|_| NoName::NoHost)?.trim()).ok_or(NoName::NoHost)?;
    // A target that is whole overrides the header (RFC 9112), so they have to agree.
    if target.starts_with('/') || target == "*" {
        return Ok(host);
    }
    match target
        .split_once("://")
        .and_then(|(_, rest)| authority_name(rest.split(['/', '?', '#']).next()?))
    {
        Some(named) if named == host => Ok(host),
        _ => Err(NoName::TwoHosts),
    }
}

/// The name of `name[:port]`; none if it is an address or nothing.
fn authority_name(authority: &str) -> Option<String> {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => return None,
        None => authority,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok() || name.parse::<Ipv6Addr>().is_ok();
    (!name.is_empty() && !is_address && name.bytes().all(is_name)).then(|| canonical(name))
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Reads a name of any bytes, in pieces: for fuzzing.
pub fn fuzz_name(bytes: &[u8]) {
    let mut reader = NameReader::new();
    for chunk in bytes.chunks(7) {
        if !matches!(reader.push(chunk), Ok(None)) {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Option<String>, NoName> {
        NameReader::new().push(bytes)
    }

    #[test]
    fn tls_names_its_server() {
        assert_eq!(read(&hello("Example.com")), Ok(Some("example.com".to_owned())));
        assert_eq!(read(&hello("192.0.2.1")), Err(NoName::NoSni));
        let whole = hello("example.com");
        assert_eq!(read(&whole[..whole.len() - 1]), Ok(None));
        assert_eq!(read(b"\x16\x03\x01\x00\x05hello"), Err(NoName::BadTls));
    }

    #[test]
    fn http_names_its_host() {
        for (request, expected) in [
            (
                "GET / HTTP/1.1\r\nhost: Example.com:80\r\n\r\n",
                Ok(Some("example.com".to_owned())),
            ),
            (
                "GET http://example.com/x HTTP/1.1\r\nHost: example.com.\r\n\r\nbody",
                Ok(Some("example.com".to_owned())),
            ),
            ("GET / HTTP/1.1\r\nHost: example.com\r\n", Ok(None)),
            (
                "GET http://evil.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
                Err(NoName::TwoHosts),
            ),
            (
                "GET / HTTP/1.1\r\nHost: a.com\r\nHost: b.com\r\n\r\n",
                Err(NoName::TwoHosts),
            ),
            ("CONNECT a.com:80 HTTP/1.1\r\nHost: a.com\r\n\r\n", Err(NoName::Tunnel)),
            ("GET / HTTP/1.0\r\n\r\n", Err(NoName::NoHost)),
            ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", Err(NoName::NoHost)),
            ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", Err(NoName::NoHost)),
            ("GET / HTTP/1.1\r\nHost: a.com@evil.com\r\n\r\n", Err(NoName::NoHost)),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Err(NoName::NoHost)),
            ("PRI * HTTP/2.0\r\n\r\n", Err(NoName::BadHttp)),
            ("SSH-2.0-x\r\n\r\n", Err(NoName::BadHttp)),
        ] {
            assert_eq!(read(request.as_bytes()), expected, "{request:?}");
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let mut reader = NameReader::new();
        let endless = std::iter::repeat_with(|| reader.push(b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
        let end = endless.take(HELLO_MAX).find(|read| *read != Ok(None));
        assert_eq!(end, Some(Err(NoName::TooLong)));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(cuts in prop::collection::vec(1_usize..200, 1..40), tls in any::<bool>()) {
            let whole = if tls { hello("example.com") } else { b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec() };
            let mut reader = NameReader::new();
            let (mut rest, mut cuts) = (&whole[..], cuts.into_iter().cycle());
            let mut name = None;
            while name.is_none() && !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                name = reader.push(piece).unwrap();
                rest = after;
            }
            prop_assert_eq!(name.as_deref(), Some("example.com"));
            prop_assert!(whole.starts_with(&reader.into_bytes()));
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), tls in any::<bool>()) {
            if tls {
                bytes.splice(0..0, [TLS_HANDSHAKE, 3, 1]);
            }
            fuzz_name(&bytes);
        }
    }
}
