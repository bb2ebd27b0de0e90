//! Making, changing and removing functions.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{Contract, DeployFunction};
use hearth_domain::Action;
use hearth_store::{FunctionRow, LambdaFacts, VersionRow};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{
    body::{LambdaBody, json},
    code,
    error::{Kind, LambdaError, LambdaResult},
    facts::{FunctionFacts, VersionFacts},
    name::Named,
    plan::{self, DEFAULT_MEMORY_MIB, DEFAULT_TIMEOUT_S},
    view::{LATEST, revision},
    wire::{Code, CreateFunction, Qualified, Settings, UpdateCode},
};
use crate::{
    app::App,
    caller::{Caller, Tenant},
    extract::{ApiPath, ApiQuery},
    functions::{
        change,
        deploy::{self, Of},
    },
    time::now_unix_ms,
};

/// `CreateFunction`.
pub(super) async fn create(State(app): State<Arc<App>>, caller: Caller, body: LambdaBody) -> LambdaResult<Response> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let bytes = body.bytes().await?;
    let (wanted, settings): (CreateFunction, Settings) = (json(&bytes)?, json(&bytes)?);
    drop(bytes);
    let name = required(wanted.function_name.as_deref(), "functionName")?;
    let named = Named::parse(name, None)?;
    let role = required(settings.role.as_deref(), "role")?.to_owned();
    check_tags(&wanted.tags)?;
    let mut request = begun(&wanted, &settings)?;
    if app.named_function(&tenant, &named).await.is_ok() {
        return Err(already(&named.name));
    }
    let mut version_facts = VersionFacts {
        runtime: settings.runtime.clone(),
        ..VersionFacts::default()
    };
    let code = wanted.code.unwrap_or_default();
    code::take(&app, &tenant, code, &mut request, &mut version_facts).await?;
    let facts = FunctionFacts {
        role: Some(role),
        tags: wanted.tags,
        ..FunctionFacts::default()
    };
    let deployed = deployed(&app, &tenant, &named.name, request, version_facts, Some(&facts)).await?;
    let shown = shown(&app, &deployed, wanted.publish).await?;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// The deployment of a new function, without its code.
fn begun(wanted: &CreateFunction, settings: &Settings) -> LambdaResult<DeployFunction> {
    plan::check_meaning(settings, &wanted.architectures)?;
    plan::check_code(wanted.code.as_ref().unwrap_or(&Code::default()))?;
    if wanted.code_signing_config_arn.is_some() {
        return Err(LambdaError::parameter("CodeSigningConfigArn is not possible here"));
    }
    let image = wanted.code.as_ref().is_some_and(|code| code.image_uri.is_some());
    match wanted.package_type.as_deref() {
        None => {}
        Some("Zip") if !image => {}
        Some("Image") if image => {}
        Some(_) => return Err(LambdaError::parameter("PackageType does not go with Code")),
    }
    if image {
        check_image(settings)?;
    } else {
        required(settings.runtime.as_deref(), "runtime")?;
        required(settings.handler.as_deref(), "handler")?;
    }
    let mut request = DeployFunction {
        contract: Some(Contract::Lambda),
        ..DeployFunction::default()
    };
    let usual = Settings {
        timeout: Some(DEFAULT_TIMEOUT_S),
        memory_size: Some(DEFAULT_MEMORY_MIB),
        ..Settings::default()
    };
    plan::apply(&usual, &mut request)?;
    plan::apply(settings, &mut request)?;
    Ok(request)
}

fn check_image(settings: &Settings) -> LambdaResult<()> {
    if settings.runtime.is_some() || settings.handler.is_some() {
        return Err(LambdaError::parameter(
            "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.",
        ));
    }
    Ok(())
}

/// `UpdateFunctionCode`.
pub(super) async fn update_code(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    body: LambdaBody,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let named = unqualified(&path)?;
    let row = app.named_function(&tenant, &named).await?;
    let bytes = body.bytes().await?;
    let (wanted, code): (UpdateCode, Code) = (json(&bytes)?, json(&bytes)?);
    drop(bytes);
    plan::check_code(&code)?;
    plan::check_meaning(&Settings::default(), &wanted.architectures)?;
    let newest = app.newest(&row).await?;
    check_revision(&row, &newest, wanted.revision_id.as_deref())?;
    if code.image_uri.is_some() == newest.spec.runtime.is_some() {
        return Err(LambdaError::parameter(
            "the function's PackageType cannot change: send ZipFile for Zip and ImageUri for Image",
        ));
    }
    let mut request = plan::again(&newest.spec);
    let mut facts = app.version_facts(&newest).await?;
    if wanted.dry_run {
        return app.shown_configuration(&row, &newest, None).await.map(Json);
    }
    code::take(&app, &tenant, code, &mut request, &mut facts).await?;
    let deployed = deployed(&app, &tenant, &named.name, request, facts, None).await?;
    shown(&app, &deployed, wanted.publish).await.map(Json)
}

/// `UpdateFunctionConfiguration`.
pub(super) async fn update_configuration(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    body: LambdaBody,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let named = unqualified(&path)?;
    let settings: Settings = body.json().await?;
    plan::check_meaning(&settings, &[])?;
    let row = app.named_function(&tenant, &named).await?;
    let newest = app.newest(&row).await?;
    check_revision(&row, &newest, settings.revision_id.as_deref())?;
    if newest.spec.runtime.is_none() {
        check_image(&settings)?;
    }
    let mut request = plan::again(&newest.spec);
    plan::apply(&settings, &mut request)?;
    let mut version_facts = app.version_facts(&newest).await?;
    version_facts.runtime = settings.runtime.clone().or(version_facts.runtime);
    version_facts.description = settings.description.clone().or(version_facts.description);
    let deployed = deployed(&app, &tenant, &named.name, request, version_facts, None).await?;
    if let Some(role) = settings.role {
        let mut facts = app.function_facts(row.spec.id).await?;
        facts.role = Some(role);
        app.keep_function_facts(row.spec.id, &facts).await?;
    }
    shown(&app, &deployed, false).await.map(Json)
}

/// What `PublishVersion` is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Publish {
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
}

/// `PublishVersion`. Each change made a version already; this one tells its number.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    body: LambdaBody,
) -> LambdaResult<Response> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let named = unqualified(&path)?;
    let wanted: Publish = body.json().await?;
    let row = app.named_function(&tenant, &named).await?;
    let newest = app.newest(&row).await?;
    check_revision(&row, &newest, wanted.revision_id.as_deref())?;
    let mut facts = app.version_facts(&newest).await?;
    if wanted.code_sha256.is_some() && wanted.code_sha256 != facts.code_sha256 {
        return Err(LambdaError::parameter(
            "CodeSHA256 is different from the function's; it changed meanwhile",
        ));
    }
    if wanted.description.is_some() {
        facts.description = wanted.description;
        keep(&app, &newest, &facts).await?;
    }
    let shown = shown(&app, &(row, newest), true).await?;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `DeleteFunction`: all of it, or one version.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
) -> LambdaResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let named = Named::parse(&path, query.qualifier.as_deref())?;
    let row = app.named_function(&tenant, &named).await?;
    match named.qualifier.as_deref() {
        None => change::remove_row(&app, &row).await?,
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let version = app.qualified(&row, Some(text)).await?;
            change::remove_version_row(&app, &row, &version.spec).await?;
        }
        Some(_) => {
            return Err(LambdaError::parameter(
                "only a published version can be removed by itself; give its number, or nothing to remove the function",
            ));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Deploys, and keeps what is known beside: of the version, and of the function, which is made if that is given.
async fn deployed(
    app: &App,
    tenant: &Tenant,
    name: &str,
    request: DeployFunction,
    mut facts: VersionFacts,
    of_function: Option<&FunctionFacts>,
) -> LambdaResult<(FunctionRow, VersionRow)> {
    facts.modified_unix_ms = Some(now_unix_ms());
    let noted = LambdaFacts::new(of_function, &facts);
    let of = if of_function.is_some() { Of::New } else { Of::Known };
    let deployed = deploy::deploy_as(app, tenant, name, request, of, &noted).await?;
    if !deployed.new {
        keep(app, &deployed.version, &facts).await?;
    }
    Ok((deployed.function, deployed.version))
}

async fn keep(app: &App, version: &VersionRow, facts: &VersionFacts) -> LambdaResult<()> {
    let spec = &version.spec;
    app.store
        .set_lambda_facts(spec.function, spec.number, facts, now_unix_ms())
        .await?;
    Ok(())
}

async fn shown(app: &App, (row, version): &(FunctionRow, VersionRow), published: bool) -> LambdaResult<Value> {
    let number = version.spec.number.to_string();
    app.shown_configuration(row, version, published.then_some(number.as_str()))
        .await
}

/// A name without a qualifier, where only the function itself can be meant.
pub(super) fn unqualified(path: &str) -> LambdaResult<Named> {
    let named = Named::parse(path, None)?;
    match named.qualifier.as_deref() {
        None | Some(LATEST) => Ok(named),
        Some(_) => Err(LambdaError::parameter(
            "versions and aliases cannot be changed like this; name the function without a qualifier",
        )),
    }
}

pub(super) fn required<'a>(value: Option<&'a str>, field: &str) -> LambdaResult<&'a str> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| {
        LambdaError::parameter(format!(
            "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// Refuses a change of what changed meanwhile.
fn check_revision(row: &FunctionRow, newest: &VersionRow, wanted: Option<&str>) -> LambdaResult<()> {
    if wanted.is_none_or(|wanted| wanted == revision(row, newest.spec.number)) {
        return Ok(());
    }
    Err(LambdaError::new(
        Kind::PreconditionFailed,
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction API to retrieve the latest Revision Id",
    ))
}

/// Lambda's bound on tags.
pub(super) fn check_tags(tags: &std::collections::BTreeMap<String, String>) -> LambdaResult<()> {
    let valid = |(name, value): (&String, &String)| (1..=128).contains(&name.len()) && value.len() <= 256;
    if tags.len() <= 50 && tags.iter().all(valid) {
        return Ok(());
    }
    Err(LambdaError::parameter(
        "Tags are not valid: at most 50, with names of 1 to 128 and values of at most 256 bytes",
    ))
}

fn already(name: &str) -> LambdaError {
    LambdaError::new(Kind::ResourceConflict, format!("Function already exist: {name}"))
}
