//! Connections to one agent, and one exchange on one of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Result;
use super::error::{GuestError, millis};
use super::rpc::within;
use crate::connect::ConnectError;

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_IDLE_CONNECTIONS: usize = 4;
/// Below the agent's own patience with an idle connection (15 s), so that no request meets its closing.
const MAX_IDLE_AGE: Duration = Duration::from_secs(10);
/// Bounds a response's header block, and the chunks in which bodies arrive.
const READ_BUFFER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;
/// As much of an error's body as is worth reading.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection and the task that drives it, which ends with it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Body>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    age: Age,
}

/// How long something is idle by the guest's clock, which the agent's patience goes by: it stands with the guest.
#[derive(Debug)]
struct Age {
    before: Duration,
    /// From when on it is idle beyond that; none while the guest stands still.
    since: Option<Instant>,
}

impl Age {
    fn new() -> Self {
        Self {
            before: Duration::ZERO,
            since: Some(Instant::now()),
        }
    }

    fn elapsed(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn stand_still(&mut self) {
        self.before = self.elapsed();
        self.since = None;
    }

    fn go_on(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }
}

/// Idle connections to one agent.
#[derive(Debug)]
pub(super) struct Pool {
    addr: SocketAddr,
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    // A poisoned lock guards a list that is whole at every step.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.lock();
        idle.retain(|entry| entry.age.elapsed() < MAX_IDLE_AGE && entry.connection.sender.is_ready());
        idle.pop().map(|entry| entry.connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE_CONNECTIONS && !connection.sender.is_closed() {
            idle.push(Idle {
                connection,
                age: Age::new(),
            });
        }
    }

    pub(super) fn stand_still(&self) {
        for entry in &mut *self.lock() {
            entry.age.stand_still();
        }
    }

    pub(super) fn go_on(&self) {
        for entry in &mut *self.lock() {
            entry.age.go_on();
        }
    }

    pub(super) async fn connect_within(&self, call: &'static str, limit: Duration) -> Result<Connection> {
        let failed = |source| GuestError::Connect {
            call,
            addr: self.addr,
            source,
        };
        let stream = match tokio::time::timeout(limit, TcpStream::connect(self.addr)).await {
            Ok(stream) => stream.map_err(failed)?,
            Err(_) => {
                return Err(GuestError::Timeout {
                    call,
                    limit_ms: millis(limit),
                });
            }
        };
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| GuestError::Transport { call, source })?;
        // The driver's own error reaches the exchange as well, so it need not be kept here.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, driver })
    }

    /// Sends a request on an idle connection, or on a new one if there is none or it turned out to be dead.
    pub(super) async fn exchange(self: &Arc<Self>, call: &'static str, request: Request<Body>) -> Result<Exchange> {
        let mut request = request;
        if let Some(mut connection) = self.take_idle() {
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.exchange_of(connection, response)),
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        return Err(GuestError::Transport {
                            call,
                            source: failure.into_error(),
                        });
                    }
                },
            }
        }
        let connection = self.connect_within(call, CONNECT_TIMEOUT).await?;
        self.exchange_on(call, connection, request).await
    }

    pub(super) async fn exchange_on(
        self: &Arc<Self>,
        call: &'static str,
        mut connection: Connection,
        request: Request<Body>,
    ) -> Result<Exchange> {
        let sent = connection.sender.send_request(request).await;
        sent.map(|response| self.exchange_of(connection, response))
            .map_err(|source| GuestError::Transport { call, source })
    }

    fn exchange_of(self: &Arc<Self>, connection: Connection, response: Response<Incoming>) -> Exchange {
        let (head, body) = response.into_parts();
        Exchange {
            pool: Arc::clone(self),
            connection: Some(connection),
            status: head.status,
            headers: head.headers,
            body,
        }
    }
}

/// A response whose head has come; its connection goes back to the pool once the body was read to its end.
#[derive(Debug)]
pub(super) struct Exchange {
    pool: Arc<Pool>,
    connection: Option<Connection>,
    status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Incoming,
}

impl Exchange {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// To be called after the end of the body.
    pub(super) fn finish(mut self) {
        self.release();
    }

    pub(super) fn release(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }

    /// The whole body, refused beyond `limit` bytes.
    pub(super) async fn collect(mut self, call: &'static str, limit: usize) -> Result<Bytes> {
        let mut collected = Vec::new();
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| GuestError::Transport { call, source })?;
            let Ok(data) = frame.into_data() else { continue };
            if collected.len() + data.len() > limit {
                return Err(GuestError::protocol(call, format!("an answer exceeds {limit} bytes")));
            }
            collected.extend_from_slice(&data);
        }
        self.release();
        Ok(collected.into())
    }

    /// The error in the body of an answer that is none.
    pub(super) async fn into_http_error(self, call: &'static str) -> GuestError {
        let status = self.status;
        match within(call, ERROR_BODY_TIMEOUT, self.collect(call, MAX_ERROR_BYTES)).await {
            Ok(body) => GuestError::Rpc {
                call,
                answer: ConnectError::from_body(status, &body),
            },
            Err(failure) => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ages_while_the_guest_stands_still() {
        let pause = || std::thread::sleep(Duration::from_millis(5));
        let mut age = Age::new();
        pause();
        age.stand_still();
        let stood = age.elapsed();
        assert!(stood >= Duration::from_millis(5));
        pause();
        age.stand_still();
        assert_eq!(age.elapsed(), stood);
        age.go_on();
        pause();
        age.go_on();
        assert!(age.elapsed() >= stood + Duration::from_millis(5));
    }
}
