//! The own certificate: made once, and renewed only when clients would not take it any more, or soon would not.
//!
//! Each renewal is a certificate of the same subject and key. A client that trusts one of them as an authority
//! (`HEARTH_CA_FILE`), or the key, takes all of them.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{TlsError, put};

const CERT_FILE: &str = "cert.pem";
const KEY_FILE: &str = "key.pem";
/// Of the only subject that there is.
const SUBJECT: &str = "hearth";
/// Names in a certificate.
const NAMES_MAX: usize = 64;
/// How long before its end a certificate is renewed.
const RENEW_BEFORE: Duration = Duration::from_hours(30 * 24);
/// Bytes of a serial number: RFC 5280 allows twenty. Random ones, because two certificates of one issuer never have the same.
const SERIAL_LEN: usize = 16;
/// How the host's ends of slots are called. They come and go with machines, and nobody reaches the daemon by them.
const SLOT_PREFIX: &str = "hv";

/// The own certificate's folder, and where it is shown.
#[derive(Debug)]
pub(super) struct Own {
    folder: PathBuf,
    listened_on: Vec<IpAddr>,
}

impl Own {
    pub(super) fn new(folder: &Path, listened_on: &[IpAddr]) -> Self {
        Self {
            folder: folder.to_owned(),
            listened_on: listened_on.to_vec(),
        }
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join(CERT_FILE)
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.join(KEY_FILE)
    }

    /// Makes key and certificate. The key is in place before the certificate, which says that both are.
    pub(super) fn make(&self) -> Result<(), TlsError> {
        let key = rcgen::KeyPair::generate()?;
        put(&self.key(), key.serialize_pem().as_bytes(), 0o600)?;
        self.sign(&key)
    }

    /// Makes a certificate in place of the one there is, of the same key.
    pub(super) fn renew(&self) -> Result<(), TlsError> {
        let path = self.key();
        let pem = fs::read_to_string(&path).map_err(|source| TlsError::File {
            action: "read",
            path,
            source,
        })?;
        self.sign(&rcgen::KeyPair::from_pem(&pem)?)
    }

    fn sign(&self, key: &rcgen::KeyPair) -> Result<(), TlsError> {
        // A name that no certificate can hold must not keep the server from having one.
        let names: Vec<_> = self.names().into_iter().filter(|name| name.is_ascii()).collect();
        let mut about = rcgen::CertificateParams::new(names)?;
        about.distinguished_name = rcgen::DistinguishedName::new();
        about.distinguished_name.push(rcgen::DnType::CommonName, SUBJECT);
        about.serial_number = Some(serial().into());
        let cert = about.self_signed(key)?;
        put(&self.certificate(), cert.pem().as_bytes(), 0o644)
    }

    /// Why a client that trusts the certificate would not take it, now or when it has [`RENEW_BEFORE`] less to live.
    /// None, if all would.
    pub(super) fn unfit(&self, cert: &CertificateDer<'static>) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(now + RENEW_BEFORE);
        let mut roots = RootCertStore::empty();
        let check = roots.add(cert.clone()).and_then(|()| {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))
        });
        let verifier = match check {
            Ok(verifier) => verifier,
            Err(error) => return Some(error.to_string()),
        };
        self.needed().into_iter().find_map(|name| {
            let server = ServerName::try_from(name.clone()).ok()?;
            let refused = verifier.verify_server_cert(cert, &[], &server, &[], at).err()?;
            Some(format!("for {name}: {refused}"))
        })
    }

    /// The names and addresses that a certificate is made for: those that it needs, and those of the host besides.
    fn names(&self) -> Vec<String> {
        let mut names = self.needed();
        names.extend(interfaces().iter().map(ToString::to_string));
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names.truncate(NAMES_MAX);
        names
    }

    /// Those that it is renewed for: loopback, the host's name, and what is listened on.
    fn needed(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned()];
        names.extend(host_name());
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        addresses.extend(self.listened_on.iter().filter(|address| !address.is_unspecified()));
        if self.listened_on.iter().any(IpAddr::is_unspecified) {
            addresses.extend(interfaces());
        }
        names.extend(addresses.iter().map(ToString::to_string));
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names.truncate(NAMES_MAX);
        names
    }
}

/// The host's name, if a certificate can hold it.
fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    ServerName::try_from(name.clone()).ok()?;
    Some(name)
}

/// The addresses of the host's interfaces that others reach.
fn interfaces() -> Vec<IpAddr> {
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten();
    found.filter_map(|interface| address(&interface)).collect()
}

fn address(interface: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    if interface.interface_name.starts_with(SLOT_PREFIX) {
        return None;
    }
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    let found = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))?;
    let near = match found {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    (!near).then_some(found)
}

/// A positive number, as RFC 5280 wants it.
fn serial() -> Vec<u8> {
    let mut bytes: [u8; SERIAL_LEN] = rand::random();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    bytes.to_vec()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::Identity;

    fn anywhere() -> Vec<IpAddr> {
        vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
    }

    /// Puts a certificate of the same key into the folder, for these names and this many days yet.
    fn put_other(own: &Own, names: &[&str], days: i64) {
        let key = rcgen::KeyPair::from_pem(&fs::read_to_string(own.key()).unwrap()).unwrap();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut about = rcgen::CertificateParams::new(names).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let day = i64::try_from(now / 86_400).unwrap() + days;
        about.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_hours(24) * u32::try_from(day).unwrap();
        let cert = about.self_signed(&key).unwrap();
        fs::write(own.certificate(), cert.pem()).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_own_certificate_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::new(folder.path(), &anywhere());
        let names = own.names();
        assert!(names.iter().any(|name| name == "127.0.0.1") && names.iter().any(|name| name == "localhost"));
        assert!(!names.iter().any(|name| name == "0.0.0.0"));
        let first = Identity::own(folder.path(), &anywhere()).unwrap();
        let again = Identity::own(folder.path(), &anywhere()).unwrap();
        assert_eq!(first.fingerprint, again.fingerprint);
        assert_eq!(first.fingerprint.len(), 32 * 3 - 1);
        assert_eq!(mode(&own.key()), 0o600);
    }

    #[test]
    fn one_that_does_not_serve_is_renewed_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let own = Own::new(folder.path(), &[]);
        let first = Identity::own(folder.path(), &[]).unwrap();
        let key = fs::read(own.key()).unwrap();
        // Listened on where it was not.
        let moved = Identity::own(folder.path(), &[address]).unwrap();
        assert_ne!(moved.fingerprint, first.fingerprint);
        // For other names, past its end, and shortly before.
        let all = own.needed();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        for (names, days, fits) in [
            (&all[1..], 365, false),
            (&all, -2, false),
            (&all, 29, false),
            (&all, 40, true),
        ] {
            put_other(&own, names, days);
            let before = fs::read(own.certificate()).unwrap();
            Identity::own(folder.path(), &[]).unwrap();
            let kept = fs::read(own.certificate()).unwrap() == before;
            assert_eq!(kept, fits, "{names:?} for {days} days");
        }
        assert_eq!(fs::read(own.key()).unwrap(), key);
        assert_eq!(mode(&own.key()), 0o600);
        assert!(!folder.path().join("cert.new").exists());
    }

    #[test]
    fn what_cannot_be_renewed_is_served_on() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::own(folder.path(), &[]).unwrap();
        // In the way of the new one.
        fs::create_dir(folder.path().join("cert.new")).unwrap();
        let again = Identity::own(folder.path(), &["192.0.2.7".parse().unwrap()]).unwrap();
        assert_eq!(again.fingerprint, first.fingerprint);
    }

    #[test]
    fn whoever_trusts_the_one_before_takes_the_renewed_one() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::new(folder.path(), &[]);
        own.make().unwrap();
        let read = || CertificateDer::from_pem_file(own.certificate()).unwrap();
        let before = read();
        own.renew().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(before.clone()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .unwrap();
        let server = ServerName::try_from("localhost").unwrap();
        assert_ne!(read(), before);
        verifier
            .verify_server_cert(&read(), &[], &server, &[], UnixTime::now())
            .unwrap();
    }
}
