//! Making sandboxes.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{CreateSandbox, Sandbox};
use hearth_domain::{Action, Metadata, OnTimeout, SandboxNetwork, SandboxSettings};
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
    templates::{self, Source},
};

/// What may be pinned to one sandbox.
const METADATA_MAX: usize = 100;
/// The longest name or value of it, in bytes.
const METADATA_TEXT_MAX: usize = 4096;

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
    check_metadata(&request.metadata)?;
    let settings = settings(&request)?;
    let egress = sandboxes::egress(&settings.network)?;
    let recover = plan::recover(request.recover)?;
    let env = input::environment(request.env.clone())?;
    let source = templates::resolve(&app, &tenant, &request.template).await?;
    check_resources(&request, &source)?;
    let new = NewSandbox {
        source,
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
        network: SandboxNetwork::default(),
    })
}

fn check_metadata(metadata: &Metadata) -> ApiResult<()> {
    if metadata.len() > METADATA_MAX {
        return Err(ApiError::field(
            "metadata",
            format!("metadata has {} texts: at most {METADATA_MAX}", metadata.len()),
        ));
    }
    let fits = |text: &String| text.len() <= METADATA_TEXT_MAX;
    match metadata.iter().find(|(name, value)| !fits(name) || !fits(value)) {
        None => Ok(()),
        Some((name, _)) => {
            let name: String = name.chars().take(80).collect();
            Err(ApiError::field(
                "metadata",
                format!("metadata {name:?} is too long: name and value have at most {METADATA_TEXT_MAX} bytes"),
            ))
        }
    }
}

/// A sandbox goes on from a snapshot, whose machine has the size that it has.
fn check_resources(request: &CreateSandbox, source: &Source) -> ApiResult<()> {
    let has = &source.snapshot.spec.resources;
    let given = [
        ("cpus", request.cpus, Some(has.vcpus.into())),
        ("memory_mib", request.memory_mib, Some(has.memory_mib.into())),
        ("disk_mib", request.disk_mib, has.disk_mib.map(u64::from)),
    ];
    for (field, wanted, has) in given {
        if wanted.is_some() && wanted != has {
            let has = has.map_or_else(|| "none".to_owned(), |has: u64| has.to_string());
            let detail = format!(
                "{field} {} is not the template's, which is {has}: a sandbox goes on from a snapshot and has its size; \
                 leave it out, or build a template with it",
                wanted.unwrap_or_default()
            );
            return Err(ApiError::field(field, detail));
        }
    }
    Ok(())
}
