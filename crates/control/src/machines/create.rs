//! Making machines.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{CreateMachine, Machine, ProblemCode};
use hearth_domain::{Action, DriverKind, MachineSpec, SealedSecret};
use hearth_ids::{MachineId, ProjectId};
use hearth_store::{Desired, IdempotencyKey, InsertError, MachineRow, NewMachine};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{
    name,
    plan::{self, Facts},
    view,
};
use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, idempotency_key},
    functions,
    tenancy::secrets,
    time::now_unix_ms,
};

/// How often a made-up name is tried.
const NAME_TRIES: u32 = 6;

/// Makes a machine, and starts it if asked to. The image must be on the node already. With an `Idempotency-Key` header
/// the request may be sent again: the same machine is answered.
#[utoipa::path(post, path = "/v1/machines", tag = "machines", operation_id = "create_machine",
    params(("idempotency-key" = Option<String>, Header, description = "Makes it safe to send the request again", max_length = 255)),
    request_body = CreateMachine,
    responses(
        (status = 201, description = "It is made", body = Machine),
        (status = 200, description = "It was made before, with the same key", body = Machine),
        Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: CreateMachine = body.json().await?;
    let key = key_of(&headers, &request)?;
    if let Some(key) = &key
        && let Some(row) = made_before(&app, tenant.project, key).await?
    {
        return Ok(answer(&app, StatusCode::OK, row));
    }
    plan::check(&request)?;
    let used = functions::plan::secrets(&request.secrets)?;
    let sealed = secrets::sealed(&app, &tenant, &used).await?;
    let driver = match request.driver {
        Some(driver) => driver.into(),
        None => app.default_driver().await?,
    };
    let facts = facts(&app, &request, driver, tenant.host).await?;
    let start = request.start;
    let row = match insert(&app, &tenant, request, sealed, &facts, driver, key.clone()).await {
        Ok(row) => row,
        // Another request with the key was faster.
        Err(Refused::KeyUsed(key)) => return in_progress(&app, tenant.project, &key).await,
        Err(Refused::Other(error)) => return Err(error),
    };
    hand_over(&app, &row, start).await?;
    Ok(answer(&app, StatusCode::CREATED, row))
}

fn answer(app: &App, status: StatusCode, row: MachineRow) -> Response {
    let place = format!("/v1/machines/{}", row.spec.id);
    let seen = app.status(row.spec.id);
    let mut response = (status, Json(view::machine(row, seen, true))).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

fn key_of(headers: &HeaderMap, request: &CreateMachine) -> ApiResult<Option<IdempotencyKey>> {
    let Some(key) = idempotency_key(headers)? else {
        return Ok(None);
    };
    // The wire type's own JSON: the order of fields and blanks in the request do not matter.
    let canonical = serde_json::to_vec(request).unwrap_or_default();
    let fingerprint = hex::encode(Sha256::digest(canonical));
    Ok(Some(IdempotencyKey { key, fingerprint }))
}

async fn made_before(app: &App, project: ProjectId, key: &IdempotencyKey) -> ApiResult<Option<MachineRow>> {
    let Some(used) = app.store.used_key(project, &key.key).await? else {
        return Ok(None);
    };
    if used.fingerprint != key.fingerprint {
        return Err(ApiError::new(
            ProblemCode::IdempotencyMismatch,
            format!(
                "the idempotency key {:?} was used for another request; use a new one",
                key.key
            ),
        ));
    }
    match app.store.machine(used.machine).await? {
        Some(row) => Ok(Some(row)),
        None => Err(ApiError::new(
            ProblemCode::StateConflict,
            format!(
                "machine {} was made with this idempotency key and is removed; use a new key",
                used.machine
            ),
        )),
    }
}

async fn in_progress(app: &App, project: ProjectId, key: &IdempotencyKey) -> ApiResult<Response> {
    match made_before(app, project, key).await? {
        Some(row) => Ok(answer(app, StatusCode::OK, row)),
        None => Err(ApiError::new(
            ProblemCode::RequestInProgress,
            "a request with the same idempotency key is being handled; ask again",
        )),
    }
}

/// Looks up image and kernel.
async fn facts(app: &App, request: &CreateMachine, driver: DriverKind, host: bool) -> ApiResult<Facts> {
    let (images, kernels) = (app.images.clone(), Arc::clone(&app.kernels));
    let (image, kernel) = (request.image.clone(), request.kernel.clone());
    let (image, kernel) = app
        .blocking(move || {
            let kernel = match kernel {
                Some(wanted) => kernels.get(&wanted).map(Some),
                None => Ok(kernels.default_bundle()),
            };
            (crate::images::find(&images, host, &image), kernel)
        })
        .await?;
    let (image_id, config) = image?;
    let kernel_id = match kernel? {
        Some(bundle) => bundle.id,
        // The fake driver boots nothing.
        None if driver == DriverKind::Fake => String::new(),
        None => {
            return Err(ApiError::new(
                ProblemCode::KernelNotFound,
                "there is no kernel yet; import one first: hearth kernel import --deb linux-image-….deb",
            ));
        }
    };
    Ok(Facts {
        image_id: image_id.to_string(),
        image_entrypoint: config.entrypoint,
        image_cmd: config.cmd,
        kernel_id,
    })
}

enum Refused {
    KeyUsed(IdempotencyKey),
    Other(ApiError),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

/// Notes the machine. A name of our own making that is taken is made up again.
async fn insert(
    app: &App,
    tenant: &Tenant,
    request: CreateMachine,
    sealed: Vec<SealedSecret>,
    facts: &Facts,
    driver: DriverKind,
    key: Option<IdempotencyKey>,
) -> Result<MachineRow, Refused> {
    let wanted = plan::name(&request)?;
    for attempt in 0..NAME_TRIES {
        let made_up = || name::make_up(attempt).ok_or_else(|| ApiError::internal("cannot make up a name"));
        let name = wanted.clone().map_or_else(made_up, Ok)?;
        let plan = plan::plan(request.clone(), facts, name, MachineId::new(), driver)?;
        let mut spec = MachineSpec {
            project: tenant.project,
            ..plan.spec
        };
        spec.workload.secrets.clone_from(&sealed);
        let new = NewMachine {
            spec,
            args: plan.args,
            desired: if request.start {
                Desired::Running
            } else {
                Desired::Stopped
            },
            created_unix_ms: now_unix_ms(),
            key: key.clone(),
            within_quotas: true,
        };
        match (app.store.insert_machine(&new).await, key.as_ref()) {
            (Ok(event), _) => {
                app.publish(event);
                return Ok(row_of(new));
            }
            (Err(InsertError::NameTaken { .. }), _) if wanted.is_none() => {}
            (Err(InsertError::KeyUsed(_)), Some(key)) => return Err(Refused::KeyUsed(key.clone())),
            (Err(error), _) => return Err(Refused::Other(error.into())),
        }
    }
    Err(Refused::Other(ApiError::internal("no made-up name was free; give one")))
}

fn row_of(new: NewMachine) -> MachineRow {
    MachineRow {
        spec: new.spec,
        args: new.args,
        desired: new.desired,
        state: hearth_domain::StateWord::Pending,
        sequence: 0,
        reason: None,
        exit: None,
        restarts: 0,
        created_unix_ms: new.created_unix_ms,
        started_unix_ms: None,
        finished_unix_ms: None,
    }
}

/// Gives the machine to the node. If it does not take it, there is no such machine.
async fn hand_over(app: &App, row: &MachineRow, start: bool) -> ApiResult<()> {
    let id = row.spec.id;
    let taken = match app.node.create(row.spec.clone()).await {
        Ok(()) if start => app.node.start(id).await,
        taken => taken,
    };
    let Err(error) = taken else { return Ok(()) };
    if let Err(error) = app.node.remove(id, true).await {
        warn!(%id, %error, "cannot remove a machine that could not be made; it is tried again at the next start");
    }
    if let Err(error) = app.store.withdraw_machine(id).await {
        warn!(%id, %error, "cannot forget a machine that could not be made");
    }
    Err(error.into())
}
