//! One request from outside: which function or sandbox, whether the caller may, and how it is called.

use std::sync::Arc;

use hearth_domain::{InvalidIdempotencyKey, parse_idempotency_key};
use hearth_ids::RequestId;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version,
    header::{AUTHORIZATION, HOST},
};
use hyper::body::Incoming;
use metrics::counter;

use crate::{
    AsyncCall, Body, CallError, Denied, Gateway, answer,
    call::{Call, without_prefix},
    client::Client,
    proxy::{REQUEST_ID, clean_request, remove_where, upgrade_wanted},
    routes::Found,
    sandbox::{self, Asked},
};

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-hearth-invocation-type");
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-hearth-invocation-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// How keys begin.
const KEY_PREFIX: &str = "hth_";
/// How headers begin that are ours to set.
const OUR_HEADERS: &str = "x-hearth-";

/// What is known of the caller.
struct Caller {
    id: RequestId,
    /// Whether one of its headers is for us.
    to_us: bool,
    /// Whether it has shown a key that may call the function.
    owner: bool,
}

/// Answers one request. It comes in a box, as the call later does: what a future holds is moved with it, at every level.
pub(super) async fn answer_to(
    gateway: &Arc<Gateway>,
    client: Arc<Client>,
    request: Box<Request<Incoming>>,
) -> Response<Body> {
    let to_us = speaks_to_us(request.headers());
    let id = to_us.then(|| request_id(request.headers())).flatten();
    let id = id.unwrap_or_else(RequestId::new);
    let mut caller = Caller {
        id,
        to_us,
        owner: false,
    };
    match handle(gateway, client, request, &mut caller).await {
        Ok(response) => response,
        Err(error) => {
            counter!("hearth_gateway_errors_total", "code" => error.code()).increment(1);
            answer::refusal(&error, id, caller.owner)
        }
    }
}

/// The caller's own if it is one of ours.
fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    headers.get(REQUEST_ID)?.to_str().ok()?.parse().ok()
}

/// Whether there is a header that is for us, of those that most requests have none of: they are looked for once, and not each
/// by itself.
fn speaks_to_us(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| *name == PREFER || name.as_str().starts_with(OUR_HEADERS))
}

async fn handle(
    gateway: &Arc<Gateway>,
    client: Arc<Client>,
    mut request: Box<Request<Incoming>>,
    caller: &mut Caller,
) -> Result<Response<Body>, CallError> {
    let host = named(gateway, &request)?;
    let name = host.as_ref().and_then(|host| host.to_str().ok());
    let of_functions = |host: &str| gateway.routes().is_function_host(host);
    if let Some(target) = sandbox::target(name, request.headers(), of_functions) {
        let asked = Asked {
            id: caller.id,
            client,
            host,
            target,
        };
        // Boxed, since most calls do not go this way and should not carry its state.
        return Ok(Box::pin(sandbox::serve(gateway, asked, *request)).await);
    }
    let found = gateway.routes().find(name, request.uri().path());
    let found = found.ok_or(CallError::NoRoute)?;
    let (function, project) = (found.route.function.id, found.route.function.project);
    let token = authorize(gateway, &found, request.headers_mut(), caller).await?;
    let rate = gateway.parts.rates.take(project);
    rate.map_err(|retry_after| CallError::RateLimited { retry_after })?;
    let is_async = caller.to_us && is_async(request.headers());
    let call = prepare(gateway, client, *request, caller, found, host)?;
    let outcome = if is_async {
        // Boxed, since most calls do not go this way and should not carry its state.
        Box::pin(accept(gateway, call)).await
    } else {
        gateway.run(call).await
    };
    // The owner of a public function is told why it failed, if a key shows who asks.
    match (outcome, token) {
        (Err(error), Some(token)) => {
            caller.owner = gateway.parts.keys.check(&token, project, function).await.is_ok();
            Err(error)
        }
        (outcome, _) => outcome,
    }
}

/// The host that the request names, if its form is one that is served here.
fn named<B>(gateway: &Gateway, request: &Request<B>) -> Result<Option<HeaderValue>, CallError> {
    let max = gateway.config.client.uri_bytes;
    let length = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if length > max {
        return Err(CallError::UriTooLong { max });
    }
    if *request.method() == Method::CONNECT {
        return Err(CallError::BadRequest("CONNECT is not served here"));
    }
    host(request)
}

/// Makes the request a call: with the path that the function is to see, and without what is not for it.
fn prepare(
    gateway: &Gateway,
    client: Arc<Client>,
    mut request: Request<Incoming>,
    caller: &Caller,
    found: Found,
    host: Option<HeaderValue>,
) -> Result<Box<Call>, CallError> {
    let Found {
        route,
        qualifier,
        prefix,
    } = found;
    let (version, facts) = route.choose(&qualifier, rand::random()).ok_or(CallError::NoRoute)?;
    let path = request.uri().path().get(..prefix).filter(|path| !path.is_empty());
    let path = path.and_then(|path| HeaderValue::from_str(path).ok());
    let uri = without_prefix(request.uri(), prefix).ok_or(CallError::BadRequest("the path is not valid"))?;
    // Functions believe these: what a client says in them goes no further, once we have read what is for us.
    if caller.to_us {
        remove_where(request.headers_mut(), |name| name.starts_with(OUR_HEADERS));
    }
    let protocol = upgrade_wanted(request.version(), request.headers());
    let upgrade = protocol.map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    // The function sees the host by which it was found, whatever the field says (RFC 9112, 3.2.2).
    if let Some(host) = host.as_ref().filter(|_| request.uri().authority().is_some()) {
        request.headers_mut().insert(HOST, host.clone());
    }
    *request.uri_mut() = uri;
    Ok(Box::new(Call {
        id: caller.id,
        id_value: answer::id_value(caller.id),
        invocation: None,
        qualifier,
        version,
        facts,
        wait: gateway.config.waiting.timeout,
        raw_event: false,
        client: Some(client),
        trusted: caller.owner || gateway.config.trust_forwarded,
        host,
        prefix: path,
        upgrade,
        route,
        request: request.map(Body::from),
    }))
}

/// The host that is meant: of the request's target, or of the one field that names it (RFC 9112, 3.2).
fn host<B>(request: &Request<B>) -> Result<Option<HeaderValue>, CallError> {
    const INVALID: CallError = CallError::BadRequest("its host is not valid");
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(CallError::BadRequest("it names more than one host"));
    }
    if let Some(authority) = request.uri().authority() {
        let text = authority.as_str();
        let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
        return HeaderValue::from_str(host).map(Some).map_err(|_| INVALID);
    }
    match field {
        Some(field) => field.to_str().map(|_| Some(field.clone())).map_err(|_| INVALID),
        None if request.version() == Version::HTTP_11 => Err(CallError::BadRequest("it names no host")),
        None => Ok(None),
    }
}

/// Checks whether the caller may: anybody may call what a public function's owner has named, but a version by its number
/// only who has a key. Returns the key of a caller who needs none, for later.
async fn authorize(
    gateway: &Gateway,
    found: &Found,
    headers: &mut HeaderMap,
    caller: &mut Caller,
) -> Result<Option<String>, CallError> {
    let function = &found.route.function;
    let token = bearer(headers).map(ToOwned::to_owned);
    if function.public && found.qualifier.is_for_all() {
        // Any other authorization is the function's own affair.
        if token.as_deref().is_some_and(is_ours) {
            headers.remove(AUTHORIZATION);
        }
        return Ok(token);
    }
    // The key is for us, and the function must never see it.
    headers.remove(AUTHORIZATION);
    let token = token.ok_or(CallError::Unauthorized)?;
    let checked = gateway.parts.keys.check(&token, function.project, function.id);
    match checked.await {
        Ok(()) => {
            caller.owner = true;
            Ok(None)
        }
        Err(Denied::Unknown) => Err(CallError::Unauthorized),
        Err(Denied::Forbidden) => Err(CallError::Forbidden),
        Err(Denied::Unavailable) => Err(CallError::KeysUnavailable),
    }
}

/// Whether it looks like a key of Hearth's.
fn is_ours(token: &str) -> bool {
    token.get(..KEY_PREFIX.len()).is_some_and(|prefix| prefix == KEY_PREFIX)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether the caller does not wait for the answer (RFC 7240).
fn is_async(headers: &HeaderMap) -> bool {
    let event = headers.get(INVOCATION_TYPE);
    if event.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"event")) {
        return true;
    }
    let prefer = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    prefer
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case("respond-async"))
}

/// Keeps the call for later, and says where it is found.
async fn accept(gateway: &Gateway, mut call: Box<Call>) -> Result<Response<Body>, CallError> {
    let limits = &gateway.config.client;
    let (mut parts, body) = std::mem::take(&mut call.request).into_parts();
    let mut held = gateway.room.hold(call.address());
    let read = tokio::time::timeout(limits.body_idle, body.collect_in(&mut held, limits.async_bytes)).await;
    let body = read
        .map_err(|_| CallError::BodyTimeout)?
        .map_err(|error| error.of_call(limits.async_bytes))?;
    let body = held.keep(body).map_err(|_| CallError::BodiesFull)?;
    let idempotency_key = parts.headers.get(IDEMPOTENCY_KEY);
    let idempotency_key = idempotency_key.map(|key| parse_idempotency_key(key.as_bytes()).map(ToOwned::to_owned));
    let idempotency_key = idempotency_key.transpose();
    let idempotency_key = idempotency_key.map_err(|_| CallError::BadRequest(InvalidIdempotencyKey::REASON))?;
    clean_request(
        &mut parts.headers,
        &call.forwarded(gateway.config.trust_forwarded),
        &call.id_value,
    );
    parts.headers.remove(PREFER);
    let accepted = gateway.parts.invocations.accept(AsyncCall {
        request: call.id,
        function: call.route.function.id,
        qualifier: call.qualifier.clone(),
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
        idempotency_key,
    });
    let invocation = accepted.await?.to_string();
    let mut response = Response::new(Body::full(serde_json::json!({"invocation_id": invocation}).to_string()));
    *response.status_mut() = http::StatusCode::ACCEPTED;
    answer::mark(&mut response, &call.id_value);
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    if let Ok(value) = http::HeaderValue::try_from(invocation) {
        response.headers_mut().insert(INVOCATION_ID, value);
    }
    Ok(response)
}
