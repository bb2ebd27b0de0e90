//! Who sends a request of the Lambda API: whoever signed it, holds a key, or may use the unix socket.
//!
//! A body's hash is part of the signature, so a signed body is read here, before its handler runs. Nothing is read for whoever
//! names no key that is alive.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use hearth_api::ProblemCode;
use http::{header, request::Parts};

use super::{
    body,
    error::{Kind, LambdaError, LambdaResult},
    sigv4::{self, Payload, SignatureError, Signed},
};
use crate::{
    caller::Caller,
    key,
    layers::{self, Admitted, Guard},
    peer::{Peer, check_web},
    time::now_unix_ms,
};

/// Says who sends a request of the Lambda API.
pub(crate) async fn admit(guard: &Guard, request: &Parts, body: Body) -> Result<Admitted, Response> {
    let known = known(guard, request, body).await;
    known.map_err(LambdaError::into_response)
}

async fn known(guard: &Guard, request: &Parts, body: Body) -> LambdaResult<Admitted> {
    let peer = request.extensions.get::<Peer>().copied();
    match peer {
        Some(peer @ (Peer::Tcp(_) | Peer::Tls(_))) if sigv4::is_signed(&request.headers) => {
            signed(guard, request, peer, body).await
        }
        _ => {
            let caller = layers::admit(guard, request).await.map_err(|error| {
                let missing = !request.headers.contains_key(header::AUTHORIZATION);
                let unknown = error.problem.code == ProblemCode::Unauthorized;
                let error = LambdaError::from(error);
                if missing && unknown {
                    error.of_kind(Kind::MissingToken)
                } else {
                    error
                }
            })?;
            let room = body::room(request).await?;
            Ok(Admitted { caller, body, room })
        }
    }
}

async fn signed(guard: &Guard, request: &Parts, peer: Peer, sent: Body) -> LambdaResult<Admitted> {
    if matches!(peer, Peer::Tcp(_)) {
        check_web(&request.uri, &request.headers)?;
    }
    let signed = Signed::of(request, now_unix_ms())?;
    let row = key::of_id(&guard.app, signed.key).await?;
    let secret = guard.app.sigv4_secret(row.id);
    let proved = |hash: &str| {
        if signed.is_of(&secret, request, hash) {
            Ok(())
        } else {
            Err(mismatch())
        }
    };
    // Where the hash is told, whoever could not have signed is not read.
    match &signed.payload {
        Payload::Hash(hash) => proved(hash)?,
        Payload::Unsigned => proved(Signed::unsigned_payload())?,
        Payload::Untold => {}
    }
    let room = body::room(request).await?;
    let body = match &signed.payload {
        Payload::Unsigned => {
            check_private(peer)?;
            sent
        }
        Payload::Hash(told) => {
            let bytes = body::read(sent, body::max(request)).await?;
            if sigv4::hash(&bytes) != *told {
                return Err(mismatch());
            }
            Body::from(bytes)
        }
        Payload::Untold => {
            let bytes = body::read(sent, body::max(request)).await?;
            proved(&sigv4::hash(&bytes))?;
            Body::from(bytes)
        }
    };
    // Counted only now: an ID is no secret, and must not use up what its project may send.
    guard.app.limits.take_known(row.project).map_err(layers::too_many)?;
    let caller = Caller::of_key(row, peer, &request.headers)?;
    Ok(Admitted {
        caller: Some(caller),
        body,
        room,
    })
}

/// A body that is not signed may be changed by whoever carries it.
fn check_private(peer: Peer) -> LambdaResult<()> {
    match peer {
        Peer::Tcp(address) if !address.ip().is_loopback() => Err(LambdaError::new(
            Kind::InvalidSignature,
            "a body that is not signed is taken by TLS or on loopback only; sign it",
        )),
        Peer::Tcp(_) | Peer::Tls(_) | Peer::Unix { .. } => Ok(()),
    }
}

fn mismatch() -> LambdaError {
    LambdaError::new(
        Kind::InvalidSignature,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
         and signing method. Consult the service documentation for details.",
    )
}

impl From<SignatureError> for LambdaError {
    fn from(error: SignatureError) -> Self {
        let kind = match error {
            SignatureError::Incomplete(_) => Kind::IncompleteSignature,
            SignatureError::Expired { .. } => Kind::InvalidSignature,
            SignatureError::Unknown(_) => Kind::UnrecognizedClient,
        };
        Self::new(kind, error.to_string())
    }
}
