//! Looking at functions and their versions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{Json, extract::State};
use hearth_domain::Action;
use hearth_ids::FunctionId;
use hearth_store::FunctionRow;
use serde_json::{Value, json};

use super::{
    change::unqualified,
    error::{LambdaError, LambdaResult},
    facts::{FunctionFacts, VersionFacts},
    name::Named,
    view::{LATEST, Shown},
    wire::{Page, Qualified},
};
use crate::{
    app::App,
    caller::Caller,
    extract::{ApiPath, ApiQuery},
};

/// What AWS gives in one page.
const PAGE: usize = 50;
const MAX_ITEMS: u32 = 10_000;

/// `GetFunction`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let named = Named::parse(&path, query.qualifier.as_deref())?;
    let row = app.named_function(&tenant, &named).await?;
    let version = app.qualified(&row, named.qualifier.as_deref()).await?;
    let facts = app.function_facts(row.spec.id).await?;
    let version_facts = app.version_facts(&version).await?;
    let shown = Shown {
        region: app.region(),
        function: &row,
        version: &version,
        facts: &facts,
        version_facts: &version_facts,
        qualifier: named.qualifier.as_deref(),
    };
    let mut answer = json!({ "Configuration": shown.configuration(), "Code": shown.code(), "Tags": facts.tags });
    if facts.reserved
        && let Some(fields) = answer.as_object_mut()
    {
        let reserved = json!({ "ReservedConcurrentExecutions": row.spec.scale.max });
        fields.insert("Concurrency".into(), reserved);
    }
    Ok(Json(answer))
}

/// `GetFunctionConfiguration`.
pub(super) async fn configuration(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let named = Named::parse(&path, query.qualifier.as_deref())?;
    let row = app.named_function(&tenant, &named).await?;
    let qualifier = named.qualifier.as_deref();
    let version = app.qualified(&row, qualifier).await?;
    app.shown_configuration(&row, &version, qualifier).await.map(Json)
}

/// `ListFunctions`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(page): ApiQuery<Page>,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let limit = limit(&page)?;
    let all_versions = match page.function_version.as_deref() {
        None => false,
        Some("ALL") => true,
        Some(_) => return Err(LambdaError::parameter("FunctionVersion has to be ALL")),
    };
    let (after, wanted) = (page.marker.as_deref(), u32::try_from(limit).unwrap_or(u32::MAX));
    let mut rows = app.store.functions(Some(tenant.project), after, wanted + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let newest = newest(&app, &rows).await?;
    let mut functions = Vec::new();
    for (row, shown) in rows.iter().zip(newest) {
        // One that has no version yet is just being made.
        let Some(shown) = shown else { continue };
        functions.push(shown);
        if all_versions {
            functions.extend(published(&app, row).await?.into_iter().map(|(_, shown)| shown));
        }
    }
    let marker = rows.last().filter(|_| more).map(|row| row.spec.name.label());
    Ok(Json(paged("Functions", functions, marker)))
}

/// `ListVersionsByFunction`.
pub(super) async fn versions(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(page): ApiQuery<Page>,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let limit = limit(&page)?;
    let after: Option<u32> = page.marker.as_deref().map(marker).transpose()?;
    let mut shown = Vec::new();
    if after.is_none() {
        let newest = app.newest(&row).await?;
        shown.push((0, app.shown_configuration(&row, &newest, Some(LATEST)).await?));
    }
    let published = published(&app, &row).await?;
    shown.extend(published.into_iter().filter(|(number, _)| *number > after.unwrap_or(0)));
    let more = shown.len() > limit;
    shown.truncate(limit);
    let marker = shown.last().filter(|_| more).map(|(number, _)| number.to_string());
    let versions = shown.into_iter().map(|(_, shown)| shown).collect();
    Ok(Json(paged("Versions", versions, marker)))
}

/// The newest version of each function, where it has one. How many functions they are does not change how often the store
/// is asked.
async fn newest(app: &App, rows: &[FunctionRow]) -> LambdaResult<Vec<Option<Value>>> {
    let ids: Vec<_> = rows.iter().map(|row| row.spec.id).collect();
    let versions = app.store.newest_versions(&ids).await?;
    let versions: HashMap<_, _> = versions.iter().map(|row| (row.spec.function, row)).collect();
    let facts: HashMap<FunctionId, FunctionFacts> = app.store.lambda_facts_of_functions(&ids).await?;
    let version_facts: HashMap<FunctionId, VersionFacts> = app.store.lambda_facts_of_newest(&ids).await?;
    let (no_facts, no_version_facts) = (FunctionFacts::default(), VersionFacts::default());
    let shown = rows.iter().map(|row| {
        let id = row.spec.id;
        let shown = Shown {
            region: app.region(),
            function: row,
            version: versions.get(&id)?,
            facts: facts.get(&id).unwrap_or(&no_facts),
            version_facts: version_facts.get(&id).unwrap_or(&no_version_facts),
            qualifier: None,
        };
        Some(shown.configuration())
    });
    Ok(shown.collect())
}

/// All versions with their numbers, oldest first.
async fn published(app: &App, row: &FunctionRow) -> LambdaResult<Vec<(u32, Value)>> {
    let id = row.spec.id;
    let facts = app.function_facts(id).await?;
    let mut of_versions: BTreeMap<u32, VersionFacts> = app.store.lambda_facts_of_versions(id).await?;
    let versions = app.store.versions(Some(id)).await?;
    let shown = versions.iter().rev().map(|version| {
        let number = version.spec.number;
        let qualifier = number.to_string();
        let version_facts = of_versions.remove(&number).unwrap_or_default();
        let shown = Shown {
            region: app.region(),
            function: row,
            version,
            facts: &facts,
            version_facts: &version_facts,
            qualifier: Some(&qualifier),
        };
        (number, shown.configuration())
    });
    Ok(shown.collect())
}

/// How many items a page may have.
pub(super) fn limit(page: &Page) -> LambdaResult<usize> {
    match page.max_items {
        None => Ok(PAGE),
        Some(wanted @ 1..=MAX_ITEMS) => Ok((wanted as usize).min(PAGE)),
        Some(wanted) => Err(LambdaError::parameter(format!(
            "Value '{wanted}' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and {MAX_ITEMS}"
        ))),
    }
}

fn marker(text: &str) -> LambdaResult<u32> {
    text.parse()
        .map_err(|_| LambdaError::parameter("Marker is not that of the page before"))
}

/// A page, with the marker of the next if there is one.
pub(super) fn paged(name: &str, items: Vec<Value>, marker: Option<String>) -> Value {
    let mut page = serde_json::Map::new();
    page.insert(name.to_owned(), items.into());
    if let Some(marker) = marker {
        page.insert("NextMarker".to_owned(), marker.into());
    }
    page.into()
}
