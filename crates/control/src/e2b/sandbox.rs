//! Making, showing and killing sandboxes.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_domain::{Action, OnTimeout, RecoverPolicy, SandboxNetwork, SandboxSettings};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{view, wire};
use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    machines::input::environment_length,
    made_before,
    sandboxes::{self, DEFAULT_TIMEOUT_MS, NewSandbox, timeout_ms},
    templates, volumes,
};

/// How long a sandbox lasts of which the client of an older call says nothing, in milliseconds.
pub(super) const OLD_TIMEOUT_MS: u64 = 15_000;

/// `POST /sandboxes`: the older call.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: ApiBody,
) -> ApiResult<Response> {
    made(&app, &caller, &headers, body, OLD_TIMEOUT_MS).await
}

/// `POST /v2/sandboxes`.
pub(super) async fn create_v2(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: ApiBody,
) -> ApiResult<Response> {
    made(&app, &caller, &headers, body, DEFAULT_TIMEOUT_MS).await
}

async fn made(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: ApiBody,
    default_timeout_ms: u64,
) -> ApiResult<Response> {
    let tenant = caller.may(app, Action::MachineWrite).await?;
    let request: wire::NewSandbox = body.json().await?;
    let key = made_before::key(headers, &["e2b_create_sandbox"], &request)?;
    let mut settings = settings(&request)?;
    let wanted = request.volume_mounts.clone().unwrap_or_default();
    let wanted = wanted.into_iter().map(|mount| (mount.name, mount.path));
    settings.volumes = volumes::mounts(app, &tenant, wanted.collect()).await?;
    let env = env(request.env_vars.clone().unwrap_or_default())?;
    let timeout_ms = match request.timeout {
        Some(seconds) => timeout_ms("timeout", seconds)?,
        None => default_timeout_ms,
    };
    let source = templates::resolve(app, &tenant, &request.template_id).await?;
    let metadata = request.metadata.unwrap_or_default();
    sandboxes::check_metadata(&metadata)?;
    let new = NewSandbox {
        size: None,
        source,
        metadata,
        env,
        egress: sandboxes::egress(&settings.network)?,
        settings,
        recover: RecoverPolicy::No,
        timeout_ms,
        key,
    };
    let row = sandboxes::create(app, &tenant, new).await?;
    let mut response = (StatusCode::CREATED, Json(view::entry(app, &row))).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/sandboxes/{}", row.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

fn length(variables: &BTreeMap<String, String>) -> usize {
    variables.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Variables that a program can have.
fn env(given: BTreeMap<String, String>) -> ApiResult<BTreeMap<String, String>> {
    let named =
        |(name, value): &(&String, &String)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
    environment_length("envVars", length(&given))?;
    match given.iter().find(named) {
        Some((name, _)) => {
            let name: String = name.chars().take(80).collect();
            Err(ApiError::field(
                "envVars",
                format!("envVars {name:?} is no variable: use a name without '=', and no NUL"),
            ))
        }
        None => Ok(given),
    }
}

/// What is asked for besides the template. What Hearth does not offer is refused, since its caller would rely on it.
fn settings(request: &wire::NewSandbox) -> ApiResult<SandboxSettings> {
    let auto_pause = request.auto_pause.unwrap_or(false);
    let memory = request.auto_pause_memory.unwrap_or(true);
    let auto_resume = request.auto_resume.as_ref().is_some_and(|auto| auto.enabled);
    if !memory && !auto_pause {
        return Err(ApiError::field(
            "autoPauseMemory",
            "autoPauseMemory false says how a sandbox is paused when its time is over; it needs autoPause true",
        ));
    }
    if !memory && auto_resume {
        return Err(ApiError::field(
            "autoResume",
            "a sandbox that is paused without its memory is not resumed by traffic; leave out autoResume or autoPauseMemory",
        ));
    }
    let network = request.network.clone().unwrap_or_default();
    refuse_absent(&[
        ("mcp", request.mcp.is_some()),
        ("iam", request.iam.is_some()),
        ("network.egressProxy", network.egress_proxy.is_some()),
        ("network.rules", network.rules.is_some()),
        ("network.httpsPorts", network.https_ports.is_some()),
    ])?;
    refuse_unknown("network.", &network.other)?;
    Ok(SandboxSettings {
        on_timeout: match (auto_pause, memory) {
            (false, _) => OnTimeout::Kill,
            (true, true) => OnTimeout::Pause,
            (true, false) => OnTimeout::PauseDisk,
        },
        auto_resume,
        keep_alive: false,
        private_traffic: network.allow_public_traffic == Some(false),
        mask_host: network
            .mask_request_host
            .as_deref()
            .map(super::mask::host)
            .transpose()?,
        network: SandboxNetwork {
            internet: request.allow_internet_access,
            allow_out: network.allow_out.unwrap_or_default(),
            deny_out: network.deny_out.unwrap_or_default(),
        },
        volumes: Vec::new(),
    })
}

/// `PUT /sandboxes/{sandbox}/network`: replaces what the sandbox may reach, all of it.
pub(super) async fn set_network(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: wire::NetworkUpdate = body.json_or_default().await?;
    refuse_absent(&[
        ("egressProxy", request.egress_proxy.is_some()),
        ("rules", request.rules.is_some()),
    ])?;
    refuse_unknown("", &request.other)?;
    let network = SandboxNetwork {
        internet: request.allow_internet_access,
        allow_out: request.allow_out.unwrap_or_default(),
        deny_out: request.deny_out.unwrap_or_default(),
    };
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    sandboxes::set_network(&app, &sandbox, network).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a newer client says of the network, its caller would rely on.
fn refuse_unknown(place: &str, other: &BTreeMap<String, serde_json::Value>) -> ApiResult<()> {
    let given = other.iter().find(|(_, value)| !value.is_null());
    given.map_or(Ok(()), |(field, _)| {
        let field = format!("{place}{}", field.chars().take(40).collect::<String>());
        let detail = format!("{field} is not offered by this server; leave it out");
        Err(ApiError::field(field, detail))
    })
}

pub(super) fn refuse_absent(given: &[(&'static str, bool)]) -> ApiResult<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(ApiError::field(
            *field,
            format!("{field} is not offered by this server; leave it out (docs/e2b-compatibility.md lists what is)"),
        )),
        None => Ok(()),
    }
}

/// `GET /sandboxes/{sandbox}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<wire::SandboxDetail>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let (_, row) = sandboxes::find(&app, &tenant, &wanted).await?;
    let detail = view::detail(&app, &tenant, &row);
    detail.map(Json).ok_or_else(|| sandboxes::no_sandbox(&wanted))
}

/// `DELETE /sandboxes/{sandbox}`.
pub(super) async fn kill(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    sandboxes::kill(&app, &sandbox).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: serde_json::Value) -> Result<SandboxSettings, Option<String>> {
        settings(&serde_json::from_value(json).unwrap()).map_err(|error| error.problem.field)
    }

    #[test]
    fn what_a_time_out_does_is_read_from_two_fields() {
        use serde_json::json;
        let on_timeout = |json| asked(json).map(|settings| settings.on_timeout);
        assert_eq!(on_timeout(json!({})), Ok(OnTimeout::Kill));
        assert_eq!(on_timeout(json!({"autoPause": true})), Ok(OnTimeout::Pause));
        assert_eq!(
            on_timeout(json!({"autoPause": true, "autoPauseMemory": false})),
            Ok(OnTimeout::PauseDisk)
        );
        assert_eq!(
            on_timeout(json!({"autoPauseMemory": false})),
            Err(Some("autoPauseMemory".into()))
        );
        let both = json!({"autoPause": true, "autoPauseMemory": false, "autoResume": {"enabled": true}});
        assert_eq!(on_timeout(both), Err(Some("autoResume".into())));
    }

    #[test]
    fn what_is_not_offered_is_refused_by_its_field() {
        use serde_json::json;
        for (json, field) in [
            (json!({"mcp": {}}), "mcp"),
            (json!({"network": {"rules": {}}}), "network.rules"),
        ] {
            assert_eq!(asked(json), Err(Some(field.to_owned())));
        }
        assert!(asked(json!({"volumeMounts": [], "somethingNew": 1})).is_ok());
    }
}
