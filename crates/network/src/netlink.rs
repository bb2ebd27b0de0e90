//! One netlink conversation: send a datagram of requests, read until the last is acknowledged.
//!
//! Blocking, with a deadline on each read. A socket belongs to the network namespace of the thread that opened it,
//! for ever; that is why nothing here is asynchronous: threads that enter a namespace are short-lived and our own.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt::{Timeout, set_socket_send_buffer_size_force, set_socket_timeout},
};

/// The kernel answers at once; this only bounds a kernel that is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer datagram wants a send buffer of its own size; the kernel's default has 200 KiB or so.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
const HEADER_LEN: usize = 16;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;

/// A netlink socket and its sequence numbers.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
    next_seq: u32,
}

/// What the kernel refused, and the sequence number of the refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) seq: Option<u32>,
    pub(crate) error: io::Error,
}

impl From<rustix::io::Errno> for Refusal {
    fn from(error: rustix::io::Errno) -> Self {
        Self {
            seq: None,
            error: error.into(),
        }
    }
}

impl Netlink {
    /// Links, addresses, routes, neighbours of the calling thread's namespace.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// The firewall of the calling thread's namespace.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self { fd, next_seq: 1 })
    }

    /// The first of `count` sequence numbers that nobody else on this socket has used.
    pub(crate) fn take_seqs(&mut self, count: u32) -> u32 {
        let first = self.next_seq;
        self.next_seq = self.next_seq.wrapping_add(count).max(1);
        first
    }

    /// Sends `request` and hands each data message (type, payload) to `visit` until the request with number `last` is
    /// acknowledged or its dump is done. A refusal of any request numbered from `first` on fails the exchange.
    pub(crate) fn exchange(
        &mut self,
        request: &[u8],
        first: u32,
        last: u32,
        mut visit: impl FnMut(u16, &[u8]),
    ) -> Result<(), Refusal> {
        if request.len() > SEND_BUFFER_BYTES {
            set_socket_send_buffer_size_force(&self.fd, request.len())?;
        }
        send(&self.fd, request, SendFlags::empty())?;
        let mut buffer = vec![0_u8; 64 * 1024];
        let mut refusal = None;
        loop {
            let (received, _) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
            for (kind, seq, payload) in Messages(&buffer[..received]) {
                // Left over from an exchange that was given up.
                if seq < first || seq > last {
                    continue;
                }
                let finished = match kind {
                    TYPE_DONE => true,
                    TYPE_ERROR => {
                        let code = payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                        if code != 0 && refusal.is_none() {
                            let error = io::Error::from_raw_os_error(code.saturating_neg());
                            refusal = Some(Refusal { seq: Some(seq), error });
                        }
                        // A refusal of the first request of a batch is a refusal of the whole: nothing follows.
                        seq == last || (code != 0 && seq == first)
                    }
                    _ => {
                        visit(kind, payload);
                        false
                    }
                };
                if finished {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }
}

/// The netlink messages of one datagram: type, sequence number, payload.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..HEADER_LEN)?;
        let length = u32::from_ne_bytes(*header.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*header[4..].first_chunk()?);
        let seq = u32::from_ne_bytes(*header[8..].first_chunk()?);
        let payload = self.0.get(HEADER_LEN..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, seq, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_datagram_ends_the_walk() {
        let mut message = 20_u32.to_ne_bytes().to_vec();
        message.extend_from_slice(&[2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        let whole: Vec<_> = Messages(&message).collect();
        assert_eq!(whole, [(2, 7, &[1, 2, 3, 4][..])]);
        assert_eq!(Messages(&message[..18]).count(), 0);
        assert_eq!(
            Messages(&[0; 16]).count(),
            0,
            "a length below the header's must not loop"
        );
    }
}
