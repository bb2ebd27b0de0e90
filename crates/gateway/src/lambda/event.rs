//! An HTTP request as an event: what function URLs send, payload format 2.0.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::CONTENT_TYPE, header::COOKIE, request::Parts};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::call::Call;

/// The event of a request.
pub(super) fn of(call: &Call, parts: &Parts, body: &[u8]) -> Vec<u8> {
    let mut parts_headers = parts.headers.clone();
    crate::proxy::clean_request(&mut parts_headers, &call.forwarded(false), &call.id_value);
    let query = parts.uri.query().unwrap_or_default();
    let path = parts.uri.path();
    let (text, encoded) = body_text(&parts_headers, body);
    let header = |name: &str| {
        parts_headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let host = call.host();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers(&parts_headers),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": call.route.function.id.to_string(),
            "domainName": host,
            "domainPrefix": host.split('.').next().unwrap_or_default(),
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": call.address().map(|client| client.to_string()).unwrap_or_default(),
                "userAgent": header("user-agent"),
            },
            "requestId": call.id.to_string(),
            "routeKey": "$default",
            "stage": "$default",
            "time": clock_time(now_ms),
            "timeEpoch": now_ms,
        },
        "isBase64Encoded": encoded,
    });
    if let Some(event) = event.as_object_mut() {
        let cookies = cookies(&parts_headers);
        if !cookies.is_empty() {
            event.insert("cookies".to_owned(), cookies.into());
        }
        let query = parameters(query);
        if !query.is_empty() {
            event.insert("queryStringParameters".to_owned(), query.into());
        }
        if !body.is_empty() {
            event.insert("body".to_owned(), text.into());
        }
    }
    event.to_string().into_bytes()
}

/// Names in lower case, values of the same name joined by commas; cookies stand by themselves.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for name in headers.keys().filter(|name| **name != COOKIE) {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        map.insert(name.as_str().to_owned(), values.join(",").into());
    }
    map
}

fn cookies(headers: &HeaderMap) -> Vec<Value> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookies = values.flat_map(|value| value.split(';')).map(str::trim);
    cookies.filter(|cookie| !cookie.is_empty()).map(Value::from).collect()
}

/// Decoded; values of the same name joined by commas.
fn parameters(query: &str) -> Map<String, Value> {
    let mut map: Map<String, Value> = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name), decode(value));
        let joined = match map.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value,
        };
        map.insert(name, joined.into());
    }
    map
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// The body as text where it says that it is text, else in base 64.
fn body_text(headers: &HeaderMap, body: &[u8]) -> (String, bool) {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    let text = kind.starts_with("text/")
        || ["json", "xml", "javascript", "x-www-form-urlencoded"]
            .iter()
            .any(|word| kind.contains(word));
    match std::str::from_utf8(body) {
        Ok(body) if text => (body.to_owned(), false),
        _ => (STANDARD.encode(body), !body.is_empty()),
    }
}

/// `21/Nov/2026:18:00:00 +0000`.
fn clock_time(now_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn parameters_of_one_name_are_joined() {
        let map = parameters("a=1&a=2&b=x%20y+z&c&=");
        assert_eq!(Value::from(map), json!({"a": "1,2", "b": "x y z", "c": "", "": ""}));
    }

    #[test]
    fn bodies_are_text_only_where_they_say_so() {
        let mut map = HeaderMap::new();
        assert_eq!(body_text(&map, b"hi"), ("aGk=".to_owned(), true));
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(body_text(&map, b"{}"), ("{}".to_owned(), false));
        assert_eq!(body_text(&map, b"\xff"), ("/w==".to_owned(), true));
    }

    #[test]
    fn cookies_stand_by_themselves() {
        let mut map = HeaderMap::new();
        map.append(COOKIE, HeaderValue::from_static("a=1; b=2"));
        map.append("x-many", HeaderValue::from_static("1"));
        map.append("x-many", HeaderValue::from_static("2"));
        assert_eq!(cookies(&map), [json!("a=1"), json!("b=2")]);
        assert_eq!(Value::from(headers(&map)), json!({"x-many": "1,2"}));
    }

    #[test]
    fn the_time_is_that_of_logs() {
        assert_eq!(clock_time(0), "01/Jan/1970:00:00:00 +0000");
    }
}
