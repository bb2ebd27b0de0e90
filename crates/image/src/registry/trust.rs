//! Which server certificates are trusted: those that lead to an authority of the system's or of the user's, and those that
//! the user gave themselves.
//!
//! `openssl req -x509` marks what it makes as an authority, and a server that shows such a certificate as its own is refused
//! by the rules. A user who gives that very certificate means that very server, so there its name and time of validity decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::RegistryError;

/// TLS with the system's authorities and those in `ca_files`.
pub(super) fn tls_config(ca_files: &[PathBuf]) -> Result<rustls::ClientConfig, RegistryError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // A host without certificates can still pull from loopback; elsewhere the handshake will say what is missing.
    let (_, ignored) = roots.add_parsable_certificates(system.certs);
    if ignored > 0 || !system.errors.is_empty() {
        tracing::warn!(ignored, errors = ?system.errors, "some of the system's certificate authorities are not usable");
    }
    let mut given = Vec::new();
    for path in ca_files {
        given.extend(certificates(path, &mut roots)?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| RegistryError::Tls(error.to_string()))?;
    if given.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let verifier = Verifier::new(roots, given, provider).map_err(RegistryError::Tls)?;
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// Adds a file's certificates to the authorities, and gives them.
fn certificates(path: &Path, roots: &mut RootCertStore) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let failed =
        |reason: String| RegistryError::Tls(format!("certificate authority file {}: {reason}", path.display()));
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Vec<_> = read
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.to_string()))?;
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| failed(error.to_string()))?;
    }
    if certificates.is_empty() {
        return Err(failed("no certificate in it".into()));
    }
    Ok(certificates)
}

/// The rules, with the one exception.
#[derive(Debug)]
struct Verifier {
    rules: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(
        roots: RootCertStore,
        given: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let rules = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { rules, given })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self
            .rules
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // The rules look at the time of validity before they look at this, and at the name after it.
            Err(error) if is_authority_as_server(&error) && self.given.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.rules.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.rules.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.supported_verify_schemes()
    }
}

fn is_authority_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    use super::*;

    /// What `openssl req -x509` makes for `localhost`, valid for a day; `None` where it is not installed.
    fn self_signed(folder: &Path, name: &str) -> Option<CertificateDer<'static>> {
        let made = Command::new("openssl")
            .current_dir(folder)
            .args(["req", "-x509", "-nodes", "-days", "1", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                "key",
                "-out",
                name,
            ])
            .output();
        let Ok(made) = made else {
            eprintln!("SKIPPED: openssl is not installed");
            return None;
        };
        assert!(made.status.success(), "{made:?}");
        Some(CertificateDer::from_pem_file(folder.join(name)).unwrap())
    }

    fn now_plus(seconds: u64) -> UnixTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        UnixTime::since_unix_epoch(since + Duration::from_secs(seconds))
    }

    #[test]
    fn only_the_given_certificate_is_trusted_and_only_by_its_name_and_in_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let (Some(given), Some(other)) = (self_signed(folder.path(), "given"), self_signed(folder.path(), "other"))
        else {
            return;
        };
        let mut roots = RootCertStore::empty();
        roots.add(given.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(roots, vec![given.clone()], provider).unwrap();
        let verify = |certificate: &CertificateDer<'_>, name: &'static str, now| {
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(certificate, &[], &name, &[], now).map(drop)
        };
        verify(&given, "localhost", now_plus(60)).unwrap();
        let name = verify(&given, "elsewhere.example", now_plus(60)).unwrap_err();
        assert!(
            matches!(
                name,
                rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
            ),
            "{name:?}"
        );
        let late = verify(&given, "localhost", now_plus(3 * 24 * 3600)).unwrap_err();
        assert!(
            matches!(
                late,
                rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
            ),
            "{late:?}"
        );
        let stranger = verify(&other, "localhost", now_plus(60)).unwrap_err();
        assert!(is_authority_as_server(&stranger), "{stranger:?}");
    }
}
