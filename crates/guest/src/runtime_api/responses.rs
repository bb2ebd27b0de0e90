//! What the workload posts for a call: whole, as a stream, or as an error.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hearth_guest_api::runtime::{ERROR_BODY_TRAILER, ERROR_TYPE_TRAILER, LOG_RESULT_HEADER, MAX_PAYLOAD_BYTES};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::RuntimeApi;
use super::failure::{self, error_body};
use super::payload::{self, Unfit};
use super::queue::{Answer, Outcome};
use super::runtime::{self, ERROR_TYPE, header};
use crate::server::body::{Body, Incoming, Response};

const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
const DEFAULT_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// A caller who takes nothing of a stream for this long counts as gone.
const CALLER_STALL: Duration = Duration::from_mins(1);
const TRUNCATED: HeaderValue = HeaderValue::from_static("Runtime.TruncatedResponse");

type Frames = mpsc::Sender<io::Result<Frame<Bytes>>>;

impl RuntimeApi {
    /// `invocation/{id}/response`.
    pub(super) fn respond(
        self: &Rc<Self>,
        id: &str,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response> + use<> {
        let (api, id) = (Rc::clone(self), id.to_owned());
        async move {
            let (head, mut body) = request.into_parts();
            if let Some(refused) = api.refuse_unless_due(&id) {
                payload::discard(&mut body).await;
                return refused;
            }
            let answer = match header(&head.headers, RESPONSE_MODE) {
                "" => api.respond_whole(&id, &head.headers, &mut body).await,
                "streaming" => return api.respond_streaming(&id, &head.headers, body).await,
                _ => {
                    let error = error_body("Runtime.InvalidResponseModeHeader", "Invalid function response mode");
                    api.finish(&id, Outcome::failed(error)).await;
                    invalid_mode()
                }
            };
            payload::discard(&mut body).await;
            answer
        }
    }

    /// `invocation/{id}/error`.
    pub(super) fn respond_error(
        self: &Rc<Self>,
        id: &str,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response> + use<> {
        let (api, id) = (Rc::clone(self), id.to_owned());
        async move {
            let (head, mut body) = request.into_parts();
            if let Some(refused) = api.refuse_unless_due(&id) {
                payload::discard(&mut body).await;
                return refused;
            }
            let headers = &head.headers;
            let answer = match payload::answer(headers, &mut body, &api.answers_room).await {
                Ok(posted) => {
                    let content_type = header(headers, CONTENT_TYPE.as_str());
                    let error = failure::posted(posted, content_type, header(headers, ERROR_TYPE));
                    api.finish(&id, Outcome::failed(error)).await;
                    return runtime::accepted();
                }
                Err(unfit) => api.unfit(&id, unfit).await,
            };
            payload::discard(&mut body).await;
            answer
        }
    }

    /// Takes the right to answer a call, which nobody gets twice; the refusal where there is none.
    fn refuse_unless_due(&self, id: &str) -> Option<Response> {
        if self.queue.claim(id) {
            return None;
        }
        let phase = self.phase.borrow();
        Some(if phase.is_before_ready() {
            runtime::invalid_transition(phase.name(), "InvocationResponse")
        } else {
            runtime::invalid_request_id()
        })
    }

    async fn respond_whole(&self, id: &str, headers: &HeaderMap, body: &mut Incoming) -> Response {
        match payload::answer(headers, body, &self.answers_room).await {
            Ok(body) => {
                let outcome = Outcome {
                    is_error: false,
                    content_type: content_type(headers),
                    body,
                };
                self.finish(id, outcome).await;
                runtime::accepted()
            }
            Err(unfit) => self.unfit(id, unfit).await,
        }
    }

    /// Tells the caller what was wrong with the answer, and the workload as well.
    async fn unfit(&self, id: &str, unfit: Unfit) -> Response {
        let error = match unfit {
            Unfit::TooLarge(length) => {
                let length = length.map(|length| format!(" ({length} bytes)")).unwrap_or_default();
                let message = format!(
                    "Response payload size{length} exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
                );
                error_body("Function.ResponseSizeTooLarge", &message)
            }
            Unfit::NoRoom => error_body(
                "Runtime.NoRoom",
                "the answers that other callers have yet to take fill the memory for answers",
            ),
            Unfit::Broken => error_body("Runtime.TruncatedResponse", "the runtime's answer broke off"),
        };
        self.finish(id, Outcome::failed(error)).await;
        refused(unfit)
    }

    async fn respond_streaming(&self, id: &str, headers: &HeaderMap, mut body: Incoming) -> Response {
        let (frames, to_caller) = Body::frames();
        let answer = Answer::Streamed {
            content_type: content_type(headers),
            body: to_caller,
        };
        let accepts_trailers = self.queue.with_running(id, |running| {
            let caller = running.caller.take();
            // One who is gone shows when the first piece is sent.
            let _ = caller.map(|caller| caller.send(answer));
            running.accepts_trailers
        });
        let (failed, is_broken) = pass_on(&mut body, &frames).await;
        let log_result = self.finish(id, None).await;
        end_stream(&frames, failed, log_result, accepts_trailers.unwrap_or(false)).await;
        if is_broken {
            return refused(Unfit::Broken);
        }
        runtime::accepted()
    }
}

/// Passes a stream on, piece by piece. Gives the trailers of a failure, if it ends in one, and whether it broke off.
async fn pass_on(body: &mut Incoming, frames: &Frames) -> (Option<HeaderMap>, bool) {
    let mut trailers = HeaderMap::new();
    // Once the caller is gone the rest is read and dropped: the workload does not notice.
    let mut is_wanted = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            trailers.insert(HeaderName::from_static(ERROR_TYPE_TRAILER), TRUNCATED);
            return (Some(trailers), true);
        };
        match frame.into_data() {
            Ok(data) if is_wanted => is_wanted = send(frames, Ok(Frame::data(data))).await,
            Ok(_) => {}
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    let failed = only_errors(&trailers);
    (failed.contains_key(ERROR_TYPE_TRAILER).then_some(failed), false)
}

/// The workload's trailers reach the host's caller, so only the two that mean something pass.
fn only_errors(trailers: &HeaderMap) -> HeaderMap {
    [ERROR_TYPE_TRAILER, ERROR_BODY_TRAILER]
        .into_iter()
        .filter_map(|name| Some((HeaderName::from_static(name), trailers.get(name)?.clone())))
        .collect()
}

async fn end_stream(frames: &Frames, failed: Option<HeaderMap>, log_result: Option<String>, accepts_trailers: bool) {
    let is_failed = failed.is_some();
    let mut trailers = failed.unwrap_or_default();
    trailers.extend(
        log_result
            .and_then(|log| HeaderValue::try_from(log).ok())
            .map(|log| (HeaderName::from_static(LOG_RESULT_HEADER), log)),
    );
    if is_failed && !accepts_trailers {
        // Cuts the connection, so that half an answer is not taken for a whole one.
        send(frames, Err(io::Error::other("the function's stream failed"))).await;
    } else if !trailers.is_empty() {
        send(frames, Ok(Frame::trailers(trailers))).await;
    }
}

/// Whether the caller is still there.
async fn send(frames: &Frames, frame: io::Result<Frame<Bytes>>) -> bool {
    tokio::time::timeout(CALLER_STALL, frames.send(frame))
        .await
        .is_ok_and(|sent| sent.is_ok())
}

fn content_type(headers: &HeaderMap) -> HeaderValue {
    headers.get(CONTENT_TYPE).cloned().unwrap_or(DEFAULT_TYPE)
}

fn invalid_mode() -> Response {
    failure::error(
        StatusCode::BAD_REQUEST,
        "InvalidFunctionResponseMode",
        "Invalid function response mode",
    )
}

/// What the workload hears of a body that was not kept.
pub(super) fn refused(unfit: Unfit) -> Response {
    match unfit {
        Unfit::TooLarge(_) => failure::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            &format!("Exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."),
        ),
        Unfit::NoRoom => failure::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "Internal Server Error",
        ),
        Unfit::Broken => failure::error(
            StatusCode::BAD_REQUEST,
            "TruncatedHTTPRequest",
            "HTTP request detected as truncated",
        ),
    }
}
