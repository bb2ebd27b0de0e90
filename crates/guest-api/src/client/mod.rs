//! How the host talks to a guest that it does not trust.
//!
//! Invariants: no answer, frame, header block or body is read beyond its bound; no call waits without a deadline
//! (streams: without a whole message within the idle limit); a connection that misbehaved is never used again.
//! Every connection's task ends with the connection's last user, since dropping it aborts the task.

mod error;
mod exec;
mod files;
mod pool;
mod rpc;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::GuestError;
pub use exec::{ExecEvent, ExecInput, ExecRequest, ExecSession};
pub use files::ByteStream;
use http::{Method, StatusCode};
use pool::Pool;
pub use stream::MessageStream;

use crate::guest::{
    FollowRequest, FreezeRequest, InitRequest, InitResponse, MetricsRequest, MetricsResponse, PrepareSnapshotRequest,
    PrepareSnapshotResponse, Record, ReleaseProgramsRequest, SetClockRequest, ShutdownRequest, ShutdownResponse,
    TerminalSize, ThawRequest, Tokens, WorkloadInputRequest, WorkloadResizeRequest, WorkloadSignalRequest,
};

/// What every fallible call of the client gives.
pub type Result<T, E = GuestError> = std::result::Result<T, E>;

/// For a call with one answer, unless it says otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Init, Freeze: may wait for the guest's disks; and Init after a restore for 20 s for the guest's hooks.
const SLOW_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The guest's hooks have a minute, after the half that another snapshot may hold programs for.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(100);
/// A try to connect while the guest boots: a lost SYN would be sent again only after a second.
const READY_CONNECT_TIMEOUT: Duration = Duration::from_millis(40);
/// Between two tries while the guest boots.
const READY_STEP: Duration = Duration::from_millis(10);
/// An answer to `/health` while the guest boots; emulated guests can be slow at first.
const READY_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// What is added to the guest's own time-out in Shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The two secrets of a machine.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestTokens {
    /// For `hearth.guest.v1`.
    pub host: String,
    /// For `process`, `filesystem` and `/files`.
    pub access: String,
}

impl std::fmt::Debug for GuestTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuestTokens(…)")
    }
}

/// A client of one guest's agent. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct GuestClient {
    pool: Arc<Pool>,
    tokens: Arc<GuestTokens>,
}

impl GuestClient {
    /// A client of the agent at `addr`; connects at the first call.
    pub fn new(addr: SocketAddr, tokens: GuestTokens) -> Self {
        Self {
            pool: Arc::new(Pool::new(addr)),
            tokens: Arc::new(tokens),
        }
    }

    /// Where the agent is.
    pub fn addr(&self) -> SocketAddr {
        self.pool.addr()
    }

    /// Drops idle connections. For after a restore, which breaks them without a word.
    pub fn reset(&self) {
        self.pool.clear();
    }

    /// The guest stands still, with its agent: connections do not grow old until it goes on.
    pub fn stand_still(&self) {
        self.pool.stand_still();
    }

    /// The guest goes on after [`stand_still`](Self::stand_still).
    pub fn go_on(&self) {
        self.pool.go_on();
    }

    /// Asks `/health` until the agent answers, or until `deadline`.
    pub async fn wait_ready(&self, deadline: Instant) -> Result<()> {
        let started = Instant::now();
        loop {
            let failure = match self.probe().await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if Instant::now() + READY_STEP >= deadline {
                return Err(GuestError::NotReady {
                    addr: self.addr(),
                    waited_ms: error::millis(started.elapsed()),
                    last: Box::new(failure),
                });
            }
            tokio::time::sleep(READY_STEP).await;
        }
    }

    async fn probe(&self) -> Result<()> {
        let connection = self.pool.connect_within("health", READY_CONNECT_TIMEOUT).await?;
        let request = rpc::request(Method::GET, "/health", rpc::empty_body());
        let exchange = rpc::within(
            "health",
            READY_ANSWER_TIMEOUT,
            self.pool.exchange_on("health", connection, request),
        )
        .await?;
        if exchange.status() != StatusCode::NO_CONTENT {
            return Err(exchange.into_http_error("health").await);
        }
        exchange.finish();
        Ok(())
    }

    /// One `/health` call: whether the agent answers now.
    pub async fn health(&self) -> Result<()> {
        self.probe().await
    }

    /// Configures the guest and starts its workload. Sends this client's tokens unless the request brings some.
    ///
    /// With `restore` it is the first call to a guest that goes on from a snapshot: this client must have the tokens from
    /// before the snapshot, and the request should bring new ones, which are a new client's from then on.
    pub async fn init(&self, mut request: InitRequest) -> Result<InitResponse> {
        request.tokens.get_or_insert_with(|| Tokens {
            host: self.tokens.host.clone(),
            access: self.tokens.access.clone(),
        });
        let answer = self.guest_call("Init", SLOW_CALL_TIMEOUT, &request).await;
        if request.restore.as_ref().is_some_and(|restore| restore.copy) {
            // The guest has ended all connections but the one of this call.
            self.pool.clear();
        }
        answer
    }

    /// Has the guest's own hooks run before a snapshot, and with `hold` its programs stand still from then on, for 30 s at most:
    /// until [`release_programs`](Self::release_programs), or in what is restored until [`init`](Self::init). Gives whether they
    /// do; where they cannot, and with an agent of an earlier release, they run, and the guest can be copied all the same.
    ///
    /// Fails with `FailedPrecondition` when a hook does; then the guest is in no state to be copied, by its own word.
    pub async fn prepare_snapshot(&self, hold: bool) -> Result<bool> {
        let request = PrepareSnapshotRequest { hold, no_hooks: false };
        self.guest_call("PrepareSnapshot", PREPARE_TIMEOUT, &request)
            .await
            .map(|answer: PrepareSnapshotResponse| answer.held)
    }

    /// Has programs stand still for a pause, as [`prepare_snapshot`](Self::prepare_snapshot) does for a snapshot, without a hook.
    pub async fn hold_programs(&self) -> Result<bool> {
        let request = PrepareSnapshotRequest {
            hold: true,
            no_hooks: true,
        };
        self.guest_call("PrepareSnapshot", CALL_TIMEOUT, &request)
            .await
            .map(|answer: PrepareSnapshotResponse| answer.held)
    }

    /// Lets programs go on that are held for a snapshot. Changes nothing where none are. An agent of an earlier release holds
    /// none, and fails with `Unimplemented`.
    pub async fn release_programs(&self) -> Result<()> {
        self.guest_call("ReleasePrograms", CALL_TIMEOUT, &ReleaseProgramsRequest {})
            .await
            .map(|_: crate::guest::ReleaseProgramsResponse| ())
    }

    /// What the workload wrote and what became of it, from record `from_seq` on, until the caller drops the stream.
    /// Keepalives are taken out.
    pub async fn follow(&self, from_seq: u64) -> Result<MessageStream<Record>> {
        self.follow_with(FollowRequest {
            from_seq,
            end_at_last: false,
        })
        .await
    }

    /// Everything recorded from `from_seq` until now.
    pub async fn records(&self, from_seq: u64) -> Result<MessageStream<Record>> {
        self.follow_with(FollowRequest {
            from_seq,
            end_at_last: true,
        })
        .await
    }

    async fn follow_with(&self, request: FollowRequest) -> Result<MessageStream<Record>> {
        let exchange = self
            .stream_call("/hearth.guest.v1.Guest/Follow", &self.host_headers(), &request)
            .await?;
        Ok(MessageStream::new("Follow", exchange, |record: &Record| {
            matches!(record.body, Some(crate::guest::record::Body::Keepalive(_)))
        }))
    }

    /// Writes to the workload's standard input (or terminal). Returns when the guest has taken the bytes;
    /// at most [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES) less 1 KiB at once.
    pub async fn workload_stdin(&self, data: impl Into<bytes::Bytes>) -> Result<()> {
        let request = WorkloadInputRequest {
            data: data.into(),
            close: false,
        };
        self.guest_call_unlimited("WorkloadInput", &request)
            .await
            .map(|_: crate::guest::WorkloadInputResponse| ())
    }

    /// Ends the workload's standard input.
    pub async fn close_stdin(&self) -> Result<()> {
        let request = WorkloadInputRequest {
            data: bytes::Bytes::new(),
            close: true,
        };
        self.guest_call_unlimited("WorkloadInput", &request)
            .await
            .map(|_: crate::guest::WorkloadInputResponse| ())
    }

    /// Sends a signal to the workload's first process.
    pub async fn workload_signal(&self, signal: i32) -> Result<()> {
        let request = WorkloadSignalRequest { signal, all: false };
        self.guest_call("WorkloadSignal", CALL_TIMEOUT, &request)
            .await
            .map(|_: crate::guest::WorkloadSignalResponse| ())
    }

    /// Sets the size of the workload's terminal.
    pub async fn workload_resize(&self, cols: u32, rows: u32) -> Result<()> {
        let request = WorkloadResizeRequest {
            size: Some(TerminalSize { cols, rows }),
        };
        self.guest_call("WorkloadResize", CALL_TIMEOUT, &request)
            .await
            .map(|_: crate::guest::WorkloadResizeResponse| ())
    }

    /// What the guest uses. From the guest, so it is what the guest claims.
    pub async fn metrics(&self) -> Result<MetricsResponse> {
        self.guest_call("Metrics", CALL_TIMEOUT, &MetricsRequest {}).await
    }

    /// Freezes the writable file systems.
    pub async fn freeze(&self) -> Result<()> {
        self.guest_call("Freeze", SLOW_CALL_TIMEOUT, &FreezeRequest {})
            .await
            .map(|_: crate::guest::FreezeResponse| ())
    }

    /// Sets the guest's wall clock, in nanoseconds since the Unix epoch.
    pub async fn set_clock(&self, clock_unix_ns: i64) -> Result<()> {
        self.guest_call("SetClock", CALL_TIMEOUT, &SetClockRequest { clock_unix_ns })
            .await
            .map(|_: crate::guest::SetClockResponse| ())
    }

    /// Thaws the writable file systems.
    pub async fn thaw(&self) -> Result<()> {
        self.guest_call("Thaw", CALL_TIMEOUT, &ThawRequest {})
            .await
            .map(|_: crate::guest::ThawResponse| ())
    }

    /// Stops the workload with its signal, kills what remains after the time-out, and resets the machine.
    pub async fn shutdown(&self, request: ShutdownRequest) -> Result<ShutdownResponse> {
        let timeout = Duration::from_millis(request.timeout_ms).saturating_add(SHUTDOWN_GRACE);
        self.guest_call("Shutdown", timeout, &request).await
    }
}
