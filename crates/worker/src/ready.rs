//! Whether an instance can be called.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use hearth_domain::Contract;
use http::{Request, StatusCode};
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
pub(crate) async fn ready(address: SocketAddr, contract: Contract) -> Result<(), Refusal> {
    let began = Instant::now();
    loop {
        let asked = match contract {
            Contract::Http { .. } => listens(address).await,
            Contract::Lambda => initialised(address).await,
        };
        match asked {
            Answer::Ready => return Ok(()),
            Answer::Never(refusal) => return Err(refusal),
            Answer::NotYet => {}
        }
        sleep((began.elapsed() / PAUSE_SHARE).clamp(PAUSE, PAUSE_MAX)).await;
    }
}

enum Answer {
    Ready,
    NotYet,
    Never(Refusal),
}

async fn connect(address: SocketAddr) -> Option<TcpStream> {
    timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.ok()?.ok()
}

async fn listens(address: SocketAddr) -> Answer {
    match connect(address).await {
        Some(_) => Answer::Ready,
        None => Answer::NotYet,
    }
}

/// Asks the agent, which answers when the runtime asks for its first event, or gives up.
async fn initialised(address: SocketAddr) -> Answer {
    let Some(stream) = connect(address).await else {
        return Answer::NotYet;
    };
    let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await else {
        return Answer::NotYet;
    };
    let asking = async {
        let request = Request::get("/_hearth/ready")
            .header(http::header::HOST, "function")
            .body(Empty::<Bytes>::new());
        let response = sender.send_request(request.ok()?).await.ok()?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REFUSAL_MAX).collect().await.ok()?;
        Some((status, body.to_bytes()))
    };
    tokio::pin!(asking);
    let answered = tokio::select! {
        answered = &mut asking => answered,
        // An agent that closes after its answer has given one all the same.
        _ = connection => asking.await,
    };
    match answered {
        Some((StatusCode::OK, _)) => Answer::Ready,
        Some((StatusCode::INTERNAL_SERVER_ERROR, body)) => Answer::Never(told(&body)),
        _ => Answer::NotYet,
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
