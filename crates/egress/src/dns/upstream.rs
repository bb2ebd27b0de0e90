//! Whom we ask: the host's own resolvers, one after another.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::Query,
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::question::{PAYLOAD, ask, read_answer};

/// How long one resolver has for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of one family of a name that are looked at.
const ADDRESSES_MAX: usize = 4;

/// The resolvers.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    resolvers: Vec<SocketAddr>,
}

impl Upstream {
    pub(crate) fn new(resolvers: Vec<SocketAddr>) -> Self {
        Self { resolvers }
    }

    /// The addresses of a name, IPv4 first.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let (v4, v6) = tokio::join!(
            self.addresses_of(name, RecordType::A),
            self.addresses_of(name, RecordType::AAAA)
        );
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(v4.into_iter().chain(v6).flatten().collect()),
        }
    }

    async fn addresses_of(&self, name: &str, kind: RecordType) -> io::Result<Vec<IpAddr>> {
        let mut name = Name::from_ascii(name).map_err(io::Error::other)?;
        name.set_fqdn(true);
        let asked = ask(rand::random(), Query::query(name, kind), true, false).ok_or(io::ErrorKind::InvalidInput)?;
        let answer = self.ask(&asked).await?;
        let message = read_answer(&asked, &answer).ok_or(io::ErrorKind::InvalidData)?;
        let addresses = message.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        Ok(addresses.take(ADDRESSES_MAX).collect())
    }

    /// The first answer that a resolver gives: by UDP, and by TCP where it is too long for that.
    pub(crate) async fn ask(&self, asked: &[u8]) -> io::Result<Vec<u8>> {
        let mut last = io::Error::new(io::ErrorKind::NotConnected, "this host has no name servers");
        for resolver in &self.resolvers {
            match timeout(ANSWER_TIMEOUT, ask_one(*resolver, asked)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

async fn ask_one(resolver: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    // A socket of its own for each question: the port that it gets is half of what a forger has to guess.
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(asked).await?;
    let mut buffer = vec![0; usize::from(PAYLOAD).max(4096)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Some(answer) = read_answer(asked, &buffer[..length]) else {
            continue;
        };
        if answer.metadata.truncation {
            return ask_by_tcp(resolver, asked).await;
        }
        buffer.truncate(length);
        return Ok(buffer);
    }
}

async fn ask_by_tcp(resolver: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_message(&mut stream, asked).await?;
    let answer = read_message(&mut stream).await?;
    if read_answer(asked, &answer).is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an answer to something else",
        ));
    }
    Ok(answer)
}

/// Reads one message with its length in front (RFC 1035, 4.2.2).
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message with its length in front.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
