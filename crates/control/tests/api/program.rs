//! A function's program on loopback, where the node in memory has its machines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use hearth_api::Deployment;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tokio::{net::TcpListener, time::timeout};

use crate::{
    fixture::{Answer, DEADLINE, Fixture, IMAGE, request},
    tenancy::asking,
};

/// Gives back what it gets. `/status/N` answers that status, `/once` fails the first time, `/hang` never ends then.
pub(crate) struct Program {
    pub(crate) port: u16,
    /// Requests so far.
    pub(crate) requests: Arc<AtomicU32>,
}

impl Program {
    pub(crate) async fn serve() -> Self {
        let requests = Arc::new(AtomicU32::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&requests));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, requests }
    }

    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn answer(State(requests): State<Arc<AtomicU32>>, request: Request) -> Response {
    let before = requests.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path();
    if let Some(status) = path.strip_prefix("/status/") {
        return StatusCode::from_bytes(status.as_bytes()).unwrap().into_response();
    }
    if path == "/once" && before == 0 {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if path == "/hang" && before == 0 {
        std::future::pending::<()>().await;
    }
    format!("{} {path} {}", parts.method, String::from_utf8_lossy(&body)).into_response()
}

/// Sends a deployment as it is.
pub(crate) async fn deploy_to(f: &Fixture, name: &str, body: Value) -> Answer {
    f.send(asking(Method::PUT, &format!("/v1/functions/{name}"), Some(body)))
        .await
}

/// Deploys the fixture's image with these fields.
pub(crate) async fn deploy(f: &Fixture, name: &str, mut fields: Value) -> Deployment {
    fields["image"] = IMAGE.into();
    fields["cmd"] = Value::Array(vec!["serve".into()]);
    let answer = deploy_to(f, name, fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// Calls a function, and waits for its answer.
pub(crate) async fn invoke(f: &Fixture, name: &str, path: &str, body: &'static str) -> Answer {
    let path = format!("/v1/functions/{name}/invoke?path={path}");
    f.send(request(Method::POST, &path).body(Full::from(body)).unwrap())
        .await
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(asked: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = asked().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, asking).await.unwrap()
}
