//! Aliases: names for versions, with a share of the calls for a second one.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use hearth_domain::{Action, Traffic, TrafficShare};
use hearth_store::{AliasRow, FunctionRow, LIVE};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    body::LambdaBody,
    change::{required, unqualified},
    error::{Kind, LambdaError, LambdaResult},
    name::{arn, clip},
    read::{limit, paged},
    view::uuid,
    wire::Page,
};
use crate::{
    app::App,
    caller::{Caller, Tenant},
    extract::{ApiPath, ApiQuery},
    time::now_unix_ms,
};

/// Aliases that a function may have.
const ALIASES_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 256;
/// How far a weight may be from a whole percent.
const EPSILON: f64 = 1e-9;

/// What `CreateAlias` and `UpdateAlias` are asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<Routing>,
    revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Routing {
    /// Share of the calls, from 0 to 1, of a further version.
    additional_version_weights: BTreeMap<String, f64>,
}

/// `CreateAlias`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    body: LambdaBody,
) -> LambdaResult<Response> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let wanted: Wanted = body.json().await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let name = required(wanted.name.as_deref(), "name")?;
    check_name(name)?;
    let version = required(wanted.function_version.as_deref(), "functionVersion")?;
    let traffic = traffic(version, wanted.routing_config.as_ref())?;
    let before = app.store.aliases(Some(row.spec.id)).await?;
    // Host names have no capitals, so aliases that differ in nothing else are one.
    if let Some(known) = before.iter().find(|known| known.name.eq_ignore_ascii_case(name)) {
        let arn = arn(app.region(), row.spec.name.as_str(), Some(&known.name));
        return Err(LambdaError::new(
            Kind::ResourceConflict,
            format!("Alias already exists: {arn}"),
        ));
    }
    if before.len() >= ALIASES_MAX {
        return Err(LambdaError::new(
            Kind::ResourceConflict,
            format!("the function has {ALIASES_MAX} aliases; remove some"),
        ));
    }
    let description = wanted.description.unwrap_or_default();
    let alias = lead(&app, &row, name, &traffic, Some(&description)).await?;
    Ok((StatusCode::CREATED, Json(shown(&app, &row, &alias))).into_response())
}

/// `UpdateAlias`. What is absent stays.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((path, name)): Path<(String, String)>,
    body: LambdaBody,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let wanted: Wanted = body.json().await?;
    let (row, before) = find(&app, &tenant, &path, &name).await?;
    if wanted.revision_id.is_some_and(|id| id != revision(&before)) {
        return Err(LambdaError::new(
            Kind::PreconditionFailed,
            "The RevisionId provided does not match the latest RevisionId. Call the GetAlias API to retrieve the latest RevisionId",
        ));
    }
    let (foremost, weights) = split(&before.traffic);
    let version = wanted.function_version.unwrap_or_else(|| foremost.to_string());
    let kept = Routing {
        additional_version_weights: weights,
    };
    let traffic = traffic(&version, Some(&wanted.routing_config.unwrap_or(kept)))?;
    let alias = lead(&app, &row, &before.name, &traffic, wanted.description.as_deref()).await?;
    Ok(Json(shown(&app, &row, &alias)))
}

/// `GetAlias`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((path, name)): Path<(String, String)>,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let (row, alias) = find(&app, &tenant, &path, &name).await?;
    Ok(Json(shown(&app, &row, &alias)))
}

/// `ListAliases`. `live` is not among them: it is where calls without a qualifier go.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(page): ApiQuery<Page>,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let limit = limit(&page)?;
    let leads = |alias: &AliasRow| {
        let wanted = page.function_version.as_deref();
        wanted.is_none_or(|wanted| wanted == split(&alias.traffic).0.to_string())
    };
    let after = |alias: &AliasRow| page.marker.as_ref().is_none_or(|marker| alias.name > *marker);
    let aliases = app.store.aliases(Some(row.spec.id)).await?.into_iter();
    let mut aliases: Vec<AliasRow> = aliases
        .filter(|alias| alias.name != LIVE && leads(alias) && after(alias))
        .collect();
    let more = aliases.len() > limit;
    aliases.truncate(limit);
    let marker = aliases.last().filter(|_| more).map(|alias| alias.name.clone());
    let aliases = aliases.iter().map(|alias| shown(&app, &row, alias)).collect();
    Ok(Json(paged("Aliases", aliases, marker)))
}

/// `DeleteAlias`. One that is not there is gone already.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((path, name)): Path<(String, String)>,
) -> LambdaResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    if name == LIVE {
        return Err(LambdaError::new(
            Kind::ResourceConflict,
            "the alias live stays as long as the function: calls without a qualifier go there",
        ));
    }
    app.store.remove_alias(row.spec.id, &name, now_unix_ms()).await?;
    app.plane().routes_changed(&app).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, tenant: &Tenant, path: &str, name: &str) -> LambdaResult<(FunctionRow, AliasRow)> {
    let row = app.named_function(tenant, &unqualified(path)?).await?;
    let aliases = app.store.aliases(Some(row.spec.id)).await?;
    let alias = aliases.into_iter().find(|alias| alias.name == name);
    let alias = alias.ok_or_else(|| {
        let arn = arn(app.region(), row.spec.name.as_str(), Some(&clip(name)));
        LambdaError::new(Kind::ResourceNotFound, format!("Cannot find alias arn: {arn}"))
    })?;
    Ok((row, alias))
}

async fn lead(
    app: &App,
    row: &FunctionRow,
    name: &str,
    traffic: &Traffic,
    description: Option<&str>,
) -> LambdaResult<AliasRow> {
    if description.is_some_and(|text| text.chars().count() > DESCRIPTION_MAX) {
        return Err(LambdaError::parameter(format!(
            "Description is longer than {DESCRIPTION_MAX} characters"
        )));
    }
    app.store
        .set_alias(row.spec.id, name, traffic, description, now_unix_ms())
        .await?;
    app.plane().routes_changed(app).await?;
    let aliases = app.store.aliases(Some(row.spec.id)).await?;
    let alias = aliases.into_iter().find(|alias| alias.name == name);
    alias.ok_or_else(|| LambdaError::new(Kind::ResourceConflict, "the alias was removed meanwhile"))
}

/// Where an alias leads: the rest of the calls goes to its version.
fn traffic(version: &str, routing: Option<&Routing>) -> LambdaResult<Traffic> {
    let weights = routing.map(|routing| &routing.additional_version_weights);
    let mut shares = Vec::new();
    let mut left: u8 = 100;
    for (further, weight) in weights.into_iter().flatten() {
        let percent = percent(*weight)?;
        left = left.checked_sub(percent).ok_or_else(|| bad_weight(*weight))?;
        shares.push(TrafficShare {
            version: number(further)?,
            percent,
        });
    }
    let first = TrafficShare {
        version: number(version)?,
        percent: left,
    };
    shares.insert(0, first);
    Traffic::new(shares).map_err(|error| LambdaError::parameter(error.to_string()))
}

fn number(text: &str) -> LambdaResult<u32> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        LambdaError::parameter(format!(
            "{:?} is no published version: an alias leads to a version by its number, which PublishVersion tells",
            clip(text)
        ))
    })
}

fn percent(weight: f64) -> LambdaResult<u8> {
    let hundredths = (weight * 100.0).round();
    if !(0.0..=100.0).contains(&hundredths) || (weight * 100.0 - hundredths).abs() > EPSILON {
        return Err(bad_weight(weight));
    }
    // No other way leads from a float to an integer.
    (0..=100_u8)
        .find(|percent| (f64::from(*percent) - hundredths).abs() < 0.5)
        .ok_or_else(|| bad_weight(weight))
}

fn bad_weight(weight: f64) -> LambdaError {
    LambdaError::parameter(format!(
        "weight {weight} is not valid: weights go from 0.0 to 1.0 in whole hundredths, and make no more than 1.0"
    ))
}

/// The version that an alias leads to, and the weights of further ones.
fn split(traffic: &Traffic) -> (u32, BTreeMap<String, f64>) {
    let mut shares = traffic.shares().iter();
    let first = shares.next().map_or(0, |share| share.version);
    let weights = shares.map(|share| (share.version.to_string(), f64::from(share.percent) / 100.0));
    (first, weights.collect())
}

fn shown(app: &App, row: &FunctionRow, alias: &AliasRow) -> Value {
    let (version, weights) = split(&alias.traffic);
    let mut shown = json!({
        "AliasArn": arn(app.region(), row.spec.name.as_str(), Some(&alias.name)),
        "Name": alias.name,
        "FunctionVersion": version.to_string(),
        "Description": alias.description,
        "RevisionId": revision(alias),
    });
    if !weights.is_empty()
        && let Some(fields) = shown.as_object_mut()
    {
        fields.insert("RoutingConfig".into(), json!({ "AdditionalVersionWeights": weights }));
    }
    shown
}

fn revision(alias: &AliasRow) -> String {
    let text = format!("{}/{}/{}", alias.function, alias.name, alias.updated_unix_ms);
    uuid(&Sha256::digest(text))
}

/// Lambda's rule, within what a host name may have.
fn check_name(name: &str) -> LambdaResult<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let number = name.chars().all(|c| c.is_ascii_digit());
    if (1..=63).contains(&name.len()) && name.chars().all(word) && !number {
        return Ok(());
    }
    Err(LambdaError::parameter(format!(
        "alias {:?} is not valid: use 1 to 63 letters, digits, '-' or '_', and not digits alone",
        clip(name)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted(version: &str, weights: &[(&str, f64)]) -> Option<Vec<(u32, u8)>> {
        let weights = weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight));
        let routing = Routing {
            additional_version_weights: weights.collect(),
        };
        let traffic = traffic(version, Some(&routing)).ok()?;
        Some(
            traffic
                .shares()
                .iter()
                .map(|share| (share.version, share.percent))
                .collect(),
        )
    }

    #[test]
    fn weights_are_hundredths_of_the_calls() {
        assert_eq!(weighted("1", &[]), Some(vec![(1, 100)]));
        assert_eq!(weighted("1", &[("2", 0.07)]), Some(vec![(1, 93), (2, 7)]));
        assert_eq!(weighted("1", &[("2", 1.0)]), Some(vec![(1, 0), (2, 100)]));
        for hundredths in 0..=100_u8 {
            let weight = f64::from(hundredths) / 100.0;
            assert_eq!(percent(weight).unwrap(), hundredths);
            let traffic = traffic("1", None).unwrap();
            assert_eq!(split(&traffic), (1, BTreeMap::new()));
        }
        for wrong in [-0.1, 1.01, 0.005, f64::NAN, f64::INFINITY] {
            assert_eq!(weighted("1", &[("2", wrong)]), None, "{wrong}");
        }
        assert_eq!(weighted("1", &[("2", 0.6), ("3", 0.6)]), None);
        assert_eq!(weighted("1", &[("1", 0.5)]), None);
        assert_eq!(weighted("$LATEST", &[]), None);
    }
}
