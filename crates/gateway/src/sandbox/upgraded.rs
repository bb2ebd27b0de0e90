//! Connections to sandboxes that become something else (WebSocket).

use std::time::Duration;

use http::Response;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio_util::sync::CancellationToken;

use super::{connections::Conn, streams::Stream};
use crate::{
    Body, Gateway,
    proxy::{both_upgraded, pass, switching},
};

/// What is held while the connection lasts.
struct Upgraded {
    client: OnUpgrade,
    sandbox: OnUpgrade,
    conn: Conn,
    _stream: Stream,
    idle: Duration,
}

/// Both sides go over to another protocol, by a task of the gateway.
pub(super) fn upgraded(
    gateway: &Gateway,
    client: OnUpgrade,
    mut response: Response<Incoming>,
    conn: Conn,
    stream: Stream,
) -> Response<Body> {
    let upgraded = Upgraded {
        client,
        sandbox: hyper::upgrade::on(&mut response),
        conn,
        _stream: stream,
        idle: gateway.config.sandboxes.upgraded_idle,
    };
    gateway.tasks.spawn(splice(upgraded, gateway.stop.clone()));
    switching(std::mem::take(response.headers_mut()))
}

/// Passes bytes until one side ends, the sandbox is gone, both are silent for long, or the gateway goes down.
async fn splice(upgraded: Upgraded, stop: CancellationToken) {
    // The connection is moved by its own task until both have upgraded.
    let Ok((client, sandbox)) = both_upgraded(upgraded.client, upgraded.sandbox).await else {
        return;
    };
    tokio::select! {
        biased;
        () = upgraded.conn.gone() => (),
        () = stop.cancelled() => (),
        _bytes = pass(client, sandbox, upgraded.idle) => (),
    }
}
