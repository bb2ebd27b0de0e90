//! One request to an instance, until the head of its answer: which instance, which connection, and what is tried again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderName, Request, Response};
use hyper::body::Incoming;
use tracing::debug;

use super::{Outgoing, Progress, Spare};
use crate::{
    CallError, GatewayConfig,
    client::Client,
    pool::{Acquired, Conn, NotAnswered, Place, Pool},
};

/// When a Lambda program's time is over, in milliseconds since the Unix epoch.
const DEADLINE: HeaderName = HeaderName::from_static("x-hearth-deadline-ms");

/// What a call knows while it is under way.
pub(crate) struct Exchange {
    pub(crate) pool: Arc<Pool>,
    pub(crate) config: Arc<GatewayConfig>,
    /// No instance is waited for longer than that.
    pub(crate) wait_until: Instant,
    /// Whether the instance takes Lambda events.
    pub(crate) lambda: bool,
    /// How long the instance may take, in milliseconds.
    pub(crate) timeout_ms: u64,
    /// Bytes the body may have.
    pub(crate) body_max: u64,
    pub(crate) progress: Option<Arc<Progress>>,
    /// Whether an instance was given the request.
    pub(crate) begun: AtomicBool,
    /// Who called, if not we ourselves.
    pub(crate) client: Option<Arc<Client>>,
}

/// A request that was answered.
pub(crate) struct Sent {
    pub(crate) response: Response<Incoming>,
    pub(crate) conn: Conn,
    pub(crate) place: Place,
    /// The answer must have ended by then.
    pub(crate) until: Instant,
}

/// How an attempt ended without an answer.
enum Missed {
    /// Nothing of the request was sent, and it can be tried elsewhere.
    Unsent(CallError),
    /// It is over.
    Over(CallError),
}

/// What the call has met so far.
#[derive(Default)]
pub(crate) struct Met {
    pub(crate) cold: bool,
    pub(crate) queued: Duration,
    pub(crate) machine: Option<hearth_ids::MachineId>,
}

/// Sends the request to an instance with a free place. The request is lent, here and below, since whatever owns it across a
/// wait has room for it in its future, and each of those is moved.
pub(crate) async fn send(
    exchange: &Exchange,
    request: &mut Request<Outgoing>,
    met: &mut Met,
) -> Result<Sent, CallError> {
    let mut attempts = 0;
    loop {
        let Acquired { place, queued, cold } = exchange.pool.acquire(exchange.wait_until).await?;
        met.cold |= cold;
        met.queued += queued;
        met.machine = Some(place.upstream().instance.key.machine);
        let error = match attempt(exchange, place, request).await {
            Ok(sent) => return Ok(sent),
            Err(Missed::Over(error)) => return Err(error),
            Err(Missed::Unsent(error)) => error,
        };
        attempts += 1;
        if attempts >= exchange.config.upstream.attempts {
            return Err(error);
        }
        debug!(%error, attempts, "a call is tried on another instance");
    }
}

/// Sends the request to this instance: on a connection that is there, and once more on a new one if that was stale.
/// A request that was not sent is left where it was.
async fn attempt(exchange: &Exchange, place: Place, request: &mut Request<Outgoing>) -> Result<Sent, Missed> {
    let until = Instant::now() + Duration::from_millis(exchange.timeout_ms);
    let limits = &exchange.config.upstream;
    exchange.begin(request);
    if let Some(mut conn) = place.upstream().idle_connection(limits).await {
        let spare = Spare::of(request);
        match conn.send(request, until).await {
            Ok(response) => return Ok(answered(response, conn, place, until)),
            Err(NotAnswered::Unsent) => (),
            Err(NotAnswered::Broken(error)) => {
                // What it did answer it would answer again.
                let spare = spare.filter(|_| exchange.fault().is_none() && !error.is_parse());
                let again = spare.ok_or_else(|| Missed::Over(exchange.broken(&error)))?;
                *request = again.request();
            }
            Err(NotAnswered::Late) => return Err(Missed::Over(exchange.timed_out(&place))),
        }
    }
    let mut conn = match Box::pin(place.upstream().connect(limits)).await {
        Ok(conn) => conn,
        Err(error) => {
            place.unreachable();
            return Err(Missed::Unsent(CallError::Unreachable(error.to_string())));
        }
    };
    match conn.send(request, until).await {
        Ok(response) => Ok(answered(response, conn, place, until)),
        Err(NotAnswered::Unsent) => {
            place.unreachable();
            let error = CallError::Unreachable("it closed the connection at once".to_owned());
            Err(Missed::Unsent(error))
        }
        Err(NotAnswered::Broken(error)) => {
            let error = exchange.broken(&error);
            if matches!(error, CallError::Crashed(_)) {
                place.suspect();
            }
            Err(Missed::Over(error))
        }
        Err(NotAnswered::Late) => Err(Missed::Over(exchange.timed_out(&place))),
    }
}

fn answered(response: Response<Incoming>, conn: Conn, place: Place, until: Instant) -> Sent {
    place.upstream().trust();
    Sent {
        response,
        conn,
        place,
        until,
    }
}

impl Exchange {
    /// Whether an instance was given the request.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// An instance is given the request. A Lambda program is told when its time will be over.
    fn begin(&self, request: &mut Request<Outgoing>) {
        self.begun.store(true, Ordering::Relaxed);
        if self.lambda {
            let until = SystemTime::now() + Duration::from_millis(self.timeout_ms);
            let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
            request.headers_mut().insert(DEADLINE, until_ms.into());
        }
    }

    /// Bytes of the request's body that were passed on.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.progress.as_ref().map_or(0, |progress| progress.bytes())
    }

    /// Why the request's body ended early, if it did.
    fn fault(&self) -> Option<CallError> {
        self.progress.as_ref()?.fault(self.body_max)
    }

    /// Why the exchange broke off: by the request's body, by an answer that is none, or by the instance's end.
    fn broken(&self, error: &hyper::Error) -> CallError {
        self.fault().unwrap_or_else(|| {
            let why = hearth_domain::chain(error);
            if error.is_parse_too_large() {
                CallError::BadAnswer(format!("its head is too large, or has more than 100 headers: {why}"))
            } else if error.is_parse() {
                CallError::BadAnswer(why)
            } else {
                CallError::Crashed(why)
            }
        })
    }

    /// The call's time is over. A Lambda program cannot be told to stop, so its instance is of no use any more.
    fn timed_out(&self, place: &Place) -> CallError {
        if self.lambda {
            place.condemn(crate::RetireReason::TimedOut);
        }
        CallError::Timeout {
            timeout_ms: self.timeout_ms,
        }
    }
}
