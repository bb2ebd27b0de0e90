//! Paths of the API, with their parts encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;

/// All but RFC 3986's unreserved characters, so that a segment or value may hold anything.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path of the API and its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPath(String);

impl ApiPath {
    /// Whether the server answers at all.
    pub fn health() -> Self {
        Self("/healthz".to_owned())
    }

    /// What the daemon measures, for Prometheus.
    pub fn metrics() -> Self {
        Self("/metrics".to_owned())
    }

    /// A path under `/v1`, as all others are, of segments that may hold anything.
    pub fn v1(segments: &[&str]) -> Self {
        let mut path = String::from("/v1");
        for segment in segments {
            path.push('/');
            path.extend(encoded(segment));
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
            self.0.extend(encoded(&name));
            self.0.push('=');
            self.0.extend(encoded(&value));
            separator = '&';
        }
        self
    }

    /// The path as HTTP carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text as a part of a path or a query.
pub fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
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
