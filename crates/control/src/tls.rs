//! Certificates of the server: files of the user's, or an own one that is made once.
//!
//! An own certificate vouches for itself. Clients trust it by having its file, or by its fingerprint, and so it stays
//! the same for as long as the state folder does.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The own certificate, in its folder.
const CERT_FILE: &str = "cert.pem";
const KEY_FILE: &str = "key.pem";
/// Names in an own certificate.
const NAMES_MAX: usize = 64;
/// HTTP by the first version alone: the API's sessions are web sockets.
const ALPN: &[u8] = b"http/1.1";

/// What a server proves itself by.
#[derive(Debug, Clone)]
pub struct Identity {
    /// For listeners.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, as `AA:BB:…`.
    pub fingerprint: String,
    /// The certificate's file.
    pub certificate: PathBuf,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read or made.
    #[error("cannot {action} {path}")]
    File {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} is not valid: it has to hold {wanted} in PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What.
        wanted: &'static str,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit.
    #[error("cannot serve with certificate {cert} and key {key}; do they belong together?")]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// An own certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

impl Identity {
    /// Of a certificate, which may be followed by those that vouch for it, and its key, both in PEM.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .and_then(|chain: Vec<_>| {
                let found = Some(chain).filter(|chain| !chain.is_empty());
                found.ok_or(rustls::pki_types::pem::Error::NoItemsFound)
            })
            .map_err(pem(cert, "a certificate"))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(pem(key, "a private key"))?;
        let fingerprint = chain.first().map(|cert| fingerprint(cert)).unwrap_or_default();
        let mismatch = |source| TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
            source,
        };
        Ok(Self {
            config: Arc::new(server_config(chain, secret).map_err(mismatch)?),
            fingerprint,
            certificate: cert.to_owned(),
        })
    }

    /// The own one in a private folder, which is made, for these names and addresses, if it is not there.
    pub fn own(folder: &Path, names: Vec<String>) -> Result<Self, TlsError> {
        let (cert, key) = (folder.join(CERT_FILE), folder.join(KEY_FILE));
        if !cert.exists() {
            make(folder, names)?;
        }
        Self::from_files(&cert, &key)
    }
}

/// The configuration of a server with this certificate, for HTTP/1.1 alone; others may change a copy of it.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// The names and addresses by which this host may be called: its name, loopback, those of its interfaces that others
/// reach, and what is listened on.
pub fn host_names(listened_on: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()));
    let mut addresses = vec![
        IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    ];
    addresses.extend((!listened_on.is_unspecified()).then_some(listened_on));
    addresses.extend(
        nix::ifaddrs::getifaddrs()
            .into_iter()
            .flatten()
            .filter_map(|interface| address(&interface)),
    );
    names.extend(addresses.iter().map(ToString::to_string));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    names.truncate(NAMES_MAX);
    names
}

fn address(interface: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    let found = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))?;
    let near = match found {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    (!near).then_some(found)
}

/// The key is in place before the certificate, which says that both are.
fn make(folder: &Path, names: Vec<String>) -> Result<(), TlsError> {
    // A name that no certificate can hold must not keep the server from having one.
    let names: Vec<_> = names.into_iter().filter(|name| name.is_ascii()).collect();
    let mut about = rcgen::CertificateParams::new(names)?;
    about.distinguished_name = rcgen::DistinguishedName::new();
    about.distinguished_name.push(rcgen::DnType::CommonName, "hearth");
    let key = rcgen::KeyPair::generate()?;
    let cert = about.self_signed(&key)?;
    put(&folder.join(KEY_FILE), key.serialize_pem().as_bytes(), 0o600)?;
    put(&folder.join(CERT_FILE), cert.pem().as_bytes(), 0o644)
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let aside = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&aside);
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|source| TlsError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn pem<'a>(path: &'a Path, wanted: &'static str) -> impl Fn(rustls::pki_types::pem::Error) -> TlsError + 'a {
    use rustls::pki_types::pem::Error;
    move |error| match error {
        Error::Io(source) => TlsError::File {
            action: "read",
            path: path.to_owned(),
            source,
        },
        source => TlsError::Pem {
            path: path.to_owned(),
            wanted,
            source,
        },
    }
}

fn fingerprint(cert: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(cert) {
        let separator = if text.is_empty() { "" } else { ":" };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_own_certificate_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let names = host_names("0.0.0.0".parse().unwrap());
        assert!(names.iter().any(|name| name == "127.0.0.1") && names.iter().any(|name| name == "localhost"));
        assert!(!names.iter().any(|name| name == "0.0.0.0"));
        let first = Identity::own(folder.path(), names.clone()).unwrap();
        let again = Identity::own(folder.path(), names).unwrap();
        assert_eq!(first.fingerprint, again.fingerprint);
        assert_eq!(first.fingerprint.len(), 32 * 3 - 1);
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &other] {
            Identity::own(folder.path(), vec!["localhost".into()]).unwrap();
        }
        let (cert, key) = (one.path().join(CERT_FILE), other.path().join(KEY_FILE));
        assert!(matches!(
            Identity::from_files(&cert, &key),
            Err(TlsError::Mismatch { .. })
        ));
        assert!(matches!(Identity::from_files(&key, &key), Err(TlsError::Pem { .. })));
        let none = one.path().join("none");
        let error = Identity::from_files(&none, &key).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
