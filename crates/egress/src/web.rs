//! One connection of a guest to port 80 or 443: its name, the way out, and bytes both ways.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustix::net::sockopt;
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
    time::timeout,
};

use crate::{
    gate::{Shared, permits},
    name::{NameReader, NoName},
};

/// How long a client may take to say where it wants to go.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(6);
/// How long one address has to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const TRIES_MAX: usize = 4;
/// When a silent server is asked whether it is there, and how often.
const SERVER_PROBES: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(15), 4);
/// The same for a guest, which may stand still for long; after a rollback it knows nothing of what it had open.
const GUEST_PROBES: (Duration, Duration, u32) = (Duration::from_mins(30), Duration::from_mins(5), 6);

/// Why a connection goes nowhere.
#[derive(Debug, Error)]
enum Refused {
    #[error("{0}")]
    NoName(#[from] NoName),
    #[error("it did not say in time where it wants to go")]
    Late,
    #[error("it ended before it said where it wants to go")]
    Ended,
    #[error("{0:?} is not allowed")]
    NotAllowed(String),
    #[error("{0:?} has no address")]
    NoAddress(String),
    #[error("{name:?} cannot be reached")]
    Unreachable {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("{0:?} is not allowed any more")]
    NoLonger(String),
    #[error("it broke")]
    Broken(#[from] io::Error),
}

/// Serves the connection to its end. What is refused is reset, so that the guest knows at once.
pub(crate) async fn serve(mut guest: TcpStream, port: u16, shared: &Shared) {
    if let Err(refused) = lead(&mut guest, port, shared).await {
        tracing::debug!(
            port,
            refused = &refused as &dyn std::error::Error,
            "a guest's connection was refused"
        );
        reset(&guest);
    }
}

/// Has a connection end with a reset once it is dropped.
pub(crate) fn reset(stream: &TcpStream) {
    // If that cannot be set it ends all the same.
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Has a peer that is gone without a word found out.
fn probe(stream: &TcpStream, (idle, interval, count): (Duration, Duration, u32)) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_keepcnt(stream, count)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

async fn lead(guest: &mut TcpStream, port: u16, shared: &Shared) -> Result<(), Refused> {
    let (name, hello) = timeout(HELLO_TIMEOUT, read_name(guest))
        .await
        .map_err(|_| Refused::Late)??;
    if !shared.permits_name(&name) {
        return Err(Refused::NotAllowed(name));
    }
    let mut upstream = connect(&name, port, shared).await?;
    // They may have changed since the name was read, and then it may be the address that counts.
    if !shared.permits(&name, upstream.peer_addr()?.ip()) {
        return Err(Refused::NoLonger(name));
    }
    probe(guest, GUEST_PROBES)?;
    upstream.write_all(&hello).await?;
    pass(guest, &mut upstream, name, shared).await
}

async fn read_name(guest: &mut TcpStream) -> Result<(String, Vec<u8>), Refused> {
    let mut reader = NameReader::new();
    let mut chunk = [0; 4096];
    loop {
        let length = guest.read(&mut chunk).await?;
        if length == 0 {
            return Err(Refused::Ended);
        }
        if let Some(name) = reader.push(&chunk[..length])? {
            return Ok((name, reader.into_bytes()));
        }
    }
}

/// Resolves the name, whatever address the guest meant, and connects to the first that answers.
async fn connect(name: &str, port: u16, shared: &Shared) -> Result<TcpStream, Refused> {
    let unreachable = |source| Refused::Unreachable {
        name: name.to_owned(),
        source,
    };
    let resolving = timeout(RESOLVE_TIMEOUT, shared.upstream().addresses(name));
    let addresses = resolving
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(unreachable)?;
    let mut last = None;
    for address in addresses.into_iter().take(TRIES_MAX) {
        let dialing = shared.dialer().dial(SocketAddr::new(address, port));
        match timeout(CONNECT_TIMEOUT, dialing).await {
            Ok(Ok(upstream)) => {
                probe(&upstream, SERVER_PROBES)?;
                return Ok(upstream);
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last.map_or_else(|| Refused::NoAddress(name.to_owned()), unreachable))
}

/// Passes bytes on, both ways, for as long as the rules allow the name or the address that it led to.
async fn pass(guest: &mut TcpStream, upstream: &mut TcpStream, name: String, shared: &Shared) -> Result<(), Refused> {
    let address: IpAddr = upstream.peer_addr()?.ip();
    let mut rules = shared.rules();
    let forbidden = async {
        // Its sender goes with the gate, which ends this task by itself.
        let _ = rules.wait_for(|rules| !permits(rules, &name, address)).await;
    };
    let ended = tokio::select! {
        // Rules that were changed on the way here hold before the first byte.
        biased;
        () = forbidden => None,
        passed = copy_bidirectional(guest, upstream) => Some(passed),
    };
    if let Some(passed) = ended {
        return Ok(passed.map(drop)?);
    }
    reset(upstream);
    Err(Refused::NoLonger(name))
}
