//! HTTP with time-outs, own TLS roots, and redirects that do not carry credentials to strangers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Response, Url};
use serde::{Deserialize, Serialize};

use super::error::RegistryError;
use super::retry::{PacePolicy, RetryPolicy, parse_retry_after};
use super::trust::tls_config;
use crate::digest::clip;

const REDIRECTS_MAX: usize = 5;
const ERROR_BODY_MAX_BYTES: usize = 16 * 1024;

/// How to speak to registries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Registries (host, with the port if it is not the usual one) that may be spoken to over plain HTTP. Loopback always may.
    pub insecure_registries: Vec<String>,
    /// PEM files with certificates trusted beside the system's: authorities, or a server's own.
    pub ca_files: Vec<PathBuf>,
    /// Time to connect, TLS included.
    pub connect_timeout_ms: u64,
    /// Longest silence of a server before or within its answer.
    pub idle_timeout_ms: u64,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
    /// How slowly layers may come.
    pub pace: PacePolicy,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            ca_files: Vec::new(),
            connect_timeout_ms: 10_000,
            idle_timeout_ms: 30_000,
            retry: RetryPolicy::default(),
            pace: PacePolicy::default(),
        }
    }
}

/// Speaks to any registry. Cheap to clone; connections are pooled.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    http: reqwest::Client,
    /// Past any proxy that the environment names: that one cannot reach our loopback.
    direct: reqwest::Client,
    pub(super) config: Arc<RegistryConfig>,
}

/// A failed try: worth another, or not.
#[derive(Debug)]
pub(super) enum Failure {
    /// The network, or the server for the moment.
    Passing {
        error: RegistryError,
        retry_after: Option<Duration>,
    },
    /// Trying again would give the same.
    Lasting(RegistryError),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Lasting(error)
    }
}

impl RegistryClient {
    /// Reads the certificate authorities and makes the client.
    pub fn new(config: RegistryConfig) -> Result<Self, RegistryError> {
        let tls = tls_config(&config.ca_files)?;
        let build = |builder: reqwest::ClientBuilder| {
            builder
                .tls_backend_preconfigured(tls.clone())
                .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                // One connection a layer: four streams in one would share one window and one fate.
                .http1_only()
                .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
                .read_timeout(Duration::from_millis(config.idle_timeout_ms))
                .build()
                .map_err(|error| RegistryError::Tls(error.to_string()))
        };
        let http = build(reqwest::Client::builder())?;
        let direct = build(reqwest::Client::builder().no_proxy())?;
        Ok(Self {
            http,
            direct,
            config: Arc::new(config),
        })
    }

    fn client_for(&self, url: &Url) -> &reqwest::Client {
        if url.host_str().is_some_and(is_loopback) {
            &self.direct
        } else {
            &self.http
        }
    }

    /// Whether plain HTTP may be spoken to `registry` (`host[:port]`).
    pub(super) fn may_be_plain(&self, registry: &str) -> bool {
        self.config
            .insecure_registries
            .iter()
            .any(|insecure| insecure == registry)
    }

    /// One GET. `authorization` goes along while the redirects stay at the origin of `url`, and no further.
    pub(super) async fn get(
        &self,
        site: &Site,
        url: &Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut target = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client_for(&target).get(target.clone()).headers(headers.clone());
            if let Some(authorization) = authorization.filter(|_| target.origin() == url.origin()) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().await.map_err(|error| site.passing("request", error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            target = site.follow(&target, &response)?;
        }
        Err(site.redirect(format!("more than {REDIRECTS_MAX} redirects")).into())
    }

    /// One request to a token server; redirects are not followed there.
    pub(super) fn token_request(&self, url: Url, form: Option<&[(&str, &str)]>) -> reqwest::RequestBuilder {
        let client = self.client_for(&url);
        match form {
            Some(form) => client.post(url).form(form),
            None => client.get(url),
        }
    }
}

/// A registry as one pull sees it: for messages, and for what it may do.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) registry: String,
    /// Whether plain HTTP is allowed.
    pub(super) plain: bool,
}

impl Site {
    pub(super) fn passing(&self, action: &str, error: reqwest::Error) -> Failure {
        let registry = self.registry.clone();
        // Redirect targets hold signatures in their query.
        let error = error.without_url();
        if is_untrusted(&error) {
            return Failure::Lasting(RegistryError::Unreachable {
                registry,
                action: format!("{action}: its certificate is not trusted"),
                source: Some(error),
            });
        }
        let error = RegistryError::Unreachable {
            registry,
            action: action.into(),
            source: Some(error),
        };
        Failure::Passing {
            error,
            retry_after: None,
        }
    }

    pub(super) fn protocol(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Protocol {
            registry: self.registry.clone(),
            reason: reason.into(),
        }
    }

    pub(super) fn redirect(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Redirect {
            registry: self.registry.clone(),
            reason: reason.into(),
        }
    }

    fn follow(&self, from: &Url, response: &Response) -> Result<Url, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.redirect("no location given"))?;
        let target = from
            .join(location)
            .map_err(|_| self.redirect("the location is not a URL"))?;
        self.check_url(&target).map_err(|reason| self.redirect(reason))?;
        Ok(target)
    }

    /// HTTPS, or plain HTTP where the registry itself may be spoken to like that; no credentials in the URL.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => {}
            "http" if self.plain => {}
            scheme => return Err(format!("to {scheme}://{}, which is not HTTPS", clip(host))),
        }
        if url.username().is_empty() && url.password().is_none() {
            Ok(())
        } else {
            Err("with credentials in the URL".into())
        }
    }

    /// Sorts a refusal into passing and lasting, with the registry's own words.
    pub(super) async fn refusal(&self, action: &str, response: Response) -> Failure {
        let status = response.status();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| parse_retry_after(value, jiff::Timestamp::now()));
        let reason = reason(response).await;
        let error = RegistryError::Status {
            registry: self.registry.clone(),
            status: status.as_u16(),
            action: action.into(),
            reason,
        };
        let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        if passing {
            Failure::Passing { error, retry_after }
        } else {
            Failure::Lasting(error)
        }
    }
}

/// Whether `host` is this machine, as far as its name tells.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether TLS failed over the certificate: that is never a reason to try again, or without TLS.
pub(super) fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}

/// The error and all its causes. An I/O error does not give what it wraps as its source, but that thing's source.
pub(super) fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        io.map(|inner| inner as &(dyn std::error::Error + 'static))
            .or_else(|| error.source())
    })
}

/// The message in an error document, in short.
pub(super) async fn reason(response: Response) -> String {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = response.status();
    let body = match read_bounded(response, ERROR_BODY_MAX_BYTES).await {
        Ok(Some(body)) => body,
        _ => Vec::new(),
    };
    let entry = serde_json::from_slice(&body)
        .ok()
        .and_then(|document: Document| document.errors.into_iter().next());
    match entry {
        Some(Entry { code, message }) if message.is_empty() => clip(&code),
        Some(Entry { message, .. }) => clip(&message),
        None => status.canonical_reason().unwrap_or("no reason given").to_owned(),
    }
}

/// The whole body, or `None` if it is longer than `max_bytes`.
pub(super) async fn read_bounded(mut response: Response, max_bytes: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_name_and_by_address() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "127.0.0.1.example", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn urls_without_tls_or_with_credentials_are_refused() {
        let site = Site {
            registry: "r.example".into(),
            plain: false,
        };
        let check = |site: &Site, url: &str| site.check_url(&url.parse().unwrap()).is_ok();
        assert!(check(&site, "https://cdn.example/x?sig=1"));
        assert!(!check(&site, "http://cdn.example/x"));
        assert!(!check(&site, "file:///etc/passwd"));
        assert!(!check(&site, "https://me:secret@cdn.example/x"));
        assert!(check(&Site { plain: true, ..site }, "http://127.0.0.1:1/x"));
    }
}
