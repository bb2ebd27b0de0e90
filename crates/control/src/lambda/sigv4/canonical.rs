//! The canonical request: one text for all ways to write the same request.

use http::{HeaderMap, request::Parts};

/// The request as it is signed.
pub(super) fn request(request: &Parts, signed_headers: &[String], payload_hash: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    let mut line = |part: &[u8]| {
        text.extend_from_slice(part);
        text.push(b'\n');
    };
    line(request.method.as_str().as_bytes());
    line(path(request.uri.path()).as_bytes());
    line(query(request.uri.query().unwrap_or_default()).as_bytes());
    for name in signed_headers {
        line(&header(&request.headers, name));
    }
    line(b"");
    line(signed_headers.join(";").as_bytes());
    text.extend_from_slice(payload_hash.as_bytes());
    text
}

/// The path without empty and dot segments, and each of what is left encoded once more: what stands there is encoded already.
pub(super) fn path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut canonical = String::with_capacity(path.len() + 16);
    for segment in &segments {
        canonical.push('/');
        encode(segment.as_bytes(), &mut canonical);
    }
    if segments.is_empty() || path.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// Parameters sorted by name and then by value, each with its `=`.
pub(super) fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(name), encoded(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Encodes what a careless client left plain. A `+` stays: that it is one, and not an encoded one, is part of what it means.
fn encoded(text: &str) -> String {
    let mut canonical = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                canonical.push('%');
                canonical.push(char::from(high.to_ascii_uppercase()));
                canonical.push(char::from(low.to_ascii_uppercase()));
                after
            }
            (b'+', _) => {
                canonical.push('+');
                after
            }
            _ => {
                encode(&[*byte], &mut canonical);
                after
            }
        };
    }
    canonical
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn encode(bytes: &[u8], into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            into.push(char::from(*byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// `name:value`, without spaces around the value and with one where there were more; values of the same name joined by commas.
fn header(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let mut line = name.as_bytes().to_vec();
    line.push(b':');
    for (place, value) in headers.get_all(name).iter().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        let words = value.as_bytes().split(u8::is_ascii_whitespace);
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        line.extend_from_slice(&words.join(&b' '));
    }
    line
}
