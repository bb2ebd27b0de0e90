//! Volumes: made, listed, shown with what opens them, removed.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_domain::Action;
use hearth_store::VolumeRow;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    caller::Caller,
    error::ApiResult,
    extract::{ApiBody, ApiPath},
    volumes,
};

#[derive(Debug, Deserialize)]
struct NewVolume {
    name: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Volume {
    #[serde(rename = "volumeID")]
    volume_id: String,
    name: String,
}

/// A volume with the token that opens its files.
#[derive(Debug, Serialize)]
pub(super) struct VolumeAndToken {
    #[serde(flatten)]
    volume: Volume,
    token: String,
}

fn shown(row: &VolumeRow) -> Volume {
    Volume {
        volume_id: row.id.to_string(),
        name: row.name.clone(),
    }
}

fn with_token(app: &App, row: &VolumeRow) -> VolumeAndToken {
    VolumeAndToken {
        volume: shown(row),
        token: volumes::token(app, row.id).to_string(),
    }
}

/// `POST /volumes`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: ApiBody,
) -> ApiResult<(StatusCode, Json<VolumeAndToken>)> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: NewVolume = body.json().await?;
    let row = volumes::create(&app, &tenant, &request.name).await?;
    Ok((StatusCode::CREATED, Json(with_token(&app, &row))))
}

/// `GET /volumes`.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<Vec<Volume>>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let rows = volumes::list(&app, tenant.project).await?;
    Ok(Json(rows.iter().map(shown).collect()))
}

/// `GET /volumes/{volume}`: with what opens it, which is for those who may go into machines.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<VolumeAndToken>> {
    let tenant = caller.may(&app, Action::MachineExec).await?;
    let row = volumes::find(&app, &tenant, &wanted).await?;
    Ok(Json(with_token(&app, &row)))
}

/// `DELETE /volumes/{volume}`: at once, whoever mounts it.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = volumes::find(&app, &tenant, &wanted).await?;
    volumes::remove(&app, row.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
