//! Calls of the API beside reading and posting JSON.

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::{ApiPath, ByteStream, Client, ClientError, full, refusal, request, streamed, whole, whole_body};

/// An answer as it came: of a function, whose statuses are its own.
pub struct Exchange {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: ByteStream,
}

impl Client {
    /// Sends a tar.
    pub async fn upload_tar(
        &self,
        path: &ApiPath,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        self.send_tar(Method::PUT, path, body).await.map(drop)
    }

    /// Sends a tar, and reads what is said of it.
    pub async fn post_tar<T: DeserializeOwned>(
        &self,
        path: &ApiPath,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<T, ClientError> {
        let said = self.send_tar(Method::POST, path, body).await?;
        serde_json::from_slice(&said).map_err(|source| ClientError::Decode { source })
    }

    async fn send_tar(
        &self,
        method: Method,
        path: &ApiPath,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<Bytes, ClientError> {
        let mut request = request(method, path, streamed(body))?;
        let tar = HeaderValue::from_static(hearth_api::TAR);
        request.headers_mut().insert(header::CONTENT_TYPE, tar);
        whole(self.send(request).await?).await
    }

    /// Posts bytes and gives the answer as it is, unless it is a problem of the daemon's.
    pub async fn exchange(&self, path: &ApiPath, headers: HeaderMap, body: Bytes) -> Result<Exchange, ClientError> {
        let mut request = request(Method::POST, path, full(body))?;
        request.headers_mut().extend(headers);
        let (parts, body) = self.send_any(request).await?.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        if !parts.status.is_success() && kind.is_some_and(|kind| kind == hearth_api::PROBLEM_JSON) {
            return Err(refusal(parts.status, &whole_body(body).await?));
        }
        Ok(Exchange {
            status: parts.status,
            headers: parts.headers,
            body: ByteStream::new(body),
        })
    }
}
