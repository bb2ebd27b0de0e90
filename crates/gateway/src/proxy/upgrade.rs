//! Connections that become something else (WebSocket): bytes are passed both ways, and nothing of them is understood.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::clean_answer;
use crate::{
    Body, CallError,
    observe::Recording,
    pool::{Conn, Place},
};

/// How long both sides may take to upgrade once both have said that they will.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long both sides may be silent.
const UPGRADED_IDLE: Duration = Duration::from_hours(1);
const BUFFER: usize = 16 * 1024;

/// What is held while the connection lasts.
pub(crate) struct Spliced {
    pub(crate) client: OnUpgrade,
    pub(crate) instance: OnUpgrade,
    pub(crate) conn: Conn,
    pub(crate) place: Place,
    pub(crate) recording: Recording,
}

/// Passes bytes until one side ends, both are silent for an hour, or the gateway goes down.
pub(crate) async fn splice(spliced: Spliced, stop: CancellationToken) {
    let Spliced {
        client,
        instance,
        conn,
        place,
        recording,
    } = spliced;
    let (bytes_in, bytes_out, error) = match both_upgraded(client, instance).await {
        Ok((client, instance)) => tokio::select! {
            counted = pass(client, instance, UPGRADED_IDLE) => (counted.0, counted.1, None),
            () = stop.cancelled() => (0, 0, Some(CallError::ShuttingDown)),
            () = place.upstream().gone.cancelled() => (0, 0, Some(CallError::Crashed("its machine is gone".to_owned()))),
        },
        Err(why) => (0, 0, Some(CallError::Crashed(why))),
    };
    drop(conn);
    drop(place);
    recording.finish(bytes_in, bytes_out, error);
}

/// Both connections, once they carry the other protocol; or why they do not.
pub(crate) async fn both_upgraded(
    client: OnUpgrade,
    instance: OnUpgrade,
) -> Result<(TokioIo<Upgraded>, TokioIo<Upgraded>), String> {
    let both = async { tokio::try_join!(client, instance) };
    match timeout(UPGRADE_TIMEOUT, both).await {
        Ok(Ok((client, instance))) => Ok((TokioIo::new(client), TokioIo::new(instance))),
        Ok(Err(error)) => {
            debug!(%error, "a connection was not upgraded");
            Err(error.to_string())
        }
        Err(_) => Err("the upgrade took too long".to_owned()),
    }
}

/// What a client is told whose request was answered by going over to another protocol, with these headers.
pub(crate) fn switching(mut headers: HeaderMap) -> Response<Body> {
    let protocol = headers.get(UPGRADE).cloned();
    clean_answer(&mut headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// Passes bytes both ways until one side ends, or both were silent for so long. Bytes from the client and from the instance.
pub(crate) async fn pass<C, I>(client: C, instance: I, idle: Duration) -> (u64, u64)
where
    C: AsyncRead + AsyncWrite + Unpin,
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (bytes_in, bytes_out) = (AtomicU64::new(0), AtomicU64::new(0));
    let (mut client_read, mut client_write) = split(client);
    let (mut instance_read, mut instance_write) = split(instance);
    let silent = async {
        let mut before = 0;
        loop {
            sleep(idle).await;
            let now = bytes_in.load(Ordering::Relaxed) + bytes_out.load(Ordering::Relaxed);
            if now == before {
                break;
            }
            before = now;
        }
    };
    tokio::select! {
        () = one_way(&mut client_read, &mut instance_write, &bytes_in) => (),
        () = one_way(&mut instance_read, &mut client_write, &bytes_out) => (),
        () = silent => (),
    }
    let ends = async { tokio::join!(client_write.shutdown(), instance_write.shutdown()) };
    let _ended_anyway = timeout(UPGRADE_TIMEOUT, ends).await;
    (bytes_in.into_inner(), bytes_out.into_inner())
}

async fn one_way<R, W>(from: &mut R, to: &mut W, bytes: &AtomicU64)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
            return;
        }
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}
