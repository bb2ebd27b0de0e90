//! The request as the sandbox gets it.

use hearth_ids::RequestId;
use http::{
    HeaderMap, HeaderValue, Request, Uri,
    header::{CONNECTION, EXPECT, HOST, TE, TRAILER, UPGRADE},
    request::Parts,
};

use super::{
    SandboxPlace,
    access::TRAFFIC_TOKEN,
    target::{SANDBOX_ID, SANDBOX_PORT},
};
use crate::{
    Body, answer,
    proxy::{Forwarded, clean_request, remove_where},
};

/// How headers begin that are between the gateway, the host and its agents.
const OUR_HEADERS: &str = "x-hearth-";

/// What a request is made of.
pub(super) struct Wish<'r> {
    pub(super) id: RequestId,
    pub(super) port: u16,
    pub(super) forwarded: Forwarded<'r>,
    /// What the client wants to upgrade to.
    pub(super) protocol: Option<&'r HeaderValue>,
}

/// The request, without what is for the gateway or for one connection only.
pub(super) fn outgoing(parts: Parts, body: Body, place: &SandboxPlace, wish: &Wish<'_>) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = parts.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    let mut headers = parts.headers;
    let lasting = Lasting::of(&headers);
    remove_where(&mut headers, |name| {
        name.starts_with(OUR_HEADERS)
            || [SANDBOX_ID, SANDBOX_PORT, TRAFFIC_TOKEN]
                .iter()
                .any(|ours| ours == name)
    });
    clean_request(&mut headers, &wish.forwarded, &answer::id_value(wish.id));
    lasting.put_back(&mut headers);
    if let Some(protocol) = wish.protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    headers.insert(HOST, host(place, wish));
    *request.headers_mut() = headers;
    request
}

/// What of the connection's headers a sandbox is told all the same: they are of both connections.
struct Lasting {
    /// Whether the client waits to be asked for the body. It is asked at once, but programs may want to know.
    expect: Option<HeaderValue>,
    /// The names of trailers: without it none is passed on.
    trailer: Option<HeaderValue>,
    /// Whether the client takes trailers.
    trailers: bool,
}

impl Lasting {
    fn of(headers: &HeaderMap) -> Self {
        let te = headers.get(TE).and_then(|te| te.to_str().ok()).unwrap_or_default();
        Self {
            expect: headers.get(EXPECT).cloned(),
            trailer: headers.get(TRAILER).cloned(),
            trailers: te
                .split(',')
                .any(|coding| coding.trim().eq_ignore_ascii_case("trailers")),
        }
    }

    fn put_back(self, headers: &mut HeaderMap) {
        if let Some(expect) = self.expect {
            headers.insert(EXPECT, expect);
        }
        if let Some(trailer) = self.trailer {
            headers.insert(TRAILER, trailer);
        }
        if self.trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

/// The host that the sandbox is told: its mask, what the client named, or where it is.
fn host(place: &SandboxPlace, wish: &Wish<'_>) -> HeaderValue {
    let mask = place.mask_host.as_ref().and_then(|mask| {
        let host = mask.replace("${PORT}", &wish.port.to_string());
        HeaderValue::try_from(host).ok()
    });
    let named = mask.or_else(|| wish.forwarded.host.cloned());
    named.unwrap_or_else(|| {
        let address = std::net::SocketAddr::new(place.address, wish.port).to_string();
        HeaderValue::try_from(address).unwrap_or_else(|_| HeaderValue::from_static("sandbox"))
    })
}
