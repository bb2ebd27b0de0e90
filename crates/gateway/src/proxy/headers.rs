//! Headers on their way through: those of one connection are taken off, those that say who called are put on.

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, COOKIE, HOST, UPGRADE},
};

/// The request's ID, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-hearth-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// How many headers [`clean_request`] puts on, at most.
const OURS: usize = 5;

/// Whether it is of RFC 9110, 7.6.1, or its like: for this connection only.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether it says who called.
fn says_who_called(name: &str) -> bool {
    matches!(
        name,
        "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-prefix" | "x-real-ip"
    )
}

/// Who called, and how; each as a header has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded<'r> {
    /// The client's address.
    pub(crate) client: Option<&'r HeaderValue>,
    pub(crate) tls: bool,
    pub(crate) host: Option<&'r HeaderValue>,
    /// What was cut off the path.
    pub(crate) prefix: Option<&'r HeaderValue>,
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
    // The gateway itself says 100 once somebody reads the body.
    remove_hop_by_hop(headers, |name| {
        name == "expect" || (!forwarded.trust && says_who_called(name))
    });
    join_cookies(headers);
    // Grown once, and not with each of these.
    headers.reserve(OURS);
    put_forwarded(headers, forwarded);
    headers.insert(REQUEST_ID, request.clone());
}

/// Makes an answer's headers fit for the client.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers, |_| false);
}

/// Takes off what is for this connection only, and whatever else is unwanted.
fn remove_hop_by_hop(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let found = names_where(headers, |name| is_hop_by_hop(name) || unwanted(name));
    if found.contains(&CONNECTION) {
        remove_named_by_connection(headers);
    }
    for name in &found {
        headers.remove(name);
    }
}

/// Takes off what `Connection` names: it is for this connection only.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    let mut named = Vec::new();
    names_in(headers, |name| {
        // What is mostly said there, and is no header or taken off anyway.
        let usual = name.eq_ignore_ascii_case("keep-alive") || name.eq_ignore_ascii_case("close");
        if let Some(name) = (!usual).then(|| HeaderName::try_from(name).ok()).flatten() {
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

/// Takes off the headers whose name is unwanted.
pub(crate) fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    for name in &names_where(headers, unwanted) {
        headers.remove(name);
    }
}

/// Names that are there. Most requests have none that is looked for, and to look at those that are there is cheaper than to
/// look up each that might be.
fn names_where(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> Vec<HeaderName> {
    headers.keys().filter(|name| wanted(name.as_str())).cloned().collect()
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
    // Of those that are not believed none is left.
    let said = |headers: &HeaderMap, name| forwarded.trust && headers.contains_key(name);
    if let Some(client) = forwarded.client {
        let before = forwarded.trust.then(|| headers.get(FORWARDED_FOR)).flatten();
        let client = before.map_or_else(|| client.clone(), |before| after(before, client));
        headers.insert(FORWARDED_FOR, client);
    }
    if !said(headers, FORWARDED_PROTO) {
        let proto = if forwarded.tls { "https" } else { "http" };
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if let Some(host) = forwarded.host
        && !said(headers, FORWARDED_HOST)
    {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    if let Some(prefix) = forwarded.prefix {
        headers.insert(FORWARDED_PREFIX, prefix.clone());
    }
}

/// `before, value`.
fn after(before: &HeaderValue, value: &HeaderValue) -> HeaderValue {
    let both = [before.as_bytes(), value.as_bytes()].join(&b", "[..]);
    HeaderValue::from_bytes(&both).unwrap_or_else(|_| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    static CLIENT: HeaderValue = HeaderValue::from_static("192.0.2.7");
    static HOST_VALUE: HeaderValue = HeaderValue::from_static("f.p.fn.localhost");

    fn forwarded(trust: bool) -> Forwarded<'static> {
        Forwarded {
            client: Some(&CLIENT),
            tls: false,
            host: Some(&HOST_VALUE),
            prefix: None,
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
        clean_request(&mut map, &forwarded(false), &HeaderValue::from_static("req"));
        assert_eq!(map["x-forwarded-for"], "192.0.2.7");
        assert_eq!(map["x-forwarded-proto"], "http");
        assert_eq!(map["x-forwarded-host"], "f.p.fn.localhost");
        assert!(!map.contains_key("x-real-ip"));
        let mut map = headers(&claims);
        clean_request(&mut map, &forwarded(true), &HeaderValue::from_static("req"));
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
