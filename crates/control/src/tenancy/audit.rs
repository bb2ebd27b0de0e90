//! Who changed what: written in one place, for each operation of the OpenAPI document that changes something, done or
//! refused, and read by admins.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use axum::{
    Json,
    extract::{MatchedPath, State},
    response::Response,
};
use hearth_api::{AuditEntry, AuditList, AuditQuery, ProblemCode};
use hearth_domain::Action;
use hearth_store::{AuditFilter, AuditRow};
use http::{Method, header, request::Parts};
use tracing::{error, info};

use crate::{
    api_doc::{self, Problems},
    app::App,
    caller::{Actor, Caller},
    e2b,
    error::{ApiError, ApiResult},
    extract::ApiQuery,
    lambda,
    peer::Peer,
    time::{now_unix_ms, timestamp, unix_ms},
};

const DEFAULT_LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;
/// The longest target that is noted, in characters.
const TARGET_MAX: usize = 200;

/// Operations that are noted though they are asked by GET: they go into machines, take files out of them, or concern secrets.
const NOTED_READS: [&str; 4] = ["attach_machine", "exec_machine", "get_archive", "list_secrets"];
/// The beginning of operations that call functions.
const CALLS: &str = "invoke_";

/// The operation of each method and path, of the document, of the Lambda API and of E2B's.
static OPERATIONS: LazyLock<HashMap<(Method, String), String>> = LazyLock::new(|| {
    let mut operations = api_doc::operations();
    operations.extend(lambda::operations());
    operations.extend(e2b::operations());
    operations
});

/// The ID of the operation that a request asks for, if it is one.
pub(crate) fn operation(request: &Parts) -> Option<&'static str> {
    let path = request.extensions.get::<MatchedPath>()?.as_str().to_owned();
    OPERATIONS.get(&(request.method.clone(), path)).map(String::as_str)
}

/// Whether a request changes something here. Calls of functions, though they are asked by POST, do not: they have records
/// of their own, and what of them must not be lost is kept by others.
pub(crate) fn changes(request: &Parts) -> bool {
    let calls = operation(request).is_some_and(|operation| operation.starts_with(CALLS));
    !request.method.is_safe() && !calls
}

/// A request that will be noted, as far as it is known before it is answered.
pub(crate) struct Noted {
    operation: &'static str,
    target: String,
}

impl Noted {
    /// `None` for what changes nothing.
    pub(crate) fn of(request: &Parts) -> Option<Self> {
        let operation = operation(request)?;
        (changes(request) || NOTED_READS.contains(&operation)).then(|| Self {
            operation,
            target: target(request.uri.path()),
        })
    }

    /// The entry, with what it came to. Of callers who are nobody only the log is told: they could fill the store, and
    /// push out what is of worth.
    pub(crate) fn entry(
        self,
        caller: Option<&Caller>,
        peer: Option<Peer>,
        answer: &Response,
        id: &str,
    ) -> Option<AuditRow> {
        let status = answer.status().as_u16();
        let Some(caller) = caller else {
            info!(
                operation = self.operation,
                target = self.target,
                status,
                ?peer,
                "refused a stranger"
            );
            return None;
        };
        let made = answer
            .headers()
            .get(header::LOCATION)
            .and_then(|place| place.to_str().ok());
        let (actor, actor_name) = match caller.actor() {
            Actor::User(uid) => (format!("unix:{uid}"), String::new()),
            Actor::Key { id, name } => (id.to_string(), name),
        };
        Some(AuditRow {
            sequence: 0,
            at_unix_ms: now_unix_ms(),
            project: caller.entered(),
            actor,
            actor_name,
            origin: match caller.from {
                Peer::Unix { .. } => "unix".to_owned(),
                Peer::Tcp(address) | Peer::Tls(address) => address.ip().to_string(),
            },
            operation: self.operation.to_owned(),
            target: made.map_or(self.target, target),
            status,
            request_id: id.to_owned(),
        })
    }
}

/// Keeps an entry. One that cannot be kept stands in the log.
pub(crate) async fn keep(app: &App, entry: AuditRow) {
    if let Err(error) = app.store.note_audit(&entry).await {
        error!(
            cause = hearth_domain::chain(&error),
            ?entry,
            "cannot note a change in the audit log"
        );
    }
}

fn target(path: &str) -> String {
    path.trim_start_matches("/v1/").chars().take(TARGET_MAX).collect()
}

/// Who changed what, newest first: in the project, or, for the host's admins, in all.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "list_audit", params(AuditQuery),
    responses((status = 200, description = "A page of changes", body = AuditList), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<AuditQuery>,
) -> ApiResult<Json<AuditList>> {
    let tenant = caller.may(&app, Action::AuditRead).await?;
    if query.all && !tenant.host {
        return Err(ApiError::new(
            ProblemCode::Forbidden,
            "only admins of the project default may read the audit log of all projects; leave out all",
        ));
    }
    let limit = limit(query.limit)?;
    let filter = AuditFilter {
        project: (!query.all).then_some(tenant.project),
        before: query.cursor.as_deref().map(cursor).transpose()?,
        since_unix_ms: query.since.map_or(0, unix_ms),
        actor: query.actor,
        operation: query.operation,
        limit: limit + 1,
    };
    let mut rows = app.store.audit(&filter).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().map(|row| row.sequence.to_string());
    Ok(Json(AuditList {
        entries: rows.into_iter().map(view).collect(),
        next_cursor: last.filter(|_| more),
    }))
}

fn limit(limit: Option<u32>) -> ApiResult<u32> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(ApiError::field(
            "limit",
            format!("limit {limit} is not valid: it goes from 1 to {LIMIT_MAX}"),
        )),
    }
}

fn cursor(text: &str) -> ApiResult<u64> {
    text.parse()
        .map_err(|_| ApiError::field("cursor", "cursor is not valid: use next_cursor of the page before"))
}

fn view(row: AuditRow) -> AuditEntry {
    AuditEntry {
        sequence: row.sequence,
        at: timestamp(row.at_unix_ms),
        project: row.project,
        actor: row.actor,
        actor_name: row.actor_name,
        origin: row.origin,
        operation: row.operation,
        target: row.target,
        status: row.status,
        request_id: row.request_id,
    }
}
