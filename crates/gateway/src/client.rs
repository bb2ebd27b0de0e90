//! Who is at the other end of a connection.

use std::net::IpAddr;

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
}

impl Client {
    pub(crate) fn new(address: IpAddr, tls: bool, connection: CancellationToken) -> Self {
        let value = HeaderValue::try_from(address.to_string());
        Self {
            address,
            value: value.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            tls,
            connection,
        }
    }
}
