//! Whether an instance can be called.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use hearth_domain::Contract;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// The wait between two tries at first: a caller waits as well.
const PAUSE: Duration = Duration::from_millis(5);
/// The wait once the program takes its time anyway: a hundredth of what it took.
const PAUSE_SHARE: u32 = 100;
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long one try to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What is read of a refusal, in bytes: the guest writes it.
const REFUSAL_MAX: usize = 64 * 1024;

/// What the agent says of a runtime that has ended.
const ENDED: [&str; 2] = ["Runtime.ExitError", "Runtime.OutOfMemory"];

/// By what the agent says which of them its runtime waits for.
const WAITS_FOR: &str = "x-hearth-waits-for";
const SNAPSHOT: &[u8] = b"snapshot";

/// What an instance that is ready waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// It can be called.
    Calls,
    /// Its runtime goes no further before a snapshot is made of it, or it is told that none is (Lambda's `SnapStart`).
    Snapshot,
}

/// What Lambda's runtimes say of an initialisation that failed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitError {
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error_message: String,
}

/// Why an instance will never be ready.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// For the function's owner.
    pub(crate) reason: String,
    /// Its runtime said nothing itself, but ended: what it wrote may say why.
    pub(crate) ended: bool,
}

/// Returns once the instance can be called; fails if its runtime says that it never will. Waits without end: the
/// caller has the deadline.
pub(crate) async fn ready(address: SocketAddr, contract: Contract) -> Result<WaitsFor, Refusal> {
    let began = Instant::now();
    loop {
        let asked = match contract {
            Contract::Http { .. } => listens(address).await,
            Contract::Lambda => initialised(address).await,
        };
        match asked {
            Answer::Ready(waits_for) => return Ok(waits_for),
            Answer::Never(refusal) => return Err(refusal),
            Answer::NotYet => {}
        }
        sleep((began.elapsed() / PAUSE_SHARE).clamp(PAUSE, PAUSE_MAX)).await;
    }
}

enum Answer {
    Ready(WaitsFor),
    NotYet,
    Never(Refusal),
}

async fn connect(address: SocketAddr) -> Option<TcpStream> {
    timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.ok()?.ok()
}

async fn listens(address: SocketAddr) -> Answer {
    match connect(address).await {
        Some(_) => Answer::Ready(WaitsFor::Calls),
        None => Answer::NotYet,
    }
}

/// Asks the agent, which answers when the runtime asks for its first event, or gives up.
async fn initialised(address: SocketAddr) -> Answer {
    let Some(answer) = ask(address, Method::GET, "/_hearth/ready").await else {
        return Answer::NotYet;
    };
    match answer.status() {
        StatusCode::OK => {
            let for_snapshot = answer
                .headers()
                .get(WAITS_FOR)
                .is_some_and(|what| what.as_bytes() == SNAPSHOT);
            Answer::Ready(if for_snapshot {
                WaitsFor::Snapshot
            } else {
                WaitsFor::Calls
            })
        }
        StatusCode::INTERNAL_SERVER_ERROR => Answer::Never(told(answer.body())),
        _ => Answer::NotYet,
    }
}

/// Lets a runtime that waits for its snapshot go on without one. What does not hear it hears the next call.
pub(crate) async fn go_on(address: SocketAddr) {
    let asked = timeout(CONNECT_TIMEOUT, ask(address, Method::POST, "/_hearth/go-on")).await;
    if !matches!(&asked, Ok(Some(answer)) if answer.status().is_success()) {
        tracing::debug!(%address, "an instance that waits for its snapshot did not hear that it may go on");
    }
}

/// Asks the agent something, once.
async fn ask(address: SocketAddr, method: Method, path: &str) -> Option<Response<Bytes>> {
    let stream = connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let asking = async {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "function")
            .body(Empty::<Bytes>::new());
        let response = sender.send_request(request.ok()?).await.ok()?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, REFUSAL_MAX).collect().await.ok()?;
        Some(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(asking);
    tokio::select! {
        answered = &mut asking => answered,
        // An agent that closes after its answer has given one all the same.
        _ = connection => asking.await,
    }
}

fn told(body: &[u8]) -> Refusal {
    let error = serde_json::from_slice::<InitError>(body).ok();
    let ended = error.as_ref().is_some_and(|error| ENDED.contains(&&*error.error_type));
    let what = error.map_or_else(String::new, |error| {
        format!(": {}: {}", error.error_type, error.error_message)
    });
    Refusal {
        reason: format!("its runtime failed to start{what}"),
        ended,
    }
}
