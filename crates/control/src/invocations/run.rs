//! Running kept calls: when they are due, as often as the rule allows.
//!
//! Each try is counted before it is begun; one that no instance had is given back. What follows on a try that was cut off
//! is decided by the next process, in [`super::resume`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use hearth_domain::{Retry, RetryRule, plan_retry};
use hearth_gateway::{Body, CallError, CallOptions, ExecutedVersion, Qualifier, Target};
use hearth_ids::InvocationId;
use hearth_store::{InvocationRow, InvocationSource, InvocationState, Outcome, StoreError};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, warn};

use super::accept;
use crate::{app::App, fault, metrics, time::now_unix_ms};

/// Kept calls that run at a time: in all, of a project, of a function. Others' wait for none of these.
const RUNNING_MAX: usize = 256;
const RUNNING_OF_PROJECT: u32 = 128;
const RUNNING_OF_FUNCTION: u32 = 64;
/// How long a result is kept, in milliseconds.
const RESULT_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// What is kept of an answer, in bytes.
const ANSWER_MAX: usize = 256 * 1024;
/// How long nothing is looked for at most: clocks jump, and results grow old.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often old results are looked for, and what there is is added up: that reads the whole table.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);
/// The least time between two looks: each reads all that is due, and calls may come by the thousand.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// The wait after a store that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long a call waits that no instance had, at least and at most: a share of its age between.
const UNSENT_PAUSE_MS: u64 = 2_000;
const UNSENT_PAUSE_MAX_MS: u64 = 60_000;
const UNSENT_PAUSE_SHARE: u64 = 4;
/// The waits between tries to note how a call ended.
const NOTE_PAUSE: Duration = Duration::from_secs(2);
const NOTE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Lambda's header of an answer that is an error of the function's own.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// Runs kept calls until told to stop. Calls that run then are waited for by whoever owns `tasks`.
pub(crate) async fn run(app: Weak<App>, tasks: TaskTracker, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(RUNNING_MAX));
    let Some(kept) = app
        .upgrade()
        .and_then(|app| Some(Arc::clone(&app.plane.get()?.keeper.kept)))
    else {
        return;
    };
    let mut swept: Option<Instant> = None;
    loop {
        let looked = Instant::now();
        let wait = match app.upgrade() {
            None => return,
            Some(app) => match look(&app, &tasks, &room, &mut swept).await {
                Ok(wait) => wait,
                Err(error) => {
                    error!(
                        error = hearth_domain::chain(&error),
                        "cannot look for calls that are due; trying again"
                    );
                    RETRY_PAUSE
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = kept.notified() => tokio::time::sleep(LOOK_PAUSE.saturating_sub(looked.elapsed())).await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Sweeps, if that is due, and starts what is; says when to look again.
async fn look(
    app: &Arc<App>,
    tasks: &TaskTracker,
    room: &Arc<Semaphore>,
    swept: &mut Option<Instant>,
) -> Result<Duration, StoreError> {
    if swept.is_none_or(|at| at.elapsed() > SWEEP_PAUSE) {
        sweep(app).await?;
        *swept = Some(Instant::now());
    }
    start_due(app, tasks, room).await
}

/// Forgets results whose time is over, and learns what projects' calls take.
async fn sweep(app: &App) -> Result<(), StoreError> {
    let before = now_unix_ms().saturating_sub(RESULT_KEPT_MS);
    app.store.forget_invocations(before).await?;
    app.plane().keeper.learn(app.store.invocations_held().await?);
    Ok(())
}

/// Starts what is due; says when to look again.
async fn start_due(app: &Arc<App>, tasks: &TaskTracker, room: &Arc<Semaphore>) -> Result<Duration, StoreError> {
    loop {
        let free = u32::try_from(room.available_permits()).unwrap_or(u32::MAX);
        if free == 0 {
            // Whoever ends wakes us.
            return Ok(LOOK_AGAIN);
        }
        let now = now_unix_ms();
        let due = app
            .store
            .take_invocations(now, free, RUNNING_OF_FUNCTION, RUNNING_OF_PROJECT)
            .await?;
        if due.is_empty() {
            // What is due and was not taken waits for others to end, and whoever ends wakes us.
            let next = app.store.next_invocation_due(now).await?;
            let wait = next.map_or(LOOK_AGAIN, |due| Duration::from_millis(due.saturating_sub(now)));
            return Ok(wait.min(LOOK_AGAIN));
        }
        for call in due {
            let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
                break;
            };
            let app = Arc::clone(app);
            tasks.spawn(async move {
                attempt(&app, call).await;
                drop(permit);
                if let Some(plane) = app.plane.get() {
                    plane.keeper.kept.notify_one();
                }
            });
        }
    }
}

/// What a try came to.
enum Tried {
    Answered(Answer),
    /// No instance had it: that is no fault of its own, and no try.
    Unsent(String),
    /// It may go better another time.
    Failed(Option<Answer>, String),
    /// It never will.
    Refused(Option<Answer>, String),
}

struct Answer {
    status: StatusCode,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    version: Option<u32>,
}

async fn attempt(app: &App, call: InvocationRow) {
    let id = call.id;
    fault::point("call.claimed");
    let begun = now_unix_ms();
    let tried = match app.store.invocation_body(id).await {
        Ok(body) => invoke(app, &call, body).await,
        Err(error) => Tried::Unsent(error.to_string()),
    };
    fault::point("call.answered");
    let ended = now_unix_ms();
    if call.alone
        && let Err(error) = app.store.ran_alone(call.project, begun, ended).await
    {
        // The next one may come from the same project.
        warn!(%id, error = hearth_domain::chain(&error), "cannot note how long a kept call ran alone");
    }
    let outcome = outcome(&call, tried, ended, rand::random());
    metrics::attempted(outcome.state);
    debug!(%id, attempt = call.attempts, state = outcome.state.as_str(), error = outcome.error, "tried a kept call");
    note(app, id, &outcome).await;
    fault::point("call.noted");
}

/// Notes how a try ended, however often that fails. If we go down before, the call is tried again after the next start.
async fn note(app: &App, id: InvocationId, outcome: &Outcome) {
    let mut pause = NOTE_PAUSE;
    while let Err(error) = app.store.finish_invocation(id, outcome).await {
        warn!(%id, error = hearth_domain::chain(&error), "cannot note how a kept call ended; trying again");
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(NOTE_PAUSE_MAX);
    }
}

async fn invoke(app: &App, call: &InvocationRow, body: Vec<u8>) -> Tried {
    let Some(plane) = app.plane.get() else {
        return Tried::Unsent("the server goes down".into());
    };
    let Ok(qualifier) = call.qualifier.as_deref().unwrap_or_default().parse::<Qualifier>() else {
        return Tried::Refused(None, "its qualifier is not valid".into());
    };
    let Some(request) = request(call, body) else {
        return Tried::Refused(None, "its request is not valid".into());
    };
    let target = Target {
        function: call.function,
        qualifier,
    };
    let options = CallOptions {
        invocation: Some(call.id),
        raw_event: call.source != InvocationSource::Http,
        ..CallOptions::default()
    };
    match plane.gateway.call(target, request, options).await {
        Ok(response) => judged(collect(response).await),
        Err(error) => failed(app, call, &error).await,
    }
}

async fn failed(app: &App, call: &InvocationRow, error: &CallError) -> Tried {
    let reason = error.to_string();
    match error {
        // The gateway may know of a change a moment later than the store.
        CallError::NoRoute => match app.store.function(call.function).await {
            Ok(Some(_)) if call.qualifier.is_none() => Tried::Unsent(reason),
            Ok(_) => Tried::Refused(None, reason),
            Err(error) => Tried::Unsent(error.to_string()),
        },
        CallError::BadRequest(_) | CallError::BodyTooLarge { .. } | CallError::UriTooLong { .. } => {
            Tried::Refused(None, reason)
        }
        CallError::NoRoom
        | CallError::NoInstance { .. }
        | CallError::QueueFull { .. }
        | CallError::RateLimited { .. }
        | CallError::KeysUnavailable
        | CallError::ShuttingDown => Tried::Unsent(reason),
        _ => Tried::Failed(None, reason),
    }
}

fn request(call: &InvocationRow, body: Vec<u8>) -> Option<Request<Body>> {
    let mut request = Request::builder()
        .method(call.head.method.as_str())
        .uri(call.head.path.as_str());
    for (name, value) in &call.head.headers {
        request = request.header(name, value);
    }
    request
        .header("x-hearth-invocation-id", call.id.to_string())
        .header("x-hearth-attempt", call.attempts)
        .body(Body::full(body))
        .ok()
}

async fn collect(response: http::Response<Body>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    let read = Limited::new(body, ANSWER_MAX).collect();
    // The gateway ends a call whose time is over; this is for answers that never end.
    let body = match timeout(Duration::from_mins(16), read).await {
        Err(_) => return Err("its answer did not end in time".into()),
        Ok(Ok(whole)) => whole.to_bytes().to_vec(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            format!("(the answer is longer than the {ANSWER_MAX} bytes that are kept)").into_bytes()
        }
        Ok(Err(error)) => return Err(format!("its answer was cut off: {error}")),
    };
    Ok(Answer {
        status: parts.status,
        version: parts.extensions.get::<ExecutedVersion>().map(|version| version.0),
        headers: parts.headers.iter().filter_map(accept::text).collect(),
        body,
    })
}

/// Whether an answer is one, or should be asked for again: what the function refuses (4xx) it would refuse again.
fn judged(answer: Result<Answer, String>) -> Tried {
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => return Tried::Failed(None, reason),
    };
    if let Some(kind) = answer.headers.get(FUNCTION_ERROR) {
        let reason = format!("the function failed ({kind})");
        return Tried::Failed(Some(answer), reason);
    }
    let status = answer.status;
    let reason = format!("the function answered {status}");
    match status.as_u16() {
        408 | 425 | 429 | 500.. => Tried::Failed(Some(answer), reason),
        400..=499 => Tried::Refused(Some(answer), reason),
        _ => Tried::Answered(answer),
    }
}

fn outcome(call: &InvocationRow, tried: Tried, now_unix_ms: u64, random: f64) -> Outcome {
    let rule = RetryRule::default();
    let age_ms = now_unix_ms.saturating_sub(call.created_unix_ms);
    let uncounted = matches!(tried, Tried::Unsent(_));
    let (answer, error, again_ms) = match tried {
        Tried::Answered(answer) => (Some(answer), None, None),
        Tried::Refused(answer, reason) => (answer, Some(reason), None),
        Tried::Unsent(reason) if age_ms > rule.max_age_ms => (None, Some(reason), None),
        Tried::Unsent(reason) => (None, Some(reason), Some(unsent_pause(age_ms, random))),
        Tried::Failed(answer, reason) => match plan_retry(rule, call.attempts, age_ms, random) {
            Retry::After(wait_ms) => (answer, Some(reason), Some(wait_ms)),
            Retry::GiveUp(why) => (answer, Some(format!("{reason}; {why}")), None),
        },
    };
    let state = match (&error, again_ms) {
        (None, _) => InvocationState::Succeeded,
        (Some(_), Some(_)) => InvocationState::Queued,
        (Some(_), None) => InvocationState::Dead,
    };
    let (version, status, answer_headers, answer_body) = match answer {
        Some(answer) => (
            answer.version,
            Some(answer.status.as_u16()),
            answer.headers,
            answer.body,
        ),
        None => (None, None, BTreeMap::new(), Vec::new()),
    };
    Outcome {
        state,
        due_unix_ms: again_ms.map_or(call.due_unix_ms, |wait_ms| now_unix_ms + wait_ms),
        finished_unix_ms: again_ms.is_none().then_some(now_unix_ms),
        version,
        status,
        answer_headers,
        answer_body,
        error,
        uncounted,
    }
}

/// Longer the longer it waits already, and not the same for all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a pause of a minute at most, which need not be exact"
)]
fn unsent_pause(age_ms: u64, random: f64) -> u64 {
    let pause = (age_ms / UNSENT_PAUSE_SHARE).clamp(UNSENT_PAUSE_MS, UNSENT_PAUSE_MAX_MS) as f64;
    (pause * (0.5 + random.clamp(0.0, 1.0) / 2.0)) as u64
}

#[cfg(test)]
mod tests {
    use hearth_ids::{FunctionId, InvocationId, ProjectId};
    use hearth_store::RequestHead;

    use super::*;

    fn call(attempts: u32) -> InvocationRow {
        InvocationRow {
            id: InvocationId::new(),
            project: ProjectId::DEFAULT,
            function: FunctionId::new(),
            qualifier: None,
            source: InvocationSource::Http,
            head: RequestHead::default(),
            state: InvocationState::Running,
            attempts,
            alone: false,
            due_unix_ms: 1000,
            created_unix_ms: 1000,
            finished_unix_ms: None,
            version: None,
            status: None,
            answer_headers: BTreeMap::new(),
            error: None,
        }
    }

    fn answered(status: u16, function_error: bool) -> Tried {
        let mut headers = BTreeMap::new();
        if function_error {
            headers.insert(FUNCTION_ERROR.to_owned(), "Unhandled".to_owned());
        }
        judged(Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: b"x".to_vec(),
            version: Some(2),
        }))
    }

    #[test]
    fn what_may_go_better_is_tried_again_and_then_is_dead() {
        use InvocationState::{Dead, Queued, Succeeded};
        for (tried, attempts, state) in [
            (answered(200, false), 1, Succeeded),
            (answered(302, false), 1, Succeeded),
            (answered(200, true), 1, Queued),
            (answered(500, false), 2, Queued),
            (answered(429, false), 1, Queued),
            (answered(404, false), 1, Dead),
            (answered(500, false), 3, Dead),
            (Tried::Failed(None, "it crashed".into()), 1, Queued),
            (Tried::Unsent("no room".into()), 3, Queued),
            (Tried::Unsent("no room".into()), 99, Queued),
            (Tried::Refused(None, "gone".into()), 1, Dead),
        ] {
            let outcome = outcome(&call(attempts), tried, 2000, 0.5);
            assert_eq!(outcome.state, state);
            assert_eq!(outcome.finished_unix_ms.is_some(), state != Queued);
            assert_eq!(outcome.error.is_some(), state != Succeeded);
            assert!(state != Queued || outcome.due_unix_ms >= 2000);
        }
        let too_old = RetryRule::default().max_age_ms + 2000;
        assert_eq!(outcome(&call(1), answered(500, false), too_old, 0.5).state, Dead);
        assert_eq!(
            outcome(&call(1), Tried::Unsent(String::new()), too_old, 0.5).state,
            Dead
        );
    }
}
