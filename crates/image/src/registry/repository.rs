//! One repository of one registry, as one pull sees it.

use std::sync::{Mutex, PoisonError};

use reqwest::header::{ACCEPT as ACCEPT_HEADER, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};

use super::auth::{Authenticator, Challenge};
use super::error::RegistryError;
use super::reach::{Reach, endpoint, is_loopback};
use super::retry::{Attempts, Verdict};
use super::transport::{Failure, RegistryClient, Site, causes, is_untrusted, read_bounded, reason};
use crate::credentials::Credentials;
use crate::digest::{Digest, clip};
use crate::manifest::{ACCEPT, Descriptor, Document, MANIFEST_MAX_BYTES, Manifest, ManifestError};
use crate::platform::Platform;
use crate::reference::Reference;

/// An index may point at another index, but not for ever.
const INDEX_DEPTH_MAX: usize = 3;

/// A connection to one repository, with its token.
pub struct Repository {
    pub(super) client: RegistryClient,
    pub(super) site: Site,
    base: Url,
    name: String,
    credentials: Credentials,
    authorization: Mutex<Option<HeaderValue>>,
}

/// The manifest that a reference leads to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The manifest of the wanted platform.
    pub manifest: Manifest,
    /// Its digest.
    pub digest: Digest,
}

impl RegistryClient {
    /// Finds out how to speak to the reference's registry, and authenticates if it asks for it at once.
    pub async fn connect(
        &self,
        reference: &Reference,
        credentials: Credentials,
        reach: Reach,
    ) -> Result<Repository, RegistryError> {
        let registry = endpoint(reference.registry());
        let base = base_url("https", registry)?;
        let host = base.host_str().unwrap_or_default().to_owned();
        let plain = (reach == Reach::Host && is_loopback(&host)) || self.may_be_plain(reference.registry());
        let mut repository = Repository {
            client: self.clone(),
            site: Site {
                registry: reference.registry().to_owned(),
                host,
                plain,
                reach,
            },
            base,
            name: reference.repository().to_owned(),
            credentials,
            authorization: Mutex::new(None),
        };
        let mut attempts = Attempts::new(self.config.retry);
        loop {
            match repository.ping(registry).await {
                Ok(()) => return Ok(repository),
                Err(failure) => attempts.pause(&repository.site, failure).await?,
            }
        }
    }
}

fn base_url(scheme: &str, registry: &str) -> Result<Url, RegistryError> {
    format!("{scheme}://{registry}/")
        .parse()
        .map_err(|_| RegistryError::Protocol {
            registry: registry.to_owned(),
            reason: "its name does not make a URL".into(),
        })
}

impl Attempts {
    /// Waits before the next try, or gives the error if there is to be none.
    pub(super) async fn pause(&mut self, site: &Site, failure: Failure) -> Result<(), RegistryError> {
        let (error, retry_after) = match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Passing { error, retry_after } => (error, retry_after),
        };
        match self.failed(retry_after) {
            Verdict::GiveUp => Err(error),
            Verdict::TooLong(wait) => Err(RegistryError::RateLimited {
                registry: site.registry.clone(),
                wait,
            }),
            Verdict::Wait(wait) => {
                tracing::debug!(%error, wait_ms = wait.as_millis(), "trying again");
                tokio::time::sleep(wait).await;
                Ok(())
            }
        }
    }
}

impl Repository {
    /// Settles the scheme (TLS first; without it only where that is allowed) and takes the first challenge.
    async fn ping(&mut self, registry: &str) -> Result<(), Failure> {
        let url = self
            .base
            .join("v2/")
            .map_err(|_| self.site.protocol("its name does not make a URL"))?;
        let response = match self.client.get(&self.site, &url, &HeaderMap::new(), None).await {
            Err(Failure::Passing {
                error: RegistryError::Unreachable {
                    source: Some(source), ..
                },
                ..
            }) if source.is_connect() && is_tls(&source) && self.base.scheme() == "https" => {
                if !self.site.plain {
                    return Err(RegistryError::PlainHttp {
                        registry: self.site.registry.clone(),
                        source,
                    }
                    .into());
                }
                self.base = base_url("http", registry)?;
                let url = self
                    .base
                    .join("v2/")
                    .map_err(|_| self.site.protocol("its name does not make a URL"))?;
                self.client.get(&self.site, &url, &HeaderMap::new(), None).await?
            }
            other => other?,
        };
        if response.status() == StatusCode::UNAUTHORIZED && self.is_own(&response) {
            return match self.authenticate(&response).await {
                // Some challenge whoever greets them, and yet let anybody read: the request itself will tell.
                Err(Failure::Lasting(RegistryError::Unauthorized { .. })) if self.is_anonymous() => Ok(()),
                other => other,
            };
        }
        if response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.site.refusal("first contact", response).await);
        }
        Ok(())
    }

    /// Whether the registry itself gave the answer, and not some host that it redirects to: that one could ask for a login
    /// at a place of its own, and be given the credentials there.
    fn is_own(&self, response: &Response) -> bool {
        response.url().origin() == self.base.origin()
    }

    async fn authenticate(&self, response: &Response) -> Result<(), Failure> {
        let authenticator = self.authenticator();
        let challenge = Challenge::from_headers(response.headers())
            .ok_or_else(|| authenticator.unauthorized("it does not say how to authenticate"))?;
        let header = authenticator.answer(&challenge).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    fn authenticator(&self) -> Authenticator<'_> {
        Authenticator {
            client: &self.client,
            site: &self.site,
            repository: &self.name,
            credentials: &self.credentials,
        }
    }

    fn is_anonymous(&self) -> bool {
        self.credentials == Credentials::Anonymous
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// One GET below the repository; a token that expired is renewed once. Gives successes, and 416 for the caller to judge.
    pub(super) async fn get(&self, path: &str, what: &str, headers: &HeaderMap) -> Result<Response, Failure> {
        let url = self.base.join(&format!("v2/{}/{path}", self.name));
        let url = url.map_err(|_| self.site.protocol("the repository's name does not make a URL"))?;
        let mut response = self
            .client
            .get(&self.site, &url, headers, self.authorization().as_ref())
            .await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.is_own(&response) {
            self.authenticate(&response).await?;
            response = self
                .client
                .get(&self.site, &url, headers, self.authorization().as_ref())
                .await?;
        }
        match response.status() {
            status if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            StatusCode::UNAUTHORIZED if !self.is_own(&response) => {
                let host = clip(response.url().host_str().unwrap_or_default());
                let reason = format!("{host} wants a login, which is for the registry itself to ask for");
                Err(self.site.redirect(reason).into())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(self.authenticator().unauthorized(reason(response).await).into())
            }
            StatusCode::NOT_FOUND => {
                let what = format!("{what} in repository {}", self.name);
                Err(RegistryError::NotFound {
                    registry: self.site.registry.clone(),
                    what,
                }
                .into())
            }
            _ => Err(self.site.refusal(what, response).await),
        }
    }

    /// The manifest for `platform` behind `reference`.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        let (mut bytes, mut media_type) = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => self.manifest(&digest.to_string(), Some(digest)).await?,
            (None, tag) => self.manifest(tag.unwrap_or("latest"), None).await?,
        };
        for _ in 0..INDEX_DEPTH_MAX {
            let index = match Document::parse(&bytes, media_type.as_deref())? {
                Document::Manifest(manifest) => {
                    return Ok(Resolved {
                        manifest,
                        digest: Digest::of(&bytes),
                    });
                }
                Document::Index(index) => index,
            };
            let entry = index.select(platform)?;
            let digest = entry.descriptor.digest;
            (bytes, media_type) = self.manifest(&digest.to_string(), Some(digest)).await?;
        }
        Err(ManifestError::UnknownType("index in an index in an index".into()).into())
    }

    async fn manifest(&self, name: &str, expected: Option<Digest>) -> Result<(Vec<u8>, Option<String>), RegistryError> {
        let path = format!("manifests/{name}");
        let headers = HeaderMap::from_iter([(ACCEPT_HEADER, HeaderValue::from_static(ACCEPT))]);
        let (bytes, media_type) = self
            .small(&path, &format!("manifest {name}"), &headers, MANIFEST_MAX_BYTES)
            .await?;
        let bytes = bytes.ok_or(ManifestError::TooLarge(MANIFEST_MAX_BYTES + 1))?;
        if let Some(expected) = expected {
            self.check_digest("the manifest", expected, Digest::of(&bytes))?;
        }
        Ok((bytes, media_type))
    }

    /// A small blob as a whole, checked. `max_bytes` bounds what the manifest may promise.
    pub async fn small_blob(&self, descriptor: &Descriptor, max_bytes: usize) -> Result<Vec<u8>, RegistryError> {
        let size = usize::try_from(descriptor.size_bytes).unwrap_or(usize::MAX);
        let path = format!("blobs/{}", descriptor.digest);
        let what = format!("blob {}", descriptor.digest);
        let (bytes, _) = self.small(&path, &what, &HeaderMap::new(), size.min(max_bytes)).await?;
        let actual_bytes = bytes
            .as_ref()
            .map_or(descriptor.size_bytes.saturating_add(1), |bytes| bytes.len() as u64);
        match bytes {
            Some(bytes) if bytes.len() == size => {
                self.check_digest("the configuration", descriptor.digest, Digest::of(&bytes))?;
                Ok(bytes)
            }
            _ => Err(self.size_mismatch("the configuration", descriptor, actual_bytes)),
        }
    }

    async fn small(
        &self,
        path: &str,
        what: &str,
        headers: &HeaderMap,
        max_bytes: usize,
    ) -> Result<(Option<Vec<u8>>, Option<String>), RegistryError> {
        let mut attempts = Attempts::new(self.client.config.retry);
        loop {
            match self.try_small(path, what, headers, max_bytes).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => attempts.pause(&self.site, failure).await?,
            }
        }
    }

    async fn try_small(
        &self,
        path: &str,
        what: &str,
        headers: &HeaderMap,
        max_bytes: usize,
    ) -> Result<(Option<Vec<u8>>, Option<String>), Failure> {
        let response = self.get(path, what, headers).await?;
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let media_type = media_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
        let body = read_bounded(response, max_bytes)
            .await
            .map_err(|error| self.site.passing(what, error))?;
        Ok((body, media_type))
    }

    pub(super) fn check_digest(
        &self,
        what: &'static str,
        expected: Digest,
        actual: Digest,
    ) -> Result<(), RegistryError> {
        if expected == actual {
            return Ok(());
        }
        Err(RegistryError::DigestMismatch {
            registry: self.site.registry.clone(),
            what,
            expected,
            actual,
        })
    }

    pub(super) fn size_mismatch(
        &self,
        what: &'static str,
        descriptor: &Descriptor,
        actual_bytes: u64,
    ) -> RegistryError {
        RegistryError::SizeMismatch {
            registry: self.site.registry.clone(),
            what,
            digest: descriptor.digest,
            expected_bytes: descriptor.size_bytes,
            actual_bytes,
        }
    }
}

/// Whether the connection stood but TLS did not come about: what came was no TLS, or the other side hung up on it.
fn is_tls(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, UnexpectedEof};
    let hung_up = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        InvalidData,
        UnexpectedEof,
    ];
    let failed = causes(error).any(|cause| {
        cause.is::<rustls::Error>()
            || cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|cause| hung_up.contains(&cause.kind()))
    });
    failed && !is_untrusted(error)
}
