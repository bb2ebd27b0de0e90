//! The port on which a guest takes calls for its workload when that speaks the Lambda Runtime API.
//!
//! The agent stands between both: calls arrive at [`RUNTIME_PORT`] by plain HTTP/1.1, and the workload fetches and answers them at
//! [`RUNTIME_API_ADDRESS`]. Whoever calls needs no token, since only the machine's host and the machine itself reach the port.
//!
//! - `POST` [`INVOKE_PATH`]: one call; its body is the event. 200 with what the function answered, also when it failed (then with
//!   [`FUNCTION_ERROR_HEADER`]); 400 for a header that makes no sense, 409 for a request ID that is under way, 413, and 429 when
//!   too much waits already.
//! - `GET` [`READY_PATH`]: answered when the workload first asks for work or for its snapshot (200, and which by
//!   [`WAITS_FOR_HEADER`]), or when it failed before (500, and why).
//! - `POST` [`GO_ON_PATH`]: no snapshot will be made; 204.
//!
//! A workload that asks for its snapshot (Lambda's `SnapStart`: `GET /2018-06-01/runtime/restore/next`) goes no further before a
//! machine was restored from it, which the agent learns by an Init with `restore`, whether of a copy or not; or before it hears
//! that there will be none, by [`GO_ON_PATH`] or by a call. From then on [`READY_PATH`] waits for it to ask for work:
//!
//! ```text
//!  starts ───────────────────────── invocation/next ─────────────────────────► ready
//!  │                                                                           │ 200, `calls`
//!  └─ restore/next ─► waits for its snapshot ─ Init, go-on, call ─► goes on ─ invocation/next ─► ready
//!                     │ 200, `snapshot`                             │ not answered yet          │ 200, `calls`
//! ```
//! It may fail anywhere before: by `init/error`, by `restore/error`, which mean the same, or by its end.
//!
//! A streamed answer that fails ends in trailers. Those are sent only to a caller who says `TE: trailers`; to others the
//! connection is cut.

/// The guest's port for calls.
pub const RUNTIME_PORT: u16 = 8080;

/// Where the workload finds the Runtime API: the value of `AWS_LAMBDA_RUNTIME_API`.
pub const RUNTIME_API_ADDRESS: &str = "127.0.0.1:9001";

/// The path of calls: that of AWS's Runtime Interface Emulator.
pub const INVOKE_PATH: &str = "/2015-03-31/functions/function/invocations";

/// The path that waits for the workload to be ready, or to fail with `{"errorType", "errorMessage", "stackTrace"?}`.
pub const READY_PATH: &str = "/_hearth/ready";

/// Of the answer 200 of [`READY_PATH`]: [`WAITS_FOR_CALLS`] or [`WAITS_FOR_SNAPSHOT`]. An agent that knows of no snapshots leaves it
/// out, and means calls.
pub const WAITS_FOR_HEADER: &str = "x-hearth-waits-for";

/// The workload is ready.
pub const WAITS_FOR_CALLS: &str = "calls";

/// The workload has done what it wants to be part of a snapshot, and goes no further before one was restored.
pub const WAITS_FOR_SNAPSHOT: &str = "snapshot";

/// The path that lets the workload go on without a snapshot, now or when it asks for one later. Answers 204, as often as one likes.
pub const GO_ON_PATH: &str = "/_hearth/go-on";

/// The largest event and the largest buffered answer, in bytes: Lambda's 6 MiB, and something for what wraps them.
pub const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024 + 64 * 1024;

/// Calls that may wait for the workload to fetch them.
pub const MAX_WAITING_CALLS: usize = 1000;

/// Of a call: its request ID, at most 128 of `A-Z a-z 0-9 . _ : - $`. Made up when absent.
pub const REQUEST_ID_HEADER: &str = "x-hearth-request-id";

/// Of a call: when the caller gives up, in milliseconds since 1970. 15 minutes from now when absent. The agent passes it on, and
/// does not end the call itself.
pub const DEADLINE_HEADER: &str = "x-hearth-deadline-ms";

/// Of a call: the function's ARN as the caller named it.
pub const FUNCTION_ARN_HEADER: &str = "x-hearth-function-arn";

/// Of a call: the version, for the log. `$LATEST` when absent.
pub const FUNCTION_VERSION_HEADER: &str = "x-hearth-function-version";

/// Of a call: the caller's identity, passed on as it is.
pub const COGNITO_IDENTITY_HEADER: &str = "x-hearth-cognito-identity";

/// Of a call: the trace.
pub const TRACE_ID_HEADER: &str = "x-amzn-trace-id";

/// Of a call: base64 of what the workload gets as its client context.
pub const CLIENT_CONTEXT_HEADER: &str = "x-amz-client-context";

/// Of a call: `Tail` asks for [`LOG_RESULT_HEADER`].
pub const LOG_TYPE_HEADER: &str = "x-amz-log-type";

/// Of an answer, or the trailer of a streamed one: base64 of the last 4 KiB that the workload wrote meanwhile.
pub const LOG_RESULT_HEADER: &str = "x-amz-log-result";

/// Of an answer: the function failed, and the body says how.
pub const FUNCTION_ERROR_HEADER: &str = "x-amz-function-error";

/// Of an answer: `streaming` when it is passed on as the workload writes it.
pub const RESPONSE_MODE_HEADER: &str = "x-hearth-response-mode";

/// The trailer of a streamed answer that failed: the error's type.
pub const ERROR_TYPE_TRAILER: &str = "lambda-runtime-function-error-type";

/// The trailer of a streamed answer that failed: base64 of the error, as the workload wrote it.
pub const ERROR_BODY_TRAILER: &str = "lambda-runtime-function-error-body";
