//! How long sandboxes last, and whether they run.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::ProblemCode;
use hearth_domain::Action;
use http::StatusCode;

use super::{sandbox::OLD_TIMEOUT_MS, view, wire};
use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    sandboxes::{self, DEFAULT_TIMEOUT_MS, Pause, Resume, Resumed, timeout_ms},
};

/// What a refresh adds that says nothing else, in seconds.
const REFRESH_S: i64 = 15;

/// `POST …/connect`: the sandbox runs when this is answered, and lasts for so long at least.
pub(super) async fn connect(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Response> {
    // Who connects gets what opens the sandbox.
    let tenant = caller.may(&app, Action::MachineExec).await?;
    let request: wire::Connect = body.json_or_default().await?;
    let timeout_ms = timeout(request.timeout, DEFAULT_TIMEOUT_MS)?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    let how = Resume {
        memory: request.memory.unwrap_or(true),
        ..Resume::lasting(timeout_ms)
    };
    let (resumed, row) = sandboxes::resume(&app, &sandbox, how).await?;
    let status = match resumed {
        Resumed::Ran => StatusCode::OK,
        Resumed::Now => StatusCode::CREATED,
    };
    Ok((status, Json(view::entry(&app, &row))).into_response())
}

fn timeout(seconds: Option<i64>, default_ms: u64) -> ApiResult<u64> {
    seconds.map_or(Ok(default_ms), |seconds| timeout_ms("timeout", seconds))
}

/// `POST …/resume`: the older call, for which a sandbox that runs is a conflict. It may say anew what becomes of the sandbox when
/// its time is over.
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineExec).await?;
    let request: wire::Resume = body.json_or_default().await?;
    let timeout_ms = timeout(request.timeout, OLD_TIMEOUT_MS)?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    let how = Resume {
        timeout_ms,
        memory: request.memory.unwrap_or(true),
        auto_pause: request.auto_pause,
    };
    match sandboxes::resume(&app, &sandbox, how).await? {
        (Resumed::Now, row) => Ok((StatusCode::CREATED, Json(view::entry(&app, &row))).into_response()),
        (Resumed::Ran, _) => Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("sandbox {} is running already", sandbox.id),
        )),
    }
}

/// `POST …/pause`. One whose agent does not answer goes on where its caller says so, or where its memory is to be lost.
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: wire::Pause = body.json_or_default().await?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    let memory = request.memory.unwrap_or(true);
    let how = Pause {
        memory,
        // Without an agent nobody writes what the guest has not yet written to its disk, which would be all that is kept.
        if_healthy: request.require_healthy_guest.unwrap_or(false) || !memory,
    };
    sandboxes::pause(&app, &sandbox, how).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/timeout`: the sandbox ends so long from now, be that later or sooner than before. 0 ends it at once.
pub(super) async fn set_timeout(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: wire::Timeout = body.json().await?;
    let timeout_ms = match request.timeout {
        0 => 0,
        seconds => timeout_ms("timeout", seconds)?,
    };
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    sandboxes::set_end(&app, &sandbox, timeout_ms, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/refreshes`: the sandbox lasts for so long at least.
pub(super) async fn refresh(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: wire::Refresh = body.json_or_default().await?;
    let timeout_ms = timeout_ms("duration", request.duration.unwrap_or(REFRESH_S))?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    sandboxes::set_end(&app, &sandbox, timeout_ms, true).await?;
    Ok(StatusCode::NO_CONTENT)
}
