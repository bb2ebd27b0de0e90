//! What is answered in a sandbox's stead.
//!
//! E2B's clients read these: `was not found` in the message of a 502 is to them a sandbox that was killed or has timed out,
//! `port is not open` one that runs, and anything else one of which nobody knows. So the words are a part of the contract.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::json;

use super::target::Target;
use crate::Body;

/// When to try again what cannot be had now, in seconds.
const RETRY_SECONDS: u16 = 5;

/// Why a request does not reach its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request itself is wrong, so.
    Invalid(&'static str),
    /// It asks the agent for what is the host's.
    HostOnly,
    /// It shows no token, and one is wanted.
    TokenMissing,
    /// Its token is another.
    TokenInvalid,
    /// There is no such sandbox, or it does not run.
    NotFound,
    /// Nobody listens there.
    Closed,
    /// Whoever listens there closed the connection and had not answered.
    Broken,
    /// What came is no answer.
    BadAnswer,
    /// It could not be resumed now.
    Unavailable,
    /// Too many requests are under way.
    Busy,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::HostOnly | Self::TokenMissing | Self::TokenInvalid => StatusCode::FORBIDDEN,
            Self::NotFound | Self::Closed | Self::Broken | Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::Unavailable | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Invalid(why) => why,
            Self::HostOnly => "This path is not served to clients",
            Self::TokenMissing => {
                "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing"
            }
            Self::TokenInvalid => {
                "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is invalid"
            }
            Self::NotFound => "The sandbox was not found",
            Self::Closed => "The sandbox is running but port is not open",
            Self::Broken => "The sandbox closed the connection before it had answered",
            Self::BadAnswer => "The sandbox's answer is not valid HTTP/1.1",
            Self::Unavailable => "The sandbox could not be resumed now; try again later",
            Self::Busy => "Too many requests are under way; try again later",
        }
    }

    /// Whether the port is what it is about.
    fn is_of_port(self) -> bool {
        matches!(self, Self::Closed | Self::Broken | Self::BadAnswer)
    }

    /// The answer: to programs as JSON, to browsers as a page.
    pub(super) fn answer(self, target: Option<&Target>, html: bool) -> Response<Body> {
        let (kind, text) = if html {
            ("text/html; charset=utf-8", self.page(target))
        } else {
            ("application/json", self.json(target))
        };
        let mut response = Response::new(Body::full(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let mut put = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
        put(CONTENT_TYPE, kind);
        put(CACHE_CONTROL, "no-store");
        put(X_CONTENT_TYPE_OPTIONS, "nosniff");
        if html {
            put(CONTENT_SECURITY_POLICY, "default-src 'none'");
        }
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        response
    }

    fn json(self, target: Option<&Target>) -> String {
        let mut body = json!({ "message": self.message(), "code": self.status().as_u16() });
        if let Some(target) = target {
            body["sandboxId"] = json!(target.name);
            if self.is_of_port() {
                body["port"] = json!(target.port);
            }
        }
        body.to_string()
    }

    /// Nothing in it needs escaping: messages are our own, and a target's name has neither signs nor quotes.
    fn page(self, target: Option<&Target>) -> String {
        let (status, message) = (self.status(), self.message());
        let of = match target {
            Some(target) if self.is_of_port() => format!("<p>Sandbox {}, port {}</p>", target.name, target.port),
            Some(target) => format!("<p>Sandbox {}</p>", target.name),
            None => String::new(),
        };
        format!("<!doctype html><title>{status}</title><h1>{status}</h1><p>{message}.</p>{of}\n")
    }
}

/// Whether a page is wanted before anything else, as browsers say.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let first = accept.and_then(|accept| accept.split([',', ';']).next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("text/html"))
}
