//! Headers on their way through: those of one connection are taken off, those that say who called are put on.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, COOKIE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

/// The request's ID, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-hearth-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATE: HeaderName = HeaderName::from_static("proxy-authenticate");
const PROXY_AUTHORIZATION: HeaderName = HeaderName::from_static("proxy-authorization");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Those of RFC 9110, 7.6.1, and their like.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Who called, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded<'r> {
    pub(crate) client: Option<IpAddr>,
    pub(crate) tls: bool,
    pub(crate) host: Option<&'r str>,
    /// What was cut off the path.
    pub(crate) prefix: &'r str,
    /// Whether what the client says of these is believed.
    pub(crate) trust: bool,
}

/// What the client wants to upgrade to, if it does.
pub(crate) fn upgrade_wanted(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if version != Version::HTTP_11 {
        return None;
    }
    let upgrade = headers.get(UPGRADE)?;
    let h2c = upgrade.as_bytes().eq_ignore_ascii_case(b"h2c");
    (!h2c && names_in(headers, |name| name.eq_ignore_ascii_case("upgrade"))).then(|| upgrade.clone())
}

/// Makes a request's headers fit for the instance.
pub(crate) fn clean_request(headers: &mut HeaderMap, forwarded: &Forwarded<'_>, request: &HeaderValue) {
    remove_hop_by_hop(headers);
    // The gateway itself says 100 once somebody reads the body.
    headers.remove(EXPECT);
    join_cookies(headers);
    put_forwarded(headers, forwarded);
    headers.insert(REQUEST_ID, request.clone());
    if !headers.contains_key(HOST)
        && let Some(host) = forwarded.host.and_then(|host| HeaderValue::try_from(host).ok())
    {
        headers.insert(HOST, host);
    }
}

/// Makes an answer's headers fit for the client.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let mut named = Vec::new();
        names_in(headers, |name| {
            if let Ok(name) = HeaderName::try_from(name) {
                named.push(name);
            }
            false
        });
        // A client must not have us take away what names the host or the length.
        let kept = [HOST, http::header::CONTENT_LENGTH];
        for name in named.iter().filter(|name| !kept.contains(name)) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether one of the names in `Connection` is wanted.
fn names_in(headers: &HeaderMap, mut wanted: impl FnMut(&str) -> bool) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut names = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    names.any(|name| wanted(name.trim()))
}

/// HTTP/2 may split cookies over several fields, HTTP/1 may not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn put_forwarded(headers: &mut HeaderMap, forwarded: &Forwarded<'_>) {
    if !forwarded.trust {
        for name in [
            FORWARDED,
            FORWARDED_FOR,
            FORWARDED_PROTO,
            FORWARDED_HOST,
            FORWARDED_PREFIX,
            REAL_IP,
        ] {
            headers.remove(name);
        }
    }
    if let Some(client) = forwarded.client {
        let before = headers.get(FORWARDED_FOR).and_then(|value| value.to_str().ok());
        let client = before.map_or_else(|| client.to_string(), |before| format!("{before}, {client}"));
        put(headers, FORWARDED_FOR, HeaderValue::try_from(client).ok());
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        let proto = if forwarded.tls { "https" } else { "http" };
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if !headers.contains_key(FORWARDED_HOST) {
        let host = forwarded.host.and_then(|host| HeaderValue::try_from(host).ok());
        put(headers, FORWARDED_HOST, host);
    }
    if !forwarded.prefix.is_empty() {
        put(headers, FORWARDED_PREFIX, HeaderValue::try_from(forwarded.prefix).ok());
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(trust: bool) -> Forwarded<'static> {
        Forwarded {
            client: Some([192, 0, 2, 7].into()),
            tls: false,
            host: Some("f.p.fn.localhost"),
            prefix: "",
            trust,
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_concerns_the_connection_is_taken_off() {
        let mut map = headers(&[
            ("connection", "close, X-Secret, host, content-length"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("host", "h"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ]);
        clean_request(&mut map, &forwarded(false), &HeaderValue::from_static("req"));
        for gone in [
            "connection",
            "x-secret",
            "keep-alive",
            "te",
            "transfer-encoding",
            "upgrade",
            "expect",
        ] {
            assert!(!map.contains_key(gone), "{gone}");
        }
        assert!(map.contains_key("host") && map.contains_key("content-length") && map.contains_key("x-kept"));
    }

    #[test]
    fn clients_are_believed_only_where_told() {
        let claims = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "6.6.6.6"),
        ];
        let mut map = headers(&claims);
        put_forwarded(&mut map, &forwarded(false));
        assert_eq!(map["x-forwarded-for"], "192.0.2.7");
        assert_eq!(map["x-forwarded-proto"], "http");
        assert_eq!(map["x-forwarded-host"], "f.p.fn.localhost");
        assert!(!map.contains_key("x-real-ip"));
        let mut map = headers(&claims);
        put_forwarded(&mut map, &forwarded(true));
        assert_eq!(map["x-forwarded-for"], "6.6.6.6, 192.0.2.7");
        assert_eq!(map["x-forwarded-proto"], "https");
    }

    #[test]
    fn split_cookies_are_joined() {
        let mut map = HeaderMap::new();
        map.append(COOKIE, HeaderValue::from_static("a=1"));
        map.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut map);
        assert_eq!(map.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn only_http_1_upgrades() {
        let map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert!(upgrade_wanted(Version::HTTP_11, &map).is_some());
        assert!(upgrade_wanted(Version::HTTP_2, &map).is_none());
        assert!(upgrade_wanted(Version::HTTP_11, &headers(&[("upgrade", "websocket")])).is_none());
    }
}
