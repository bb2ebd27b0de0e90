//! Certificates of the server: files of the user's, or an own one that is made once.
//!
//! An own certificate vouches for itself. Clients trust it by having its file, and so it is renewed only when it must be
//! ([`own`]), and with the same name and key: who has the file of the one before goes on.
//!
//! What is shown to clients is looked up at each handshake, so that another certificate takes no connection away.

mod keep;
mod own;
mod shown;

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
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tracing::{info, warn};

use self::{keep::Stamp, own::Own, shown::Shown};

/// HTTP by the first version alone: the API's sessions are web sockets.
const ALPN: &[u8] = b"http/1.1";

/// What a server proves itself by.
#[derive(Debug)]
pub struct Identity {
    /// For listeners. What it shows may change: see [`Identity::keep`].
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the certificate that was there first, as `AA:BB:…`.
    pub fingerprint: String,
    /// The certificate's file.
    pub certificate: PathBuf,
    key: PathBuf,
    shown: Arc<Shown>,
    /// The files that are shown.
    stamp: Option<Stamp>,
    own: Option<Own>,
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
        let stamp = Stamp::of(cert, key);
        let certified = read(cert, key)?;
        let fingerprint = certified.cert.first().map(|cert| fingerprint(cert));
        let shown = Arc::new(Shown::new(certified));
        Ok(Self {
            config: Arc::new(server_config(Arc::clone(&shown)).map_err(mismatch(cert, key))?),
            fingerprint: fingerprint.unwrap_or_default(),
            certificate: cert.to_owned(),
            key: key.to_owned(),
            shown,
            stamp,
            own: None,
        })
    }

    /// The own one in a private folder, for this host as it is listened on at these addresses: made if it is not there,
    /// renewed if it does not serve any more.
    pub fn own(folder: &Path, listened_on: &[IpAddr]) -> Result<Self, TlsError> {
        let own = Own::new(folder, listened_on);
        if !own.certificate().exists() {
            own.make()?;
        }
        let mut identity = Self::from_files(&own.certificate(), &own.key())?;
        identity.own = Some(own);
        if identity.renew() {
            let shown = identity.shown.get();
            identity.fingerprint = shown.cert.first().map(|cert| fingerprint(cert)).unwrap_or_default();
        }
        Ok(identity)
    }

    /// Renews an own one that would soon not be taken; says whether it did. If it cannot, that is logged, and what there
    /// is stays.
    fn renew(&mut self) -> bool {
        let Some(own) = &self.own else { return false };
        let shown = self.shown.get();
        let Some(reason) = shown.cert.first().and_then(|cert| own.unfit(cert)) else {
            return false;
        };
        if let Err(error) = own.renew() {
            warn!(
                reason,
                error = hearth_domain::chain(&error),
                "cannot renew the certificate; going on with the one there is"
            );
            return false;
        }
        info!(reason, "renewed the certificate, with the same key");
        self.reload();
        true
    }

    /// Shows what the files hold now, or, if that cannot be shown, what was shown before.
    fn reload(&mut self) {
        // Looked at before they are read: what changes meanwhile is seen the next time.
        self.stamp = Stamp::of(&self.certificate, &self.key);
        match read(&self.certificate, &self.key) {
            Ok(certified) => {
                let fingerprint = certified.cert.first().map(|cert| fingerprint(cert));
                info!(
                    fingerprint = fingerprint.unwrap_or_default(),
                    certificate = %self.certificate.display(),
                    "serving another certificate"
                );
                self.shown.set(certified);
            }
            Err(error) => warn!(
                error = hearth_domain::chain(&error),
                "the certificate changed and cannot be served; going on with the one before"
            ),
        }
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain: Vec<_>| {
            let found = Some(chain).filter(|chain| !chain.is_empty());
            found.ok_or(rustls::pki_types::pem::Error::NoItemsFound)
        })
        .map_err(pem(cert, "a certificate"))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(pem(key, "a private key"))?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(mismatch(cert, key))
}

/// The configuration of a server, for HTTP/1.1 alone.
fn server_config(shown: Arc<Shown>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn mismatch(cert: &Path, key: &Path) -> impl Fn(rustls::Error) -> TlsError {
    move |source| TlsError::Mismatch {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    }
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
    use super::*;

    #[test]
    fn files_that_do_not_fit_are_named() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &other] {
            Identity::own(folder.path(), &[]).unwrap();
        }
        let (cert, key) = (one.path().join("cert.pem"), other.path().join("key.pem"));
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
