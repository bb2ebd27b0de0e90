//! One request for a port of a sandbox, from its head to the head of its answer.

use std::{net::SocketAddr, sync::Arc};

use hearth_http::drained;
use hearth_ids::{RequestId, SandboxId};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::{
    body::{Body as _, Incoming},
    upgrade::OnUpgrade,
};
use tokio::time::timeout;
use tracing::debug;

use super::{
    Knock, NoSandbox, SandboxPlace,
    access::{check_path, check_token},
    connections::{Conn, Key, NotAnswered, NotOpened},
    outgoing::{Wish, outgoing},
    refusal::{Refusal, wants_page},
    streaming::{Held, streaming},
    target::Target,
    upgraded::upgraded,
};
use crate::{
    Body, Gateway, answer,
    client::Client,
    proxy::{Forwarded, Spare, upgrade_wanted},
};

/// What is asked for, by whom.
pub(crate) struct Asked {
    pub(crate) id: RequestId,
    pub(crate) client: Arc<Client>,
    /// The name by which the caller reached us.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) target: Result<Target, Refusal>,
}

/// Answers the request.
pub(crate) async fn serve(gateway: &Gateway, asked: Asked, request: Request<Incoming>) -> Response<Body> {
    let page = wants_page(request.headers());
    let request = drained(request, |rest| drop(tokio::spawn(rest))).map(|body| {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(body)
        }
    });
    let outcome = match &asked.target {
        Ok(target) => pass_on(gateway, &asked, target, request).await,
        Err(refusal) => Err(*refusal),
    };
    let mut response = outcome.unwrap_or_else(|refusal| {
        debug!(?refusal, "a request for a sandbox is refused");
        refusal.answer(asked.target.as_ref().ok(), page)
    });
    gateway.ports.answered(response.status());
    answer::mark(&mut response, &answer::id_value(asked.id));
    response
}

async fn pass_on(
    gateway: &Gateway,
    asked: &Asked,
    target: &Target,
    mut request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let port = target.port;
    check_path(port, request.uri().path())?;
    let id = target.id.ok_or(Refusal::NotFound)?;
    let mut stream = gateway.ports.streams.begin(id, &asked.client).ok_or(Refusal::Busy)?;
    let knock = Knock {
        port,
        headers: request.headers(),
    };
    let mut place = find(gateway, id, knock).await?;
    stream.keep(place.held.take());
    check_token(port, place.traffic_token.as_deref(), request.headers())?;
    let protocol = upgrade_wanted(request.version(), request.headers());
    let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let wish = Wish {
        id: asked.id,
        port,
        forwarded: asked.forwarded(gateway.config.trust_forwarded),
        protocol: protocol.as_ref(),
    };
    let (parts, body) = request.into_parts();
    let mut request = outgoing(parts, body, &place, &wish);
    let (response, conn) = send(gateway, (id, SocketAddr::new(place.address, port)), place, &mut request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client: OnUpgrade = upgrade.ok_or(Refusal::BadAnswer)?;
        return Ok(upgraded(gateway, client, response, conn, stream));
    }
    let connections = Arc::clone(&gateway.ports.connections);
    Ok(streaming(
        response,
        Held {
            conn,
            connections,
            stream,
        },
    ))
}

/// Where the port is, once the sandbox runs.
async fn find(gateway: &Gateway, id: SandboxId, knock: Knock<'_>) -> Result<SandboxPlace, Refusal> {
    let max = gateway.config.sandboxes.find_timeout;
    let why = match timeout(max, gateway.parts.sandboxes.find(id, knock)).await {
        Ok(Ok(place)) => return Ok(place),
        Ok(Err(NoSandbox::NotFound)) => return Err(Refusal::NotFound),
        Ok(Err(NoSandbox::Unavailable(why))) => why,
        Err(_) => format!("it was not found within {} ms", max.as_millis()),
    };
    debug!(sandbox = %id, why, "a sandbox cannot be had now");
    Err(Refusal::Unavailable)
}

/// Sends the request: on a connection that is there, and once more on a new one if that was stale.
async fn send(
    gateway: &Gateway,
    key: Key,
    place: SandboxPlace,
    request: &mut Request<Body>,
) -> Result<(Response<Incoming>, Conn), Refusal> {
    let connections = &gateway.ports.connections;
    if let Some(mut conn) = connections.take(key) {
        let spare = Spare::of(request);
        match conn.send(request).await {
            Ok(response) => return Ok((response, conn)),
            Err(NotAnswered::Unsent) => (),
            Err(NotAnswered::Broken(error)) => {
                // What it did answer it would answer again.
                let again = spare.filter(|_| !error.is_parse());
                *request = again.ok_or_else(|| broken(&conn, &error))?.request();
            }
        }
    }
    let mut conn = match connections.open(key, place.gone).await {
        Ok(conn) => conn,
        Err(NotOpened::Gone) => return Err(Refusal::NotFound),
        Err(NotOpened::Closed(error)) => {
            debug!(address = %key.1, %error, "a port of a sandbox is not open");
            return Err(Refusal::Closed);
        }
    };
    match conn.send(request).await {
        Ok(response) => Ok((response, conn)),
        Err(NotAnswered::Unsent) if conn.is_gone() => Err(Refusal::NotFound),
        Err(NotAnswered::Unsent) => Err(Refusal::Broken),
        Err(NotAnswered::Broken(error)) => Err(broken(&conn, &error)),
    }
}

/// Why the exchange broke off: by the sandbox's end, by what is no answer, or by the program's.
fn broken(conn: &Conn, error: &hyper::Error) -> Refusal {
    debug!(error = hearth_domain::chain(error), "a request to a sandbox broke off");
    if conn.is_gone() {
        Refusal::NotFound
    } else if error.is_parse() {
        Refusal::BadAnswer
    } else {
        Refusal::Broken
    }
}

impl Asked {
    fn forwarded(&self, trust: bool) -> Forwarded<'_> {
        Forwarded {
            client: Some(&self.client.value),
            tls: self.client.tls,
            host: self.host.as_ref(),
            prefix: None,
            trust,
        }
    }
}
