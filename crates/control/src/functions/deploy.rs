//! Deploying: a function, and a version of it.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{DeployFunction, Deployment, ProblemCode};
use hearth_domain::{Action, DriverKind, FunctionSpec, Traffic, VersionSpec};
use hearth_store::{FunctionError, FunctionRow, LIVE, LambdaFacts, VersionRow};

use super::{
    plan::{self, Facts},
    view,
};
use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    fault, images,
    time::now_unix_ms,
};

/// Deploys a function: makes it if there is none, and a new version unless the newest is the same already. Calls go to
/// the version at once, unless told otherwise. Safe to repeat.
#[utoipa::path(put, path = "/v1/functions/{function}", tag = "functions", operation_id = "deploy_function",
    params(("function" = String, Path, description = "Name")), request_body = DeployFunction,
    responses((status = 200, description = "The function and the version", body = Deployment), Problems))]
pub(crate) async fn deploy(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Deployment>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let request: DeployFunction = body.json().await?;
    let deployed = deploy_as(&app, &tenant, &name, request, Of::Any, &LambdaFacts::default()).await?;
    let function = app.shown_function(&tenant, deployed.function).await?;
    Ok(Json(Deployment {
        function,
        version: view::version(deployed.version),
        new: deployed.new,
    }))
}

/// What a deployment came to.
pub(crate) struct Deployed {
    pub(crate) function: FunctionRow,
    pub(crate) version: VersionRow,
    /// Whether the version is new.
    pub(crate) new: bool,
}

/// Which function a deployment may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Any,
    /// Of none that is there: whoever makes one does not mean another's, though that was made a moment ago.
    New,
    /// Of none that is to be made: it was there a moment ago.
    Known,
}

/// Deploys for a tenant who may. `noted` is what the Lambda API notes of the version, if it is new.
pub(crate) async fn deploy_as(
    app: &App,
    tenant: &Tenant,
    name: &str,
    request: DeployFunction,
    of: Of,
    noted: &LambdaFacts,
) -> ApiResult<Deployed> {
    let name = plan::name(name)?;
    let contract = plan::contract(&request)?;
    let before = app.store.function_by_label(tenant.project, &name.label()).await?;
    check_is(of, before.as_ref())?;
    let spec_before = before.as_ref().map(|row| row.spec.clone());
    let spec = plan::function(spec_before, tenant.project, name, contract, &request.settings)?;
    // Once without the image, so that a bad request fails before anything is looked up.
    let anything = Facts {
        image_has_program: true,
        ..Facts::default()
    };
    plan::version(request.clone(), spec.id, &anything)?;
    let facts = facts(app, tenant, &request).await?;
    let live = !request.no_traffic;
    let wanted = plan::version(request, spec.id, &facts)?;
    check_surroundings(app, tenant, &wanted).await?;
    if before.as_ref().is_some_and(|row| row.spec != spec) {
        app.store.update_function(&spec, now_unix_ms()).await?;
    }
    let (version, new) = match same(app, before.as_ref(), &wanted).await? {
        // Pinned again, in case that failed when it was made.
        Some(same) => {
            super::source::pin(app, &same.spec).await?;
            (same, false)
        }
        None => (
            insert(app, before.is_none().then_some(&spec), wanted, live, noted).await?,
            true,
        ),
    };
    super::owned::deployed(app, tenant.project, &version.spec.layers).await?;
    if live && !new {
        let all = Traffic::all_to(version.spec.number);
        app.store.set_alias(spec.id, LIVE, &all, None, now_unix_ms()).await?;
    }
    app.plane().routes_changed(app).await?;
    let function = app.store.function(spec.id).await?;
    let function = function.ok_or_else(|| super::find::no_function(spec.name.as_str()))?;
    Ok(Deployed { function, version, new })
}

fn check_is(of: Of, before: Option<&FunctionRow>) -> Result<(), FunctionError> {
    match (of, before) {
        (Of::New, Some(row)) => Err(FunctionError::NameTaken {
            holder: row.spec.name.to_string(),
        }),
        (Of::Known, None) => Err(FunctionError::Gone),
        _ => Ok(()),
    }
}

/// The newest version, if it is as wanted.
async fn same(app: &App, before: Option<&FunctionRow>, wanted: &VersionSpec) -> ApiResult<Option<VersionRow>> {
    let Some(row) = before else { return Ok(None) };
    let newest = app.store.version(row.spec.id, row.latest).await?;
    Ok(newest.filter(|newest| newest.spec.makes_the_same(wanted)))
}

/// Adds a version, and with it the function if it is new: one without versions could be neither called nor, by the Lambda
/// API, made.
async fn insert(
    app: &App,
    new: Option<&FunctionSpec>,
    wanted: VersionSpec,
    live: bool,
    noted: &LambdaFacts,
) -> ApiResult<VersionRow> {
    let now = now_unix_ms();
    let row = match new {
        Some(function) => app.store.insert_function(function, wanted, noted, now).await?,
        None => app.store.insert_version(wanted, live, noted, now).await?,
    };
    fault::point("deploy.version");
    if let Err(error) = super::source::pin(app, &row.spec).await {
        // The version is there all the same, and can be called; whoever deploys it again has it pinned.
        app.plane().routes_changed(app).await?;
        return Err(error);
    }
    Ok(row)
}

/// Looks up the image.
async fn facts(app: &App, tenant: &Tenant, request: &DeployFunction) -> ApiResult<Facts> {
    let image = plan::image(request)?;
    let runtime = request.runtime;
    let (images, host) = (app.images.clone(), tenant.host);
    let wanted = image.clone();
    let found = app.blocking(move || images::find(&images, host, &wanted)).await?;
    let (image_id, config) = found.map_err(|error| match runtime {
        Some(_) => ApiError::new(
            ProblemCode::ImageNotFound,
            format!("the image {image} of this runtime is not on the node; make it and import it with: make runtimes"),
        )
        .caused_by(error),
        None => error.into(),
    })?;
    Ok(Facts {
        image_id: image_id.to_string(),
        image_has_program: !config.entrypoint.is_empty() || !config.cmd.is_empty(),
    })
}

/// Refuses now what every instance would fail for.
async fn check_surroundings(app: &App, tenant: &Tenant, version: &VersionSpec) -> ApiResult<()> {
    for used in &version.secrets {
        let name = used
            .name
            .parse()
            .map_err(|_| ApiError::field("secrets", "a secret has no valid name"))?;
        if app.store.secret(tenant.project, &name).await?.is_none() {
            return Err(ApiError::field(
                "secrets",
                format!("there is no secret {name}; set it first: hearth secret set {name}"),
            ));
        }
    }
    for source in &version.layers {
        super::source::check(app, tenant, source).await?;
    }
    let driver = match version.driver {
        Some(driver) => driver,
        None => app.default_driver().await?,
    };
    let kernels = app.kernels.clone();
    let kernel = app.blocking(move || kernels.default_bundle()).await?;
    if kernel.is_none() && driver != DriverKind::Fake {
        return Err(ApiError::new(
            ProblemCode::KernelNotFound,
            "there is no kernel yet; import one first: hearth kernel import --deb linux-image-….deb",
        ));
    }
    Ok(())
}
