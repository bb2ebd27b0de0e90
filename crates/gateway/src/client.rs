//! Who is at the other end of a connection.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use http::HeaderValue;
use tokio_util::sync::CancellationToken;

/// A client, for as long as its connection lasts.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The same, as a header has it: written once, and not for each request.
    pub(crate) value: HeaderValue,
    pub(crate) tls: bool,
    /// Cancelled to end the connection.
    pub(crate) connection: CancellationToken,
    /// Streams for which it may let us wait.
    patient: AtomicUsize,
}

impl Client {
    pub(crate) fn new(address: IpAddr, tls: bool, connection: CancellationToken) -> Self {
        let value = HeaderValue::try_from(address.to_string());
        Self {
            address,
            value: value.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            tls,
            connection,
            patient: AtomicUsize::new(0),
        }
    }

    /// From now on it may let us wait, until [`Self::hurry`] was called as often.
    pub(crate) fn be_patient(&self) {
        self.patient.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hurry(&self) {
        self.patient.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it may let us wait.
    pub(crate) fn may_wait(&self) -> bool {
        self.patient.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_wait_for_as_long_as_it_has_streams() {
        let client = Client::new([127, 0, 0, 1].into(), false, CancellationToken::new());
        assert!(!client.may_wait());
        client.be_patient();
        client.be_patient();
        client.hurry();
        assert!(client.may_wait());
        client.hurry();
        assert!(!client.may_wait());
    }
}
