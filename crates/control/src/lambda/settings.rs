//! What is set of a function without a new version: how many instances, and tags. And what the host as a whole allows.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use hearth_api::FunctionSettings;
use hearth_domain::{Action, INSTANCES_MAX};
use hearth_store::FunctionRow;
use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    body::LambdaBody,
    change::{check_tags, unqualified},
    code::ZIP_MAX,
    error::{LambdaError, LambdaResult},
};
use crate::{app::App, caller::Caller, extract::ApiPath, functions::plan, time::now_unix_ms};

/// Instances at most where nobody says how many.
const DEFAULT_MAX: u32 = 10;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Concurrency {
    reserved_concurrent_executions: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tags {
    tags: BTreeMap<String, String>,
}

/// `PutFunctionConcurrency`: an instance runs one call at a time, so it is the most instances of each version.
pub(super) async fn put_concurrency(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    body: LambdaBody,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let wanted: Concurrency = body.json().await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let reserved = wanted.reserved_concurrent_executions;
    let max = reserved.filter(|max| (1..=INSTANCES_MAX).contains(max)).ok_or_else(|| {
        LambdaError::parameter(format!(
            "ReservedConcurrentExecutions goes from 1 to {INSTANCES_MAX} here; a function that nobody is to call is best removed"
        ))
    })?;
    set_max(&app, &row, max, true).await?;
    Ok(Json(json!({ "ReservedConcurrentExecutions": max })))
}

/// `GetFunctionConcurrency`.
pub(super) async fn get_concurrency(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let facts = app.function_facts(row.spec.id).await?;
    Ok(Json(if facts.reserved {
        json!({ "ReservedConcurrentExecutions": row.spec.scale.max })
    } else {
        json!({})
    }))
}

/// `DeleteFunctionConcurrency`.
pub(super) async fn remove_concurrency(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
) -> LambdaResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    set_max(&app, &row, DEFAULT_MAX.max(row.spec.scale.min), false).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_max(app: &App, row: &FunctionRow, max: u32, reserved: bool) -> LambdaResult<()> {
    let settings = FunctionSettings {
        max: Some(max),
        ..FunctionSettings::default()
    };
    let spec = plan::with_settings(row.spec.clone(), &settings)?;
    app.store.update_function(&spec, now_unix_ms()).await?;
    let mut facts = app.function_facts(row.spec.id).await?;
    facts.reserved = reserved;
    app.keep_function_facts(row.spec.id, &facts).await?;
    app.plane().routes_changed(app).await?;
    Ok(())
}

/// `ListTags`.
pub(super) async fn tags(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let facts = app.function_facts(row.spec.id).await?;
    Ok(Json(json!({ "Tags": facts.tags })))
}

/// `TagResource`.
pub(super) async fn tag(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    body: LambdaBody,
) -> LambdaResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let wanted: Tags = body.json().await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let mut facts = app.function_facts(row.spec.id).await?;
    facts.tags.extend(wanted.tags);
    check_tags(&facts.tags)?;
    app.keep_function_facts(row.spec.id, &facts).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `UntagResource`.
pub(super) async fn untag(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    uri: Uri,
) -> LambdaResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let mut facts = app.function_facts(row.spec.id).await?;
    for name in tag_keys(uri.query().unwrap_or_default()) {
        facts.tags.remove(&name);
    }
    app.keep_function_facts(row.spec.id, &facts).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Each `tagKeys` of a query, decoded.
fn tag_keys(query: &str) -> Vec<String> {
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("tagKeys="));
    let decoded = values.map(|value| {
        let spaced = value.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    });
    decoded.collect()
}

/// `GetAccountSettings`.
pub(super) async fn account(State(app): State<Arc<App>>, caller: Caller) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let own = app.store.count_functions(tenant.project).await?;
    Ok(Json(json!({
        "AccountLimit": {
            "TotalCodeSize": 0,
            "CodeSizeUnzipped": 262_144_000,
            "CodeSizeZipped": ZIP_MAX,
            "ConcurrentExecutions": INSTANCES_MAX,
            "UnreservedConcurrentExecutions": INSTANCES_MAX,
        },
        "AccountUsage": { "TotalCodeSize": 0, "FunctionCount": own },
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_named_once_for_each() {
        assert_eq!(
            tag_keys("tagKeys=a&x=1&tagKeys=b%20c&tagKeys=%C3%A9"),
            ["a", "b c", "é"]
        );
        assert_eq!(tag_keys(""), Vec::<String>::new());
    }
}
