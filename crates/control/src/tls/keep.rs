//! Looking after a certificate for as long as it is served: its files may change, and its time may end.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Identity;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often an own certificate is asked whether it still serves.
const RENEW_EVERY: Duration = Duration::from_hours(24);

/// By which files that were changed, or replaced, are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([FileStamp; 2]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// None, if one of them cannot be looked at, such as while it is being replaced.
    pub(super) fn of(cert: &Path, key: &Path) -> Option<Self> {
        Some(Self([FileStamp::of(cert).ok()?, FileStamp::of(key).ok()?]))
    }
}

impl FileStamp {
    /// Of what a link leads to: that is what changes where certificates are renewed by a program.
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            len: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Identity {
    /// Looks after the certificate until told to stop: shows what its files come to hold, and renews an own one.
    pub async fn keep(self, stop: CancellationToken) {
        self.keep_at(LOOK_EVERY, RENEW_EVERY, stop).await;
    }

    async fn keep_at(mut self, look_every: Duration, renew_every: Duration, stop: CancellationToken) {
        let mut asked = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(look_every) => {}
            }
            let renew = asked.elapsed() >= renew_every;
            if renew {
                asked = Instant::now();
            }
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                if renew {
                    self.renew();
                }
                self
            });
            let Ok(kept) = looked.await else { return };
            self = kept;
        }
    }

    fn look(&mut self) {
        let now = Stamp::of(&self.certificate, &self.key);
        if now.is_some() && now != self.stamp {
            self.reload();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        time::timeout,
    };
    use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const TICK: Duration = Duration::from_millis(5);

    type Both = (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

    /// A connection to whatever is shown, of a client that trusts a file.
    async fn connect(config: &Arc<rustls::ServerConfig>, trusted: &CertificateDer<'static>) -> io::Result<Both> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).map_err(io::Error::other)?;
        let trusting = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(trusting));
        let acceptor = TlsAcceptor::from(Arc::clone(config));
        let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        Ok((client?, server?))
    }

    async fn trusted(config: &Arc<rustls::ServerConfig>, cert: &CertificateDer<'static>) {
        let wait = async {
            while connect(config, cert).await.is_err() {
                sleep(TICK).await;
            }
        };
        timeout(SOON, wait).await.expect("the certificate is not shown");
    }

    fn own() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let made = Identity::own(folder.path(), &[]).unwrap();
        (folder, made.certificate, made.key)
    }

    fn replace(from: &Path, to: &Path) {
        let aside = to.with_extension("aside");
        fs::copy(from, &aside).unwrap();
        fs::rename(aside, to).unwrap();
    }

    #[tokio::test]
    async fn files_that_change_are_shown_without_a_connection_lost() {
        let ((_one, cert, key), (_other, new_cert, new_key)) = (own(), own());
        let mut identity = Identity::from_files(&cert, &key).unwrap();
        let config = Arc::clone(&identity.config);
        let [before, after] = [&cert, &new_cert].map(|path| CertificateDer::from_pem_file(path).unwrap());
        let (mut client, mut server) = connect(&config, &before).await.unwrap();
        assert!(connect(&config, &after).await.is_err());
        // The two do not fit for a moment.
        replace(&new_cert, &cert);
        identity.look();
        connect(&config, &before).await.unwrap();
        replace(&new_key, &key);
        identity.look();
        connect(&config, &after).await.unwrap();
        // Something else is not shown, and neither is nothing.
        fs::write(&cert, "nothing of the kind").unwrap();
        identity.look();
        connect(&config, &after).await.unwrap();
        fs::remove_file(&key).unwrap();
        identity.look();
        connect(&config, &after).await.unwrap();

        // It is looked at without being told to.
        let stop = CancellationToken::new();
        let task = tokio::spawn(identity.keep_at(TICK, SOON * 60, stop.clone()));
        let (_third, third_cert, third_key) = own();
        replace(&third_key, &key);
        replace(&third_cert, &cert);
        trusted(&config, &CertificateDer::from_pem_file(&third_cert).unwrap()).await;
        stop.cancel();
        timeout(SOON, task).await.unwrap().unwrap();

        let told = async {
            client.write_all(b"x").await.unwrap();
            client.flush().await.unwrap();
            server.read_u8().await.unwrap()
        };
        assert_eq!(timeout(SOON, told).await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn an_own_one_is_renewed_while_it_is_served() {
        let (folder, cert, _) = own();
        let first = CertificateDer::from_pem_file(&cert).unwrap();
        let mut identity = Identity::own(folder.path(), &[]).unwrap();
        // From now on it lacks an address.
        identity.own = Some(super::super::own::Own::new(
            folder.path(),
            &["192.0.2.7".parse().unwrap()],
        ));
        let config = Arc::clone(&identity.config);
        let stop = CancellationToken::new();
        let task = tokio::spawn(identity.keep_at(TICK, TICK, stop.clone()));
        let renewed = async {
            while CertificateDer::from_pem_file(&cert).unwrap() == first {
                sleep(TICK).await;
            }
        };
        timeout(SOON, renewed).await.expect("it is not renewed");
        trusted(&config, &CertificateDer::from_pem_file(&cert).unwrap()).await;
        // The same for whoever has the file of the one before.
        connect(&config, &first).await.unwrap();
        stop.cancel();
        timeout(SOON, task).await.unwrap().unwrap();
    }
}
