//! Where the API is offered: a unix socket, addresses with TLS, and loopback addresses without.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt as _, net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::unistd::Gid;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use tokio_rustls::TlsAcceptor;

use crate::{Identity, peer::PeerRule};

/// The group whose members may use the socket.
pub const GROUP: &str = "hearth";
/// Owner and group read and write.
const SOCKET_MODE: u32 = 0o660;

/// A place where requests come in.
pub enum Listener {
    /// A unix socket.
    Unix(UnixListener),
    /// A loopback address, without TLS.
    Tcp(TcpListener),
    /// A loopback address for metrics alone, without keys.
    Watching(TcpListener),
    /// Any address, with TLS.
    Tls(TcpListener, TlsAcceptor),
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(listener) => f.debug_tuple("Unix").field(listener).finish(),
            Self::Tcp(listener) => f.debug_tuple("Tcp").field(listener).finish(),
            Self::Watching(listener) => f.debug_tuple("Watching").field(listener).finish(),
            Self::Tls(listener, _) => f.debug_tuple("Tls").field(listener).finish(),
        }
    }
}

/// Why nothing can be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another daemon is there.
    #[error("another daemon listens on {path}; stop it, or choose another --socket and --state-dir")]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something else lies where the socket should.
    #[error("{path} is there and is no socket; move it away, or choose another --socket")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The host refused.
    #[error("cannot {action} {path}")]
    Socket {
        /// What was being done.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The address can be reached from elsewhere.
    #[error(
        "cannot listen on {0} without TLS: keys would travel in the clear; only loopback addresses (127.0.0.1 or [::1]) go without"
    )]
    NotLoopback(SocketAddr),
    /// The host refused an address.
    #[error("cannot listen on {address}; is it in use?")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Listener {
    /// Listens on a unix socket, in place of one that a dead daemon left.
    ///
    /// The socket is made aside and moved into place once it has its mode, so that there is no moment in which more
    /// may connect than should.
    pub fn unix(path: &Path) -> Result<Self, ListenError> {
        let failed = |action| {
            move |source| ListenError::Socket {
                action,
                path: path.to_owned(),
                source,
            }
        };
        make_way(path)?;
        let aside = path.with_extension(format!("new{}", std::process::id()));
        let _ = fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside).map_err(failed("listen on"))?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed("set the mode of"))?;
        if let Some(group) = PeerRule::new(GROUP).group() {
            give_to(&aside, group).map_err(failed("set the group of"))?;
        }
        fs::rename(&aside, path).map_err(failed("put into place"))?;
        Ok(Self::Unix(listener))
    }

    /// Listens on a loopback address, where nothing leaves the host.
    pub async fn tcp(address: SocketAddr) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        bind(address).await.map(Self::Tcp)
    }

    /// Listens on a loopback address for whoever reads metrics.
    pub async fn watching(address: SocketAddr) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        bind(address).await.map(Self::Watching)
    }

    /// Listens on any address, with TLS.
    pub async fn tls(address: SocketAddr, identity: &Identity) -> Result<Self, ListenError> {
        let acceptor = TlsAcceptor::from(Arc::clone(&identity.config));
        bind(address).await.map(|listener| Self::Tls(listener, acceptor))
    }

    /// The address, of one on TCP.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(listener) | Self::Watching(listener) | Self::Tls(listener, _) => listener.local_addr().ok(),
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Tcp { address, source })
}

fn give_to(path: &Path, group: Gid) -> io::Result<()> {
    nix::unistd::chown(path, None, Some(group)).map_err(io::Error::from)
}

/// Checks that nobody listens at `path`. A dead socket stays: the new one replaces it in one step.
fn make_way(path: &Path) -> Result<(), ListenError> {
    use std::os::unix::fs::FileTypeExt as _;
    let failed = |source| ListenError::Socket {
        action: "look at",
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(ListenError::Taken { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_listened_on() {
        for address in ["0.0.0.0:0", "[::]:0", "10.1.2.3:0"] {
            let refused = Listener::tcp(address.parse().unwrap()).await;
            assert!(matches!(refused, Err(ListenError::NotLoopback(_))), "{address}");
        }
        assert!(
            Listener::tcp("127.0.0.1:0".parse().unwrap())
                .await
                .unwrap()
                .tcp_address()
                .is_some()
        );
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hearth.sock");
        let first = Listener::unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(Listener::unix(&path), Err(ListenError::Taken { .. })));
        drop(first);
        Listener::unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(matches!(Listener::unix(&path), Err(ListenError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
