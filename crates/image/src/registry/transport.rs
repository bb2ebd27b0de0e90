//! HTTP with time-outs, own TLS roots, and redirects that do not carry credentials to strangers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Response, Url};
use serde::{Deserialize, Serialize};

use super::error::RegistryError;
use super::reach::{Near, Reach, WorldResolver, authority, check_address, check_name, is_among, is_loopback};
use super::retry::{PacePolicy, RetryPolicy, parse_retry_after};
use super::trust::tls_config;
use crate::digest::clip;

const REDIRECTS_MAX: usize = 5;
const ERROR_BODY_MAX_BYTES: usize = 16 * 1024;

/// How to speak to registries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Registries (host, with the port if it is not the usual one) that may be spoken to over plain HTTP, on
    /// whoever's behalf and wherever they are. For who administers the host, loopback always may.
    pub insecure_registries: Vec<String>,
    /// Registries, token servers and what they redirect to (as above) that may be spoken to on whoever's behalf though
    /// their addresses are not public.
    pub private_registries: Vec<String>,
    /// Names whose addresses are not asked of the system.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
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

impl RegistryConfig {
    /// Whether the host's owner named where `url` leads, so that it is asked on whoever's behalf.
    fn names(&self, url: &Url) -> bool {
        is_among(&self.insecure_registries, url) || is_among(&self.private_registries, url)
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            private_registries: Vec::new(),
            hosts: BTreeMap::new(),
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
    /// To public addresses alone, and past any proxy.
    world: reqwest::Client,
    /// Which requests of `http` go by a proxy.
    proxies: Arc<Matcher>,
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
        let config = Arc::new(config);
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
        let builder = || {
            let addresses =
                |known: &Vec<IpAddr>| known.iter().map(|known| SocketAddr::new(*known, 0)).collect::<Vec<_>>();
            config
                .hosts
                .iter()
                .fold(reqwest::Client::builder(), |builder, (host, known)| {
                    builder.resolve_to_addrs(host, &addresses(known))
                })
        };
        let world = reqwest::Client::builder().dns_resolver(WorldResolver(Arc::clone(&config)));
        Ok(Self {
            http: build(builder())?,
            direct: build(builder().no_proxy())?,
            world: build(world.no_proxy())?,
            // The same look at the environment as reqwest's.
            proxies: Arc::new(Matcher::from_system()),
            config,
        })
    }

    /// What may speak to where `url` leads, for this pull. Every request is sent by what this gives.
    async fn client_for(&self, site: &Site, url: &Url) -> Result<&reqwest::Client, RegistryError> {
        let host = url.host_str().unwrap_or_default();
        if site.reach == Reach::Host || self.config.names(url) {
            return Ok(if is_loopback(host) { &self.direct } else { &self.http });
        }
        check_address(host).map_err(|near| site.near(url, &near))?;
        if !self.is_proxied(url) {
            return Ok(&self.world);
        }
        check_name(&self.config, host)
            .await
            .map_err(|near| site.near(url, &near))?;
        Ok(&self.http)
    }

    fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse();
        uri.is_ok_and(|uri| self.proxies.intercept(&uri).is_some())
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
            let mut request = self
                .client_for(site, &target)
                .await?
                .get(target.clone())
                .headers(headers.clone());
            if let Some(authorization) = authorization.filter(|_| target.origin() == url.origin()) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().await.map_err(|error| site.passing("request", error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            target = site.follow(&self.config, &target, &response)?;
        }
        Err(site.redirect(format!("more than {REDIRECTS_MAX} redirects")).into())
    }

    /// One request to a token server; redirects are not followed there.
    pub(super) async fn token_request(
        &self,
        site: &Site,
        url: Url,
        form: Option<&[(&str, &str)]>,
    ) -> Result<reqwest::RequestBuilder, RegistryError> {
        let client = self.client_for(site, &url).await?;
        Ok(match form {
            Some(form) => client.post(url).form(form),
            None => client.get(url),
        })
    }
}

/// A registry as one pull sees it: for messages, and for what it may do.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) registry: String,
    /// Its host alone.
    pub(super) host: String,
    /// Whether plain HTTP is allowed.
    pub(super) plain: bool,
    pub(super) reach: Reach,
}

impl Site {
    pub(super) fn passing(&self, action: &str, error: reqwest::Error) -> Failure {
        let near = causes(&error).find_map(|cause| cause.downcast_ref::<Near>());
        if let (Some(near), Some(url)) = (near, error.url()) {
            return Failure::Lasting(self.near(url, near));
        }
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

    fn near(&self, url: &Url, near: &Near) -> RegistryError {
        RegistryError::NotPublic {
            registry: self.registry.clone(),
            target: clip(&authority(url)),
            address: near.address,
        }
    }

    fn follow(&self, config: &RegistryConfig, from: &Url, response: &Response) -> Result<Url, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.redirect("no location given"))?;
        let target = from
            .join(location)
            .map_err(|_| self.redirect("the location is not a URL"))?;
        let plain = is_among(&config.insecure_registries, &target);
        self.check_url(&target, plain).map_err(|reason| self.redirect(reason))?;
        Ok(target)
    }

    /// HTTPS, or plain HTTP where the registry itself may be spoken to like that, to its own host or to one that is `plain`
    /// as well; no credentials in the URL.
    pub(super) fn check_url(&self, url: &Url, plain: bool) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => {}
            "http" if self.plain && (plain || self.is_host(host)) => {}
            scheme => return Err(format!("to {scheme}://{}, which is not HTTPS", clip(host))),
        }
        if url.username().is_empty() && url.password().is_none() {
            Ok(())
        } else {
            Err("with credentials in the URL".into())
        }
    }

    /// Whether this is the registry's own host.
    fn is_host(&self, host: &str) -> bool {
        host == self.host || (is_loopback(host) && is_loopback(&self.host))
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
    fn urls_without_tls_or_with_credentials_are_refused() {
        let site = |host: &str, plain| Site {
            registry: host.into(),
            host: host.into(),
            plain,
            reach: Reach::World,
        };
        let check = |site: &Site, url: &str, plain| site.check_url(&url.parse().unwrap(), plain).is_ok();
        let strict = site("r.example", false);
        assert!(check(&strict, "https://cdn.example/x?sig=1", false));
        assert!(!check(&strict, "http://cdn.example/x", true));
        assert!(!check(&strict, "file:///etc/passwd", true));
        assert!(!check(&strict, "https://me:secret@cdn.example/x", true));
        let plain = site("r.example", true);
        assert!(check(&plain, "http://r.example:1/x", false));
        assert!(check(&plain, "http://cdn.example/x", true));
        assert!(check(&plain, "https://cdn.example/x", false));
        for elsewhere in ["http://cdn.example/x", "http://127.0.0.1/x", "http://169.254.169.254/"] {
            assert!(!check(&plain, elsewhere, false), "{elsewhere}");
        }
        assert!(check(&site("localhost", true), "http://127.0.0.1:1/x", false));
    }
}
