//! Files inside the guest: whole contents and tar archives as streams of any size, the rest as calls.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use tokio::time::{Instant, Sleep};

use super::error::{GuestError, millis};
use super::exec::add_user;
use super::pool::{Body, Exchange};
use super::rpc::{empty_body, request, within};
use super::{CALL_TIMEOUT, GuestClient, Result};
use crate::connect::Message;
use crate::filesystem::{
    EntryInfo, ListDirRequest, ListDirResponse, MakeDirRequest, MakeDirResponse, MoveRequest, MoveResponse,
    RemoveRequest, RemoveResponse, StatRequest, StatResponse,
};

/// Between two pieces of a content, either way.
const IDLE_LIMIT: Duration = Duration::from_secs(35);
/// Removing a big folder takes a while.
const TREE_TIMEOUT: Duration = Duration::from_mins(2);
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// All but RFC 3986's unreserved characters; a slash may stand in a query.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl GuestClient {
    /// A file's content. `user` as in [`ExecRequest`](super::ExecRequest).
    pub async fn read_file(&self, path: &str, user: Option<&str>) -> Result<ByteStream> {
        let mut headers = self.access_headers();
        add_user(&mut headers, user)?;
        self.download("read file", &format!("/files?path={}", percent_encode(path)), headers)
            .await
    }

    /// Writes a file, making missing folders; what was there is replaced. An error in `content` aborts the write.
    pub async fn write_file<S>(&self, path: &str, user: Option<&str>, content: S) -> Result<()>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let mut headers = self.access_headers();
        add_user(&mut headers, user)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.upload(
            "write file",
            Method::POST,
            &format!("/files?path={}", percent_encode(path)),
            headers,
            content,
        )
        .await
    }

    /// A tar of a file or folder with owners and modes. Its members' names start with the path's last name.
    /// The bytes come from the guest: whoever unpacks them must refuse to leave the target.
    pub async fn get_archive(&self, path: &str) -> Result<ByteStream> {
        self.download(
            "get archive",
            &format!("/hearth/archive?path={}", percent_encode(path)),
            self.host_headers(),
        )
        .await
    }

    /// Unpacks a tar into an existing folder of the guest, keeping owners and modes.
    pub async fn put_archive<S>(&self, path: &str, tar: S) -> Result<()>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let target = format!("/hearth/archive?path={}", percent_encode(path));
        self.upload("put archive", Method::PUT, &target, self.host_headers(), tar)
            .await
    }

    /// What is at a path.
    pub async fn stat(&self, path: &str) -> Result<EntryInfo> {
        let response: StatResponse = self
            .filesystem_call("Stat", CALL_TIMEOUT, &StatRequest { path: path.into() })
            .await?;
        entry("Stat", response.entry)
    }

    /// A folder's entries, `depth` levels deep.
    pub async fn list_dir(&self, path: &str, depth: u32) -> Result<Vec<EntryInfo>> {
        let request = ListDirRequest {
            path: path.into(),
            depth,
        };
        let response: ListDirResponse = self.filesystem_call("ListDir", CALL_TIMEOUT, &request).await?;
        Ok(response.entries)
    }

    /// Makes a folder and its parents. Error code `already_exists` when it is there.
    pub async fn make_dir(&self, path: &str) -> Result<EntryInfo> {
        let response: MakeDirResponse = self
            .filesystem_call("MakeDir", CALL_TIMEOUT, &MakeDirRequest { path: path.into() })
            .await?;
        entry("MakeDir", response.entry)
    }

    /// Moves a file or folder.
    pub async fn rename(&self, source: &str, destination: &str) -> Result<EntryInfo> {
        let request = MoveRequest {
            source: source.into(),
            destination: destination.into(),
        };
        let response: MoveResponse = self.filesystem_call("Move", CALL_TIMEOUT, &request).await?;
        entry("Move", response.entry)
    }

    /// Removes a file, or a folder with everything in it.
    pub async fn remove(&self, path: &str) -> Result<()> {
        let response: Result<RemoveResponse> = self
            .filesystem_call("Remove", TREE_TIMEOUT, &RemoveRequest { path: path.into() })
            .await;
        response.map(|_| ())
    }

    async fn filesystem_call<Q: Message, A: Message>(
        &self,
        method: &'static str,
        limit: Duration,
        message: &Q,
    ) -> Result<A> {
        let mut headers = self.access_headers();
        add_user(&mut headers, Some("root"))?;
        within(
            method,
            limit,
            self.unary(method, &format!("/filesystem.Filesystem/{method}"), &headers, message),
        )
        .await
    }

    async fn download(&self, call: &'static str, path: &str, headers: HeaderMap) -> Result<ByteStream> {
        let mut request = request(Method::GET, path, empty_body());
        request.headers_mut().extend(headers);
        let exchange = within(call, IDLE_LIMIT, self.pool.exchange(call, request)).await?;
        if exchange.status() != StatusCode::OK {
            return Err(exchange.into_http_error(call).await);
        }
        Ok(ByteStream {
            call,
            exchange: Some(exchange),
            idle: Box::pin(tokio::time::sleep(IDLE_LIMIT)),
        })
    }

    async fn upload<S>(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        headers: HeaderMap,
        content: S,
    ) -> Result<()>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let watched = Watched {
            content: Box::pin(content),
            last: std::sync::Arc::default(),
        };
        let last = std::sync::Arc::clone(&watched.last);
        let body: Body = StreamBody::new(watched).boxed_unsync();
        let mut request = request(method, path, body);
        request.headers_mut().extend(headers);
        let exchange = until_stalled(call, &last, self.pool.exchange(call, request)).await?;
        if !exchange.status().is_success() {
            return Err(exchange.into_http_error(call).await);
        }
        within(call, CALL_TIMEOUT, exchange.collect(call, MAX_ANSWER_BYTES))
            .await
            .map(|_| ())
    }
}

fn entry(call: &'static str, entry: Option<EntryInfo>) -> Result<EntryInfo> {
    entry.ok_or_else(|| GuestError::protocol(call, "its answer has no entry"))
}

fn percent_encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// When the connection last asked for a piece of an upload, or was still waiting for the source to give one.
type LastAsked = std::sync::Arc<std::sync::Mutex<Option<Instant>>>;

/// An upload's content, which notes when the guest takes from it.
struct Watched {
    content: Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>,
    last: LastAsked,
}

impl Stream for Watched {
    type Item = std::io::Result<http_body::Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.content.as_mut().poll_next(context);
        // Pending: it is the source that is slow, for which the guest is not to blame.
        let mark = (!polled.is_pending()).then(Instant::now);
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = mark;
        polled.map(|item| item.map(|piece| piece.map(http_body::Frame::data)))
    }
}

/// Waits for the answer to an upload as long as the guest keeps taking it.
async fn until_stalled(
    call: &'static str,
    last: &LastAsked,
    answer: impl Future<Output = Result<Exchange>>,
) -> Result<Exchange> {
    let mut answer = std::pin::pin!(answer);
    let started = Instant::now();
    loop {
        if let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), answer.as_mut()).await {
            return answer;
        }
        let waiting_since = last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .unwrap_or_else(Instant::now);
        if waiting_since.max(started).elapsed() > IDLE_LIMIT {
            return Err(GuestError::Timeout {
                call,
                limit_ms: millis(IDLE_LIMIT),
            });
        }
    }
}

/// A content from the guest, in pieces of at most 64 KiB, with at most the idle limit between two.
pub struct ByteStream {
    call: &'static str,
    exchange: Option<Exchange>,
    idle: Pin<Box<Sleep>>,
}

impl std::fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteStream")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl ByteStream {
    /// The next piece; `None` at the end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Everything, refused beyond `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let mut collected = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if collected.len() + piece.len() > limit {
                return Err(GuestError::protocol(
                    self.call,
                    format!("the content exceeds {limit} bytes"),
                ));
            }
            collected.extend_from_slice(&piece);
        }
        Ok(collected.into())
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let call = self.call;
        loop {
            let Some(exchange) = self.exchange.as_mut() else {
                return Poll::Ready(None);
            };
            match Pin::new(&mut exchange.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.as_mut().reset(Instant::now() + IDLE_LIMIT);
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(source))) => {
                    self.exchange = None;
                    return Poll::Ready(Some(Err(GuestError::Transport { call, source })));
                }
                Poll::Ready(None) => {
                    exchange.release();
                    self.exchange = None;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(self.idle.as_mut().poll(context));
                    self.exchange = None;
                    return Poll::Ready(Some(Err(GuestError::Timeout {
                        call,
                        limit_ms: millis(IDLE_LIMIT),
                    })));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn encodes_paths() {
        assert_eq!(percent_encode("/a b/ü?&=%").to_string(), "/a%20b/%C3%BC%3F%26%3D%25");
    }
}
