//! A layer into a file: resumed where it was cut, hashed while it comes, checked at the end.

use std::path::Path;
use std::time::Instant;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::error::RegistryError;
use super::repository::Repository;
use super::retry::{Attempts, Pace};
use super::transport::Failure;
use crate::digest::Hasher;
use crate::manifest::Descriptor;

const WRITE_BUFFER_BYTES: usize = 512 * 1024;

/// How far a download is: bytes that are there of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// From an earlier try, being hashed.
    Found(u64),
    /// With what has come now.
    Received(u64),
}

/// What is there of a layer already.
struct Partial<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    hasher: Hasher,
    length: u64,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier try left, and hashes it.
    async fn open(
        path: &'a Path,
        limit: u64,
        on_bytes: &mut (impl FnMut(Transfer) + Send),
    ) -> Result<Self, RegistryError> {
        let failed = |source| write_error(path, source);
        let options = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .clone()
        };
        let mut file = options().open(path).await.map_err(failed)?;
        let mut hasher = Hasher::default();
        let mut length = 0;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = file.read(&mut buffer).await.map_err(failed)?;
            if count == 0 {
                break;
            }
            length += count as u64;
            if length > limit {
                break;
            }
            hasher.update(&buffer[..count]);
            on_bytes(Transfer::Found(length));
        }
        let mut partial = Self {
            path,
            file: BufWriter::with_capacity(WRITE_BUFFER_BYTES, file),
            hasher,
            length,
        };
        if length > limit {
            partial.clear().await?;
        }
        Ok(partial)
    }

    async fn clear(&mut self) -> Result<(), RegistryError> {
        let path = self.path;
        let failed = |source| write_error(path, source);
        self.file.flush().await.map_err(failed)?;
        self.file.get_mut().set_len(0).await.map_err(failed)?;
        self.file.rewind().await.map_err(failed)?;
        self.hasher = Hasher::default();
        self.length = 0;
        Ok(())
    }

    async fn append(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        self.file
            .write_all(bytes)
            .await
            .map_err(|source| write_error(self.path, source))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RegistryError> {
        self.file.flush().await.map_err(|source| write_error(self.path, source))
    }
}

fn write_error(path: &Path, source: std::io::Error) -> RegistryError {
    RegistryError::Write {
        path: path.to_owned(),
        source,
    }
}

impl Repository {
    /// Fetches a layer into the file at `path`, going on from what is there. When this returns well, the file holds exactly the layer.
    pub async fn download(
        &self,
        layer: &Descriptor,
        path: &Path,
        mut on_bytes: impl FnMut(Transfer) + Send,
    ) -> Result<(), RegistryError> {
        let mut partial = Partial::open(path, layer.size_bytes, &mut on_bytes).await?;
        let mut inherited = partial.length > 0;
        loop {
            self.complete(layer, &mut partial, &mut on_bytes).await?;
            let actual = std::mem::take(&mut partial.hasher).finish();
            match self.check_digest("a layer", layer.digest, actual) {
                Ok(()) => return Ok(()),
                // What an earlier process left may be damaged; what came just now is what the registry has.
                Err(_) if inherited => inherited = false,
                Err(error) => {
                    partial.clear().await?;
                    return Err(error);
                }
            }
            partial.clear().await?;
        }
    }

    async fn complete(
        &self,
        layer: &Descriptor,
        partial: &mut Partial<'_>,
        on_bytes: &mut (impl FnMut(Transfer) + Send),
    ) -> Result<(), RegistryError> {
        let mut attempts = Attempts::new(self.client.config.retry);
        let mut pace = Pace::new(self.client.config.pace, Instant::now());
        on_bytes(Transfer::Received(partial.length));
        while partial.length < layer.size_bytes {
            let before = partial.length;
            let result = self.fetch_rest(layer, partial, &mut pace, on_bytes).await;
            partial.flush().await?;
            if partial.length > before {
                attempts.progressed();
            }
            if let Err(failure) = result {
                attempts.pause(&self.site, failure).await?;
            }
        }
        partial.flush().await
    }

    /// One request for what is missing.
    async fn fetch_rest(
        &self,
        layer: &Descriptor,
        partial: &mut Partial<'_>,
        pace: &mut Pace,
        on_bytes: &mut (impl FnMut(Transfer) + Send),
    ) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        if partial.length > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", partial.length));
            headers.insert(
                RANGE,
                range.map_err(|_| self.site.protocol("a range that makes no header"))?,
            );
        }
        let path = format!("blobs/{}", layer.digest);
        let mut response = self.get(&path, &format!("layer {}", layer.digest), &headers).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT && partial.length > 0 {
            self.check_restart(layer, &response)?;
            partial.clear().await?;
        }
        self.check_length(layer, partial.length, &response)?;
        loop {
            let chunk = response
                .chunk()
                .await
                .map_err(|error| self.site.passing("layer", error))?;
            let Some(chunk) = chunk else { break };
            if !pace.keeps_up(Instant::now(), chunk.len()) {
                return Err(self.too_slow(layer).into());
            }
            if partial.length + chunk.len() as u64 > layer.size_bytes {
                return Err(self
                    .size_mismatch("layer", layer, partial.length + chunk.len() as u64)
                    .into());
            }
            partial.append(&chunk).await?;
            on_bytes(Transfer::Received(partial.length));
        }
        if partial.length == layer.size_bytes {
            return Ok(());
        }
        let registry = self.site.registry.clone();
        let error = RegistryError::Unreachable {
            registry,
            action: "layer: the connection was cut".into(),
            source: None,
        };
        Err(Failure::Passing {
            error,
            retry_after: None,
        })
    }

    fn too_slow(&self, layer: &Descriptor) -> RegistryError {
        RegistryError::TooSlow {
            registry: self.site.registry.clone(),
            digest: layer.digest,
            bytes_per_second: self.client.config.pace.bytes_per_second,
        }
    }

    /// A range that cannot be served: either ranges are unknown there (200, from the start), or the blob is shorter than promised (416).
    fn check_restart(&self, layer: &Descriptor, response: &Response) -> Result<(), RegistryError> {
        if response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(());
        }
        let total = header(response, &CONTENT_RANGE).and_then(|value| value.rsplit('/').next()?.parse().ok());
        Err(self.size_mismatch("layer", layer, total.unwrap_or(0)))
    }

    /// Finds out from the headers that the answer is not what is missing, before its bytes are mixed with those that are there.
    fn check_length(&self, layer: &Descriptor, from: u64, response: &Response) -> Result<(), RegistryError> {
        if from > 0 {
            let range = header(response, &CONTENT_RANGE).unwrap_or_default();
            let start = range
                .strip_prefix("bytes ")
                .and_then(|range| range.split('-').next()?.parse().ok());
            if start != Some(from) {
                return Err(self
                    .site
                    .protocol(format!("asked for bytes from {from}, it gave {start:?}")));
            }
        }
        let length = header(response, &CONTENT_LENGTH).and_then(|value| value.parse::<u64>().ok());
        match length.map(|length| from.saturating_add(length)) {
            Some(total) if total != layer.size_bytes => Err(self.size_mismatch("layer", layer, total)),
            _ => Ok(()),
        }
    }
}

fn header<'r>(response: &'r Response, name: &reqwest::header::HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}
