//! Permissions. Here keys and their roles say who may call; the one permission that has a meaning beside them is that anybody
//! may call the function's URL.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use hearth_domain::Action;
use hearth_store::FunctionRow;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    body::LambdaBody,
    change::{required, unqualified},
    error::{Kind, LambdaError, LambdaResult},
    facts::FunctionFacts,
    find::not_found,
    name::{arn, clip},
    view::revision,
};
use crate::{app::App, caller::Caller, extract::ApiPath, time::now_unix_ms};

/// Statements that a policy may have.
const STATEMENTS_MAX: usize = 20;
const URL_ACTION: &str = "lambda:InvokeFunctionUrl";
const INVOKE_ACTION: &str = "lambda:InvokeFunction";

/// What `AddPermission` is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
}

/// `AddPermission`.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    body: LambdaBody,
) -> LambdaResult<Response> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let wanted: Wanted = body.json().await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let id = required(wanted.statement_id.as_deref(), "statementId")?.to_owned();
    check_id(&id)?;
    let statement = statement(&app, &row, &id, &wanted)?;
    let mut facts = app.function_facts(row.spec.id).await?;
    if facts.policy.contains_key(&id) {
        return Err(LambdaError::new(
            Kind::ResourceConflict,
            format!(
                "The statement id ({id}) provided already exists. Please provide a new statement id, or remove the existing statement."
            ),
        ));
    }
    if facts.policy.len() >= STATEMENTS_MAX {
        return Err(LambdaError::parameter(format!(
            "the policy has {STATEMENTS_MAX} statements; remove some"
        )));
    }
    facts.policy.insert(id, statement.clone());
    app.keep_function_facts(row.spec.id, &facts).await?;
    settle(&app, &row, &facts).await?;
    Ok((StatusCode::CREATED, Json(json!({ "Statement": statement.to_string() }))).into_response())
}

/// `GetPolicy`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let named = unqualified(&path)?;
    let row = app.named_function(&tenant, &named).await?;
    let facts = app.function_facts(row.spec.id).await?;
    if facts.policy.is_empty() {
        return Err(LambdaError::new(
            Kind::ResourceNotFound,
            "The resource you requested does not exist.",
        ));
    }
    let statements: Vec<&Value> = facts.policy.values().collect();
    let policy = json!({ "Version": "2012-10-17", "Id": "default", "Statement": statements });
    let revision = revision(&row, row.latest);
    Ok(Json(json!({ "Policy": policy.to_string(), "RevisionId": revision })))
}

/// `RemovePermission`.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
) -> LambdaResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let mut facts = app.function_facts(row.spec.id).await?;
    if facts.policy.remove(&id).is_none() {
        return Err(LambdaError::new(
            Kind::ResourceNotFound,
            format!("Statement {} is not found in resource policy.", clip(&id)),
        ));
    }
    app.keep_function_facts(row.spec.id, &facts).await?;
    settle(&app, &row, &facts).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The statement, if it has a meaning here.
fn statement(app: &App, row: &FunctionRow, id: &str, wanted: &Wanted) -> LambdaResult<Value> {
    let action = required(wanted.action.as_deref(), "action")?;
    let principal = required(wanted.principal.as_deref(), "principal")?;
    let narrowed = [
        &wanted.source_arn,
        &wanted.source_account,
        &wanted.event_source_token,
        &wanted.principal_org_id,
    ];
    let narrowed = narrowed
        .into_iter()
        .any(|field| field.as_ref().is_some_and(|text| !text.is_empty()));
    let by_url = wanted.function_url_auth_type.as_deref() == Some("NONE") && action == URL_ACTION;
    // What AWS wants beside it since 2025.
    let beside = wanted.invoked_via_function_url == Some(true) && action == INVOKE_ACTION;
    if principal != "*" || narrowed || !(by_url || beside) {
        return Err(LambdaError::parameter(
            "this permission has no meaning here: keys and their roles say who may call a function (`hearth key create --role \
             invoker`), and triggers call it by themselves. What is possible is Principal \"*\" with the action \
             lambda:InvokeFunctionUrl and FunctionUrlAuthType NONE, which lets anybody call the function's URL",
        ));
    }
    let condition = if by_url {
        json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "NONE" } })
    } else {
        json!({ "Bool": { "lambda:InvokedViaFunctionUrl": "true" } })
    };
    Ok(json!({
        "Sid": id,
        "Effect": "Allow",
        "Principal": "*",
        "Action": action,
        "Resource": arn(app.region(), row.spec.name.as_str(), None),
        "Condition": condition,
    }))
}

fn check_id(id: &str) -> LambdaResult<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=100).contains(&id.len()) && id.chars().all(word) {
        return Ok(());
    }
    Err(LambdaError::parameter(format!(
        "StatementId {:?} is not valid: use 1 to 100 letters, digits, '-' or '_'",
        clip(id)
    )))
}

/// Lets everybody call the function if its policy and its URL say so, and else only keys.
pub(super) async fn settle(app: &App, row: &FunctionRow, facts: &FunctionFacts) -> LambdaResult<()> {
    let open = facts.policy.values().any(|statement| statement["Action"] == URL_ACTION);
    let public = open && facts.url.as_ref().is_none_or(|url| url.auth_type == "NONE");
    set_public(app, row, public).await
}

/// Lets everybody call a function, or only keys.
pub(super) async fn set_public(app: &App, row: &FunctionRow, public: bool) -> LambdaResult<()> {
    let found = app.store.function(row.spec.id).await?;
    let mut spec = found.ok_or_else(|| not_found(app, row.spec.name.as_str(), None))?.spec;
    if spec.public != public {
        spec.public = public;
        app.store.update_function(&spec, now_unix_ms()).await?;
        app.plane().routes_changed(app).await?;
    }
    Ok(())
}
