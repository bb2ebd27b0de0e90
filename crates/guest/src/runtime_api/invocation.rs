//! One call: what its headers say, as the workload will see it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_guest_api::runtime::{
    CLIENT_CONTEXT_HEADER, COGNITO_IDENTITY_HEADER, DEADLINE_HEADER, FUNCTION_ARN_HEADER, FUNCTION_VERSION_HEADER,
    LOG_TYPE_HEADER, REQUEST_ID_HEADER, TRACE_ID_HEADER,
};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue};

const MAX_NAME_BYTES: usize = 128;
/// Lambda's longest run, for callers who name no deadline.
const DEFAULT_DEADLINE_MS: i64 = 15 * 60 * 1000;
const DEFAULT_VERSION: &str = "$LATEST";
/// What Lambda's emulator says; runtimes insist on one.
const DEFAULT_ARN: HeaderValue = HeaderValue::from_static("arn:aws:lambda:us-east-1:012345678912:function:function");
const DEFAULT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

const RUNTIME_REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const RUNTIME_DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const RUNTIME_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const RUNTIME_TRACE: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const RUNTIME_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const RUNTIME_IDENTITY: HeaderName = HeaderName::from_static("lambda-runtime-cognito-identity");

/// A header of a call that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header `{header}` {rule}")]
pub(super) struct BadHeader {
    header: &'static str,
    rule: &'static str,
}

/// What a call's headers say.
#[derive(Debug)]
pub(super) struct Invocation {
    /// At most 128 plain characters.
    pub(super) id: String,
    pub(super) version: String,
    pub(super) wants_tail: bool,
    /// Whether a stream's failure can be told at its end.
    pub(super) accepts_trailers: bool,
    /// For the workload.
    pub(super) headers: HeaderMap,
}

impl Invocation {
    pub(super) fn parse(headers: &HeaderMap, now_ms: i64) -> Result<Self, BadHeader> {
        let id = match name(headers, REQUEST_ID_HEADER)? {
            Some(id) => id.to_owned(),
            // Without randomness every ID were the same, and a second call at a time refused, which is noticed.
            None => crate::entropy::uuid().unwrap_or_default(),
        };
        let deadline = match text(headers, DEADLINE_HEADER)? {
            Some(deadline) => deadline.parse::<i64>().ok().filter(|ms| *ms >= 0).ok_or(BadHeader {
                header: DEADLINE_HEADER,
                rule: "must be milliseconds since 1970",
            })?,
            None => now_ms.saturating_add(DEFAULT_DEADLINE_MS),
        };
        let mut seen = HeaderMap::new();
        // An ID that was let in is a fit value.
        seen.extend(HeaderValue::from_str(&id).ok().map(|id| (RUNTIME_REQUEST_ID, id)));
        seen.insert(RUNTIME_DEADLINE, HeaderValue::from(deadline));
        seen.insert(RUNTIME_ARN, copy(headers, FUNCTION_ARN_HEADER).unwrap_or(DEFAULT_ARN));
        seen.extend(copy(headers, TRACE_ID_HEADER).map(|trace| (RUNTIME_TRACE, trace)));
        seen.extend(copy(headers, COGNITO_IDENTITY_HEADER).map(|identity| (RUNTIME_IDENTITY, identity)));
        seen.extend(client_context(headers)?.map(|context| (RUNTIME_CONTEXT, context)));
        seen.insert(
            CONTENT_TYPE,
            copy(headers, CONTENT_TYPE.as_str()).unwrap_or(DEFAULT_TYPE),
        );
        Ok(Self {
            id,
            version: name(headers, FUNCTION_VERSION_HEADER)?
                .unwrap_or(DEFAULT_VERSION)
                .to_owned(),
            wants_tail: text(headers, LOG_TYPE_HEADER)?.is_some_and(|kind| kind.eq_ignore_ascii_case("Tail")),
            accepts_trailers: headers.get(TE).is_some_and(|te| {
                te.to_str()
                    .is_ok_and(|te| te.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
            }),
            headers: seen,
        })
    }
}

fn copy(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    headers.get(name).filter(|value| !value.is_empty()).cloned()
}

fn text<'a>(headers: &'a HeaderMap, header: &'static str) -> Result<Option<&'a str>, BadHeader> {
    let rule = "must be plain text";
    headers
        .get(header)
        .filter(|value| !value.is_empty())
        .map(|value| value.to_str().map_err(|_| BadHeader { header, rule }))
        .transpose()
}

/// A short word that goes into paths and log lines.
fn name<'a>(headers: &'a HeaderMap, header: &'static str) -> Result<Option<&'a str>, BadHeader> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-$".contains(&byte);
    match text(headers, header)? {
        Some(name) if name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) => Err(BadHeader {
            header,
            rule: "may have at most 128 of `A-Z a-z 0-9 . _ : - $`",
        }),
        name => Ok(name),
    }
}

/// Lambda decodes it before a runtime sees it.
fn client_context(headers: &HeaderMap) -> Result<Option<HeaderValue>, BadHeader> {
    let rule = "must be base64 of one line";
    let bad = BadHeader {
        header: CLIENT_CONTEXT_HEADER,
        rule,
    };
    let Some(encoded) = text(headers, CLIENT_CONTEXT_HEADER)? else {
        return Ok(None);
    };
    let decoded = STANDARD.decode(encoded).map_err(|_| bad.clone())?;
    HeaderValue::from_bytes(&decoded).map(Some).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn everything_said() {
        let call = Invocation::parse(
            &headers(&[
                ("x-hearth-request-id", "a-1"),
                ("x-hearth-deadline-ms", "1234"),
                ("x-hearth-function-arn", "arn:x"),
                ("x-hearth-function-version", "7"),
                ("x-hearth-cognito-identity", "{}"),
                ("x-amzn-trace-id", "Root=1"),
                ("x-amz-client-context", &STANDARD.encode(r#"{"custom":{"é":1}}"#)),
                ("x-amz-log-type", "Tail"),
                ("content-type", "text/plain"),
                ("te", "gzip, trailers"),
            ]),
            0,
        )
        .unwrap();
        assert_eq!((call.id.as_str(), call.version.as_str()), ("a-1", "7"));
        assert!(call.wants_tail && call.accepts_trailers);
        let seen = |name: &str| call.headers[name].as_bytes();
        assert_eq!(seen("lambda-runtime-aws-request-id"), b"a-1");
        assert_eq!(seen("lambda-runtime-deadline-ms"), b"1234");
        assert_eq!(seen("lambda-runtime-invoked-function-arn"), b"arn:x");
        assert_eq!(seen("lambda-runtime-trace-id"), b"Root=1");
        assert_eq!(seen("lambda-runtime-cognito-identity"), b"{}");
        assert_eq!(
            seen("lambda-runtime-client-context"),
            r#"{"custom":{"é":1}}"#.as_bytes()
        );
        assert_eq!(seen("content-type"), b"text/plain");
    }

    #[test]
    fn nothing_said() {
        let call = Invocation::parse(&HeaderMap::new(), 1000).unwrap();
        assert_eq!((call.id.len(), call.version.as_str()), (36, "$LATEST"));
        assert_eq!(call.headers["lambda-runtime-deadline-ms"], "901000");
        assert_eq!(call.headers["content-type"], "application/json");
        assert!(!call.wants_tail && !call.accepts_trailers);
    }

    #[test]
    fn nonsense_is_named() {
        let long = "x".repeat(129);
        for (name, value) in [
            ("x-hearth-request-id", "a/../b"),
            ("x-hearth-request-id", long.as_str()),
            ("x-hearth-function-version", "1 2"),
            ("x-hearth-deadline-ms", "soon"),
            ("x-hearth-deadline-ms", "-1"),
            ("x-amz-client-context", "!"),
            ("x-amz-client-context", "YQpi"),
        ] {
            let error = Invocation::parse(&headers(&[(name, value)]), 0).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
