//! The agent's HTTP service: who may call what, and where each path goes.

mod archive;
pub(crate) mod body;
pub(crate) mod connections;
mod files;
mod filesystem;
mod guest;
pub(crate) mod places;
mod process;
mod rpc;
pub(crate) mod sessions;
pub(crate) mod watch;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use body::{Body, Incoming, Response};
use connections::Limits;
use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::files::same_secret;
use hearth_guest_api::{ACCESS_TOKEN_HEADER, HOST_TOKEN_HEADER};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::net::TcpListener;

use crate::agent::Agent;

/// What connections to the agent may cost.
const LIMITS: Limits = Limits {
    connections: 1024,
    strangers: 64,
    header_timeout: Some(Duration::from_secs(15)),
};

/// A request's caller.
#[derive(Clone)]
pub(crate) struct Caller {
    /// As the socket has it.
    peer: SocketAddr,
    /// As people have it.
    address: IpAddr,
}

/// Serves until the machine ends.
pub(crate) async fn serve(agent: Rc<Agent>, listener: TcpListener) {
    let sessions = Rc::clone(&agent.sessions);
    let hosts = agent.boot.host_addresses.clone();
    let is_host = move |address| hosts.contains(&address);
    connections::serve(listener, LIMITS, is_host, sessions, move |peer, request| {
        let caller = Caller {
            peer,
            address: peer.ip().to_canonical(),
        };
        route(Rc::clone(&agent), caller, request)
    })
    .await;
}

async fn route(agent: Rc<Agent>, caller: Caller, request: Request<Incoming>) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/health" {
        return body::status(StatusCode::NO_CONTENT);
    }
    if let Some((service, method)) = path.trim_start_matches('/').split_once('/')
        && matches!(
            service,
            "process.Process" | "filesystem.Filesystem" | "hearth.guest.v1.Guest"
        )
    {
        return route_rpc(agent, &caller, service, method, request).await;
    }
    match (request.method(), path.as_str()) {
        (&Method::GET | &Method::POST, "/files") => files::serve(agent, request).await,
        (&Method::POST, "/files/compose") => files::compose::serve(agent, request).await,
        (&Method::GET | &Method::PUT, "/hearth/archive") => match agent.check_host(&caller, request.headers()) {
            Ok(()) => archive::serve(request).await,
            Err(error) => rpc::unary_error(&error),
        },
        (&Method::GET, "/envs" | "/metrics") => match agent.check_access(request.headers()) {
            Ok(()) if path == "/envs" => json(&serde_json::json!(agent.settings.borrow().env)),
            Ok(()) => json(&crate::metrics::envd_json(&agent.metrics_asked)),
            Err(error) => rpc::unary_error(&error),
        },
        _ => body::json_error(
            StatusCode::NOT_FOUND,
            &format!("there is no {} {path}", request.method()),
        ),
    }
}

async fn route_rpc(
    agent: Rc<Agent>,
    caller: &Caller,
    service: &str,
    method: &str,
    request: Request<Incoming>,
) -> Response {
    if request.method() != Method::POST {
        return body::json_error(StatusCode::METHOD_NOT_ALLOWED, "use POST");
    }
    let allowed = match (service, method) {
        ("hearth.guest.v1.Guest", "Init") => agent.check_init(caller, request.headers()),
        ("hearth.guest.v1.Guest", _) => agent.check_host(caller, request.headers()),
        _ => agent.check_access(request.headers()),
    };
    let call = match allowed.and_then(|()| rpc::Call::new(request)) {
        Ok(call) => call,
        Err(error) => return rpc::unary_error(&error),
    };
    match service {
        "process.Process" => process::serve(agent, method, call).await,
        "filesystem.Filesystem" => filesystem::serve(agent, method, call).await,
        _ => guest::serve(agent, caller.peer, method, call).await,
    }
}

fn json(value: &serde_json::Value) -> Response {
    let mut response = http::Response::new(Body::full(value.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The user named by Basic authorization; its password is ignored, as the wire contract has none.
fn named_user(headers: &HeaderMap) -> Option<String> {
    let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    // From the right: `name:group:` names a group as well.
    Some(
        decoded
            .rsplit_once(':')
            .map_or(decoded.as_str(), |(user, _)| user)
            .to_owned(),
    )
}

impl Agent {
    fn is_host(&self, caller: &Caller) -> bool {
        self.boot.host_addresses.contains(&caller.address)
    }

    /// Init sets the tokens; once they are set, it needs the host's.
    fn check_init(&self, caller: &Caller, headers: &HeaderMap) -> Result<(), ConnectError> {
        if self.settings.borrow().tokens.is_some() {
            self.check_host(caller, headers)
        } else {
            self.check_host_address(caller)
        }
    }

    fn check_host_address(&self, caller: &Caller) -> Result<(), ConnectError> {
        let refused = || {
            ConnectError::new(
                Code::PermissionDenied,
                "this call is taken only from the machine's host",
            )
        };
        self.is_host(caller).then_some(()).ok_or_else(refused)
    }

    fn check_host(&self, caller: &Caller, headers: &HeaderMap) -> Result<(), ConnectError> {
        self.check_host_address(caller)?;
        let settings = self.settings.borrow();
        let expected = settings.tokens.as_ref().map_or("", |tokens| tokens.host.as_str());
        check_secret(expected, header(headers, HOST_TOKEN_HEADER), "host")
    }

    fn check_access(&self, headers: &HeaderMap) -> Result<(), ConnectError> {
        let settings = self.settings.borrow();
        let expected = settings.tokens.as_ref().map_or("", |tokens| tokens.access.as_str());
        check_secret(expected, header(headers, ACCESS_TOKEN_HEADER), "access")
    }
}

fn check_secret(expected: &str, given: &str, which: &str) -> Result<(), ConnectError> {
    // A token that was never set opens nothing.
    if !expected.is_empty() && same_secret(expected.as_bytes(), given.as_bytes()) {
        return Ok(());
    }
    Err(ConnectError::new(
        Code::Unauthenticated,
        format!("the {which} token is missing or wrong"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_basic_authorization() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                AUTHORIZATION,
                HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text))).unwrap(),
            );
            named_user(&headers)
        };
        assert_eq!(of("user:").as_deref(), Some("user"));
        assert_eq!(of("user:wheel:").as_deref(), Some("user:wheel"));
        assert_eq!(of("user").as_deref(), Some("user"));
        assert_eq!(named_user(&HeaderMap::new()), None);
    }

    #[test]
    fn an_unset_token_opens_nothing() {
        assert!(check_secret("", "", "access").is_err());
        assert!(check_secret("a", "", "access").is_err());
        assert!(check_secret("a", "a", "access").is_ok());
    }
}
