//! Making machines.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{CreateMachine, Machine, ProblemCode};
use hearth_domain::{Action, DriverKind, MachineName, MachineSpec, SealedSecret};
use hearth_ids::{MachineId, ProjectId};
use hearth_node_api::NodeError;
use hearth_store::{Desired, IdempotencyKey, InsertError, MachineRow, Made, NewMachine, SnapshotRow, StoreError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tracing::{debug, warn};

pub(crate) use super::plan::Facts;
use super::{
    name,
    plan::{self, Plan},
    restore::{self, Given},
    view,
};
use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::ApiBody,
    fault, functions, made_before,
    snapshots::{find, warm},
    tenancy::secrets,
    time::now_unix_ms,
};

/// How often a made-up name is tried.
const NAME_TRIES: u32 = 6;

/// Makes a machine, and starts it if asked to. The image must be on the node already. From a
/// snapshot, it goes on where that was made. With an `Idempotency-Key` header
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
    let key = made_before::key(&headers, &[], &request)?;
    if let Some(key) = &key
        && let Some(row) = made(&app, tenant.project, key).await?
    {
        return Ok(answer(&app, StatusCode::OK, row));
    }
    let source = source(&app, &tenant, &request).await?;
    let start = request.start;
    let claimable = source.claimable(&request);
    if let Some(snapshot) = claimable
        && let Some(id) = app.warm.take(snapshot)
    {
        match insert(&app, &tenant, request.clone(), &source, key.clone(), Some(id)).await {
            Ok(row) if claim(&app, &row).await? => {
                app.warm.note_wanted(snapshot);
                return Ok(answer(&app, StatusCode::CREATED, row));
            }
            // It is made, as another one.
            Ok(_) => {}
            Err(_) => app.warm.put_back(snapshot.id, id),
        }
    }
    let row = match insert(&app, &tenant, request, &source, key.clone(), None).await {
        Ok(row) => row,
        // Another request with the key was faster.
        Err(Refused::KeyUsed(key)) => return in_progress(&app, tenant.project, &key).await,
        Err(Refused::Other(error)) => return Err(error),
    };
    if let Some(snapshot) = claimable {
        app.warm.note_wanted(snapshot);
    }
    if let Err(error) = hand_over(&app, &row, start).await {
        return Err(match &source {
            Source::Snapshot(_, snapshot) => find::refused(&app, snapshot, error).await,
            Source::Image(..) => error.into(),
        });
    }
    Ok(answer(&app, StatusCode::CREATED, row))
}

/// What a machine begins with.
enum Source {
    /// An image, which it boots, with the secrets of its program.
    Image(Facts, Vec<SealedSecret>, DriverKind),
    /// A snapshot, from which it goes on, or whose disk it boots with.
    Snapshot(Given, Box<SnapshotRow>),
}

/// Looks up what a machine is to begin with.
async fn source(app: &App, tenant: &Tenant, request: &CreateMachine) -> ApiResult<Source> {
    if let Some(snapshot) = &request.snapshot {
        let row = find::ready(app, tenant, snapshot).await?;
        let given = given(app, request, tenant.host).await?;
        return Ok(Source::Snapshot(given, Box::new(row)));
    }
    plan::check(request)?;
    let used = functions::plan::secrets(&request.secrets)?;
    let sealed = secrets::sealed(app, tenant, &used).await?;
    let driver = match request.driver {
        Some(driver) => driver.into(),
        None => app.default_driver().await?,
    };
    let facts = facts(app, request, driver, tenant.host).await?;
    Ok(Source::Image(facts, sealed, driver))
}

impl Source {
    /// The snapshot of which a machine that waits would do: such a one has its slot already, without ports.
    fn claimable(&self, request: &CreateMachine) -> Option<&SnapshotRow> {
        match self {
            Self::Snapshot(_, snapshot) if request.start && request.ports.is_empty() && snapshot.has_memory() => {
                Some(snapshot)
            }
            _ => None,
        }
    }

    fn plan(&self, request: &CreateMachine, name: MachineName, id: MachineId) -> ApiResult<Plan> {
        match self {
            Self::Image(facts, sealed, driver) => {
                let mut plan = plan::plan(request.clone(), facts, name, id, *driver)?;
                plan.spec.workload.secrets.clone_from(sealed);
                Ok(plan)
            }
            Self::Snapshot(given, snapshot) => restore::plan(request, given, snapshot, name, id),
        }
    }
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

async fn made(app: &App, project: ProjectId, key: &IdempotencyKey) -> ApiResult<Option<MachineRow>> {
    let Some(used) = made_before::used(app, project, key).await? else {
        return Ok(None);
    };
    let row = match used.made {
        Made::Machine(id) => app.store.machine(id).await?,
        Made::Snapshot(_) => None,
    };
    row.map(Some).ok_or_else(|| made_before::removed(used.made))
}

async fn in_progress(app: &App, project: ProjectId, key: &IdempotencyKey) -> ApiResult<Response> {
    match made(app, project, key).await? {
        Some(row) => Ok(answer(app, StatusCode::OK, row)),
        None => Err(made_before::in_progress()),
    }
}

/// Looks up the image and the kernel that a request for a machine from a snapshot names. What is not there is no snapshot's.
async fn given(app: &App, request: &CreateMachine, host: bool) -> ApiResult<Given> {
    let (images, kernels) = (app.images.clone(), Arc::clone(&app.kernels));
    let (image, kernel) = (request.image.clone(), request.kernel.clone());
    app.blocking(move || {
        let image = crate::images::find(&images, host, &image).ok();
        let kernel = kernel.and_then(|kernel| kernels.get(&kernel).ok());
        Given {
            image_id: image.map(|(id, _)| id.to_string()),
            kernel_id: kernel.map(|bundle| bundle.id),
        }
    })
    .await
}

/// Looks up image and kernel.
async fn facts(app: &App, request: &CreateMachine, driver: DriverKind, host: bool) -> ApiResult<Facts> {
    facts_of(app, &request.image, request.kernel.clone(), driver, host).await
}

/// The same of an image and a kernel; without one, it is the default kernel.
pub(crate) async fn facts_of(
    app: &App,
    image: &str,
    kernel: Option<String>,
    driver: DriverKind,
    host: bool,
) -> ApiResult<Facts> {
    let (images, kernels) = (app.images.clone(), Arc::clone(&app.kernels));
    let image = image.to_owned();
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
    source: &Source,
    key: Option<IdempotencyKey>,
    waiting: Option<MachineId>,
) -> Result<MachineRow, Refused> {
    let wanted = plan::name(&request)?;
    for attempt in 0..NAME_TRIES {
        let made_up = || name::make_up(attempt).ok_or_else(|| ApiError::internal("cannot make up a name"));
        let name = wanted.clone().map_or_else(made_up, Ok)?;
        let plan = source.plan(&request, name, waiting.unwrap_or_else(MachineId::new))?;
        let spec = MachineSpec {
            project: tenant.project,
            ..plan.spec
        };
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

/// What stands in the store of a machine just inserted.
pub(crate) fn row_of(new: NewMachine) -> MachineRow {
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

/// Has a machine that waits become this one. Where that fails, nothing is left of it and of its row, or no more after the
/// next start.
pub(crate) async fn claim(app: &App, row: &MachineRow) -> Result<bool, StoreError> {
    fault::point("warm.booked");
    let id = row.spec.id;
    let Err(error) = app.node.claim(row.spec.clone()).await else {
        debug!(%id, "a machine that waited is claimed");
        return Ok(true);
    };
    warn!(%id, %error, "a machine that waited cannot be claimed; another is made");
    undo(app, id).await?;
    Ok(false)
}

/// Removes a machine that nobody is to have, and what is booked of it. The node may have it whole by now, and without a row the
/// next start would take it for somebody's. So the row goes last, and says until then that the machine should be gone.
async fn undo(app: &App, id: MachineId) -> Result<(), StoreError> {
    let noted = app.store.give_up_machine(id).await;
    if let Err(error) = app.node.remove(id, true).await {
        warn!(%id, %error, "cannot remove a machine that is nobody's; it is tried again at the next start");
        return noted;
    }
    // What the node told of its end goes with the row.
    app.flush().await;
    app.store.withdraw_machine(id).await
}

async fn create_and_start(app: &App, row: &MachineRow, start: bool) -> Result<(), NodeError> {
    app.node.create(row.spec.clone()).await?;
    if start {
        app.node.start(row.spec.id).await?;
    }
    Ok(())
}

/// Gives the machine to the node. If it does not take it, there is no such machine.
pub(crate) async fn hand_over(app: &App, row: &MachineRow, start: bool) -> Result<(), NodeError> {
    let id = row.spec.id;
    let give = || create_and_start(app, row, start);
    let taken = warm::with_room(app, &row.spec.resources, give).await;
    let Err(error) = taken else { return Ok(()) };
    if let Err(error) = undo(app, id).await {
        warn!(%id, %error, "cannot forget a machine that could not be made");
    }
    Err(error)
}
