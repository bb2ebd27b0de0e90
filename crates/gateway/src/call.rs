//! One call: from a function and a request to an answer.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use hearth_domain::Contract;
use hearth_ids::{FunctionId, InvocationId, RequestId};
use http::{HeaderValue, Request, Response, StatusCode, Uri, uri::PathAndQuery};
use hyper::{body::Body as _, upgrade::OnUpgrade};
use tokio_util::sync::CancellationToken;

use crate::{
    Body, CallError, CallRecord, Gateway, Qualifier, Route, VersionFacts, answer,
    client::Client,
    lambda,
    observe::{self, Recording},
    pool::{Pool, PoolKey},
    proxy::{
        Exchange, Forwarded, Met, Outgoing, Progress, Returning, Sent, Spliced, clean_answer, clean_request, send,
        splice, switching,
    },
};

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which function.
    pub function: FunctionId,
    /// Which of its versions.
    pub qualifier: Qualifier,
}

/// Which version answered: an extension of the answer to [`Gateway::call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutedVersion(pub u32);

/// How it is called.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// The request's ID; a new one if absent.
    pub request: Option<RequestId>,
    /// The asynchronous call of which it is an attempt.
    pub invocation: Option<InvocationId>,
    /// How long to wait for an instance; as the gateway is configured if absent.
    pub wait: Option<Duration>,
    /// The body is an event for a function of the Lambda contract, and the answer is wanted as it comes.
    pub raw_event: bool,
    /// Who called, for `X-Forwarded-For` and the record.
    pub client: Option<IpAddr>,
}

/// A call whose function is found and whose caller may.
pub(crate) struct Call {
    pub(crate) id: RequestId,
    /// The same, as a header has it.
    pub(crate) id_value: HeaderValue,
    pub(crate) invocation: Option<InvocationId>,
    pub(crate) route: Arc<Route>,
    pub(crate) qualifier: Qualifier,
    pub(crate) version: u32,
    pub(crate) facts: VersionFacts,
    pub(crate) wait: Duration,
    pub(crate) raw_event: bool,
    pub(crate) client: Option<Arc<Client>>,
    /// Whether the caller may say of which trace the call is, and that it be recorded.
    pub(crate) trusted: bool,
    /// The name by which the caller reached us.
    pub(crate) host: Option<HeaderValue>,
    /// What was cut off the path.
    pub(crate) prefix: Option<HeaderValue>,
    /// The client's connection, if it is to become something else.
    pub(crate) upgrade: Option<(HeaderValue, OnUpgrade)>,
    /// With the path that the function is to see, and no header that is not for it. Taken out once it is sent or kept.
    pub(crate) request: Request<Body>,
}

impl Gateway {
    /// Calls a function from within the process: the same pools, bounds and records as from outside, but nobody is asked
    /// whether the caller may.
    pub async fn call(
        self: &Arc<Self>,
        target: Target,
        request: Request<Body>,
        options: CallOptions,
    ) -> Result<Response<Body>, CallError> {
        let route = Arc::clone(self.routes().route(target.function).ok_or(CallError::NoRoute)?);
        let (version, facts) = route
            .choose(&target.qualifier, rand::random())
            .ok_or(CallError::NoRoute)?;
        let id = options.request.unwrap_or_else(RequestId::new);
        let call = Box::new(Call {
            id,
            id_value: answer::id_value(id),
            invocation: options.invocation,
            route,
            qualifier: target.qualifier,
            version,
            facts,
            wait: options.wait.unwrap_or(self.config.waiting.timeout),
            raw_event: options.raw_event,
            client: options
                .client
                .map(|address| Arc::new(Client::new(address, false, CancellationToken::new()))),
            trusted: true,
            host: None,
            prefix: None,
            upgrade: None,
            request,
        });
        let mut response = self.run(call).await?;
        response.extensions_mut().insert(ExecutedVersion(version));
        Ok(response)
    }

    /// Runs the call.
    pub(crate) async fn run(self: &Arc<Self>, mut call: Box<Call>) -> Result<Response<Body>, CallError> {
        let pool = self.pool(&call)?;
        let trace = observe::trace(&mut call, &pool);
        let recording = Recording::new(
            Arc::clone(&self.parts.observer),
            Arc::clone(&pool),
            call.record(),
            trace,
        );
        let outcome = match call.facts.contract {
            Contract::Http { .. } => self.pass_on(&mut call, pool, recording).await,
            Contract::Lambda => Box::pin(lambda::invoke(self, &mut call, pool, recording)).await,
        };
        outcome.map(|mut response| {
            answer::mark(&mut response, &call.id_value);
            response
        })
    }

    fn pool(self: &Arc<Self>, call: &Call) -> Result<Arc<Pool>, CallError> {
        let key = PoolKey {
            function: call.route.function.id,
            version: call.version,
        };
        self.pools.get(&key).map_or_else(|| self.new_pool(key, &call.route), Ok)
    }

    /// Streams the request to an instance, and its answer back.
    async fn pass_on(
        self: &Arc<Self>,
        call: &mut Call,
        pool: Arc<Pool>,
        mut recording: Recording,
    ) -> Result<Response<Body>, CallError> {
        let body_max = self.config.client.body_bytes.unwrap_or(u64::MAX);
        if call.request.body().size_hint().lower() > body_max {
            return Err(recording.failed(0, CallError::BodyTooLarge { max: body_max }));
        }
        let (mut request, progress) = self.outgoing(call, body_max);
        let exchange = self.exchange(call, pool, body_max, progress);
        let mut met = Met::default();
        // Boxed, so that what it holds is not moved with each of the futures around it.
        let sent = Box::pin(send(&exchange, &mut request, &mut met)).await;
        recording.met(met.machine, met.queued, met.cold);
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) => return Err(recording.failed(exchange.bytes_in(), error)),
        };
        recording.status(sent.response.status());
        if sent.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(call.upgrade.take(), sent, recording);
        }
        let mut response = Returning::of(sent, exchange.progress, recording, exchange.timeout_ms, exchange.client);
        clean_answer(response.headers_mut());
        Ok(response)
    }

    /// The call's request as the instance gets it, and how far its body has come.
    fn outgoing(&self, call: &mut Call, body_max: u64) -> (Box<Request<Outgoing>>, Option<Arc<Progress>>) {
        let (parts, body) = std::mem::take(&mut call.request).into_parts();
        let (outgoing, progress) = Outgoing::new(body, body_max, self.config.client.body_idle);
        let mut request = Box::new(Request::new(outgoing));
        *request.method_mut() = parts.method;
        *request.uri_mut() = parts.uri;
        let mut headers = parts.headers;
        clean_request(
            &mut headers,
            &call.forwarded(self.config.trust_forwarded),
            &call.id_value,
        );
        if let Some((protocol, _)) = &call.upgrade {
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(http::header::UPGRADE, protocol.clone());
        }
        *request.headers_mut() = headers;
        (request, progress)
    }

    /// What the call has to know to be sent.
    pub(crate) fn exchange(
        &self,
        call: &Call,
        pool: Arc<Pool>,
        body_max: u64,
        progress: Option<Arc<Progress>>,
    ) -> Exchange {
        Exchange {
            pool,
            config: Arc::clone(&self.config),
            wait_until: Instant::now() + call.wait,
            timeout_ms: call.facts.timeout_ms,
            body_max,
            progress,
            begun: AtomicBool::new(false),
            client: call.client.clone(),
            lambda: call.facts.contract == Contract::Lambda,
        }
    }

    /// Both sides go over to another protocol.
    fn switch(
        &self,
        client: Option<(HeaderValue, OnUpgrade)>,
        mut sent: Sent,
        recording: Recording,
    ) -> Result<Response<Body>, CallError> {
        let Some((_, client)) = client else {
            let error = CallError::BadAnswer("it switches protocols though nobody asked for that".to_owned());
            return Err(recording.failed(0, error));
        };
        sent.conn.detach();
        let instance = hyper::upgrade::on(&mut sent.response);
        let spliced = Spliced {
            client,
            instance,
            conn: sent.conn,
            place: sent.place,
            recording,
        };
        self.tasks.spawn(splice(spliced, self.stop.clone()));
        Ok(switching(std::mem::take(sent.response.headers_mut())))
    }
}

impl Call {
    /// The client's address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.client.as_ref().map(|client| client.address)
    }

    /// The name by which the caller reached us; empty if there is none.
    pub(crate) fn host(&self) -> &str {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        host.unwrap_or_default()
    }

    pub(crate) fn forwarded(&self, trust: bool) -> Forwarded<'_> {
        Forwarded {
            client: self.client.as_ref().map(|client| &client.value),
            tls: self.client.as_ref().is_some_and(|client| client.tls),
            host: self.host.as_ref(),
            prefix: self.prefix.as_ref(),
            trust,
        }
    }

    fn record(&self) -> CallRecord {
        CallRecord {
            request: self.id,
            invocation: self.invocation,
            project: self.route.function.project,
            function: self.route.function.id,
            version: self.version,
            machine: None,
            method: self.request.method().clone(),
            path: self.request.uri().path().to_owned(),
            client: self.address(),
            started: SystemTime::now(),
            status: 0,
            cold: false,
            queued: Duration::ZERO,
            duration: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            error: None,
        }
    }
}

/// The path and query that the function is to see: without what led to it, and never without its first slash.
pub(crate) fn without_prefix(uri: &Uri, prefix: usize) -> Option<Uri> {
    let whole = uri.path_and_query()?;
    let rest = whole.as_str().get(prefix..)?;
    let path = match rest.as_bytes().first() {
        Some(b'/') if prefix == 0 => whole.clone(),
        Some(b'/') => PathAndQuery::try_from(rest).ok()?,
        _ => PathAndQuery::try_from(format!("/{rest}")).ok()?,
    };
    Some(Uri::from(path))
}
