//! Making sandboxes.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{CreateSandbox, Sandbox};
use hearth_domain::{
    Action, DiskMib, EgressRules, InvalidSize, MemoryMib, OnTimeout, Resources, SandboxNetwork, SandboxSettings, Vcpus,
};
use hearth_store::SandboxRow;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::view;
use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::ApiBody,
    machines::{input, plan},
    made_before,
    sandboxes::{self, DEFAULT_TIMEOUT_MS, NewSandbox, no_sandbox, timeout_ms},
    templates::{self, Source, name::number},
};

/// Makes a sandbox of a template, and answers when it runs. With an `Idempotency-Key` header the request may be sent again: the
/// same sandbox is answered.
#[utoipa::path(post, path = "/v1/sandboxes", tag = "sandboxes", operation_id = "create_sandbox",
    params(("idempotency-key" = Option<String>, Header, description = "Makes it safe to send the request again", max_length = 255)),
    request_body = CreateSandbox,
    responses(
        (status = 201, description = "It runs", body = Sandbox),
        (status = 200, description = "It was made before, with the same key", body = Sandbox),
        Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: CreateSandbox = body.json().await?;
    let key = made_before::key(&headers, &["create_sandbox"], &request)?;
    if let Some(key) = &key
        && let Some(row) = sandboxes::made(&app, &tenant, key).await?
    {
        return answer(&app, &tenant, StatusCode::OK, &row);
    }
    let timeout_ms = match request.timeout_s {
        Some(seconds) => timeout_ms("timeout_s", seconds)?,
        None => DEFAULT_TIMEOUT_MS,
    };
    sandboxes::check_metadata(&request.metadata)?;
    let settings = settings(&request)?;
    let egress = rules(&settings.network)?;
    let recover = plan::recover(request.recover)?;
    let env = input::environment(request.env.clone())?;
    let source = templates::resolve(&app, &tenant, &request.template).await?;
    let size = size(&app, &request, &source).await?;
    let new = NewSandbox {
        source,
        size,
        metadata: request.metadata,
        env,
        egress,
        settings,
        recover,
        timeout_ms,
        key,
    };
    let row = sandboxes::create(&app, &tenant, new).await?;
    answer(&app, &tenant, StatusCode::CREATED, &row)
}

fn answer(app: &App, tenant: &Tenant, status: StatusCode, row: &SandboxRow) -> ApiResult<Response> {
    let id = row.id.to_string();
    let seen = view::sandbox(app, tenant, row, true).ok_or_else(|| no_sandbox(&id))?;
    let mut response = (status, Json(seen)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/sandboxes/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

fn settings(request: &CreateSandbox) -> ApiResult<SandboxSettings> {
    let on_timeout = request.on_timeout.into();
    if request.auto_resume && on_timeout == OnTimeout::PauseDisk {
        return Err(ApiError::field(
            "auto_resume",
            "a sandbox that is paused without its memory is not resumed by traffic; leave out auto_resume, or pause with memory",
        ));
    }
    Ok(SandboxSettings {
        on_timeout,
        auto_resume: request.auto_resume,
        keep_alive: request.keep_alive,
        private_traffic: request.private_traffic,
        mask_host: None,
        network: request.network.clone().into(),
        volumes: Vec::new(),
    })
}

/// The rules of a network, whose errors name the field as it is here.
pub(super) fn rules(network: &SandboxNetwork) -> ApiResult<EgressRules> {
    sandboxes::egress(network).map_err(|mut error| {
        let field = match error.problem.field.as_deref() {
            Some("denyOut") => "network.deny_out",
            _ => "network.allow_out",
        };
        error.problem.field = Some(field.to_owned());
        error
    })
}

/// The size that is asked for, if it is not the template's: that takes a boot, with the template's disk.
async fn size(app: &App, request: &CreateSandbox, source: &Source) -> ApiResult<Option<Resources>> {
    let is = source.snapshot.spec.resources;
    let wanted = Resources {
        vcpus: given("cpus", request.cpus, is.vcpus, Vcpus::try_from)?,
        memory_mib: given("memory_mib", request.memory_mib, is.memory_mib, MemoryMib::try_from)?,
        disk_mib: match request.disk_mib {
            Some(mib) => Some(number("disk_mib", mib, DiskMib::try_from)?),
            None => is.disk_mib,
        },
    };
    if wanted == is {
        return Ok(None);
    }
    if let (Some(wanted), Some(is)) = (wanted.disk_mib, is.disk_mib)
        && wanted < is
    {
        let detail = format!("disk_mib {wanted} is less than the template's, which is {is}: a disk never gets smaller");
        return Err(ApiError::field("disk_mib", detail));
    }
    if !templates::boots(app, &source.snapshot).await? {
        let detail = "the template is a sandbox's snapshot with memory, and its sandboxes have its size; leave out cpus, \
                      memory_mib and disk_mib, or make the snapshot without memory";
        return Err(ApiError::field("template", detail));
    }
    Ok(Some(wanted))
}

fn given<T>(
    field: &'static str,
    wanted: Option<u64>,
    is: T,
    read: impl Fn(u64) -> Result<T, InvalidSize>,
) -> ApiResult<T> {
    wanted.map_or(Ok(is), |wanted| number(field, wanted, read))
}
