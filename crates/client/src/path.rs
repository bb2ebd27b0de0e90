//! Paths of the API, with their parts encoded.

use serde::Serialize;

/// A path of the API and its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPath(String);

impl ApiPath {
    /// Whether the server answers at all; the one path that has no version.
    pub fn health() -> Self {
        Self("/healthz".to_owned())
    }

    /// A path under `/v1`, of segments that may hold anything.
    pub fn v1(segments: &[&str]) -> Self {
        let mut path = String::from("/v1");
        for segment in segments {
            path.push('/');
            encode(segment, &mut path);
        }
        Self(path)
    }

    /// Adds a query: the fields of a struct, each a plain value; those that are absent are left out.
    #[must_use]
    pub fn query(mut self, query: &impl Serialize) -> Self {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) else {
            return self;
        };
        let mut separator = '?';
        for (name, value) in fields {
            let value = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            self.0.push(separator);
            encode(&name, &mut self.0);
            self.0.push('=');
            encode(&value, &mut self.0);
            separator = '&';
        }
        self
    }

    /// The path as HTTP carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_queries_are_encoded() {
        #[derive(Serialize)]
        struct Query {
            path: &'static str,
            all: bool,
            none: Option<u32>,
        }
        let path = ApiPath::v1(&["machines", "a/b"]).query(&Query {
            path: "/x y",
            all: true,
            none: None,
        });
        assert_eq!(path.as_str(), "/v1/machines/a%2Fb?all=true&path=%2Fx%20y");
    }
}
