//! Forks and snapshots of sandboxes.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_domain::{Action, BuildFrom};
use hearth_ids::{BuildId, SandboxId};
use hearth_store::{TagRow, TemplateRow};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{error, sandbox::OLD_TIMEOUT_MS, view};
use crate::{
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath, ApiQuery},
    sandboxes::{self, timeout_ms},
    templates::{self, name::name_and_tag},
};

const NEXT_TOKEN: HeaderName = HeaderName::from_static("x-next-token");
const LIMIT_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ForkRequest {
    timeout: Option<i64>,
    count: Option<u32>,
}

/// `POST …/fork`: copies of a sandbox. Each is answered by itself.
pub(super) async fn fork(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: ForkRequest = body.json_or_default().await?;
    let seconds = request.timeout;
    let timeout_ms = seconds.map_or(Ok(OLD_TIMEOUT_MS), |seconds| timeout_ms("timeout", seconds))?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    let copies = sandboxes::fork(&app, &tenant, &sandbox, request.count.unwrap_or(1), timeout_ms).await?;
    let results = copies.into_iter().map(|copy| match copy {
        Ok(row) => json!({ "sandbox": view::entry(&app, &row) }),
        Err(refused) => json!({ "error": error::body(&refused) }),
    });
    let results: Vec<Value> = results.collect();
    Ok((StatusCode::CREATED, Json(results)).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SnapshotRequest {
    name: Option<String>,
    memory: Option<bool>,
}

/// `POST …/snapshots`: a template of the sandbox as it is now.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: SnapshotRequest = body.json_or_default().await?;
    let name = request.name.filter(|name| !name.is_empty());
    let name = name.map(|name| name_and_tag(&tenant, &name)).transpose()?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    let _turn = sandbox.turn.lock().await;
    let row = sandboxes::read(&app, &sandbox).await?;
    let (template, tag) = templates::of_sandbox(&app, &row, name, request.memory.unwrap_or(true)).await?;
    Ok((StatusCode::CREATED, Json(snapshot(&tenant, &template, &tag))).into_response())
}

/// A snapshot's ID is a template's, with its tag.
fn snapshot(tenant: &Tenant, template: &TemplateRow, tag: &str) -> Value {
    let names = template
        .names
        .iter()
        .map(|name| format!("{}/{name}:{tag}", tenant.name));
    json!({
        "snapshotID": format!("{}:{tag}", template.id),
        "names": names.collect::<Vec<_>>(),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    #[serde(rename = "sandboxID")]
    sandbox: Option<String>,
    name: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "nextToken")]
    next: Option<String>,
}

/// One snapshot: a build, by one tag of its template.
struct Listed {
    template: usize,
    tag: TagRow,
}

impl Listed {
    /// Where a list goes on after it.
    fn token(&self) -> String {
        format!("{}:{}", self.tag.build, self.tag.tag)
    }

    /// Whether it comes after what a token says.
    fn is_after(&self, (build, tag): (BuildId, &str)) -> bool {
        self.tag.build < build || (self.tag.build == build && self.tag.tag.as_str() > tag)
    }
}

/// `GET /snapshots`: those of the project, or of one sandbox, the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let limit = query.limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::field(
            "limit",
            format!("limit {limit} is not valid: it goes from 1 to {LIMIT_MAX}"),
        ));
    }
    let next = query.next.as_deref().filter(|next| !next.is_empty());
    let next = next.map(after).transpose()?;
    let mut templates = app.store.templates_of(tenant.project).await?;
    templates.retain(|row| row.sandbox.is_some());
    let mut found = Vec::new();
    for (at, template) in templates.iter().enumerate() {
        let tags = app.store.tags(template.id).await?;
        let named = |tag: &TagRow| {
            let name = query.name.as_deref();
            name.is_none_or(|name| templates::means(&tenant, name, template, &tag.tag))
        };
        found.extend(tags.into_iter().filter(named).map(|tag| Listed { template: at, tag }));
    }
    found.retain(|one| next.is_none_or(|next| one.is_after(next)));
    found.sort_by(|a, b| b.tag.build.cmp(&a.tag.build).then_with(|| a.tag.tag.cmp(&b.tag.tag)));
    let mut page = Vec::new();
    let mut more = None;
    // A build may have many tags.
    let mut makers = HashMap::new();
    for one in found {
        let template = &templates[one.template];
        if let Some(of) = &query.sandbox {
            let maker = match makers.get(&one.tag.build) {
                Some(known) => *known,
                None => maker(&app, template, one.tag.build).await?,
            };
            makers.insert(one.tag.build, maker);
            if maker.is_none_or(|id| *of != id.to_string()) {
                continue;
            }
        }
        if page.len() == limit {
            more = page.last().map(Listed::token);
            break;
        }
        page.push(one);
    }
    let shown = page
        .iter()
        .map(|one| snapshot(&tenant, &templates[one.template], &one.tag.tag));
    let mut response = Json(shown.collect::<Vec<_>>()).into_response();
    if let Some(token) = more.and_then(|token| HeaderValue::from_str(&token).ok()) {
        response.headers_mut().insert(NEXT_TOKEN, token);
    }
    Ok(response)
}

/// Reads where a list goes on.
fn after(token: &str) -> ApiResult<(BuildId, &str)> {
    let parts = token.split_once(':');
    let parsed = parts.and_then(|(build, tag)| Some((build.parse().ok()?, tag)));
    parsed.ok_or_else(|| {
        ApiError::field(
            "nextToken",
            "nextToken is not one that a list gave; leave it out to begin anew",
        )
    })
}

/// The sandbox that a build is a snapshot of. Those that were made before builds noted it are their template's.
async fn maker(app: &App, template: &TemplateRow, build: BuildId) -> ApiResult<Option<SandboxId>> {
    let from = app.store.build(build).await?.and_then(|build| build.plan.from);
    Ok(match from {
        Some(BuildFrom::Sandbox(id)) => Some(id),
        _ => template.sandbox,
    })
}
