//! Teams, which Hearth calls projects. A key is of one.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_domain::Action;
use serde_json::{Value, json};

use crate::{app::App, caller::Caller, error::ApiResult};

/// `GET /teams`: the caller's project. Keys are not stored in the open, so none is told.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<Value>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    Ok(Json(json!([{
        "teamID": tenant.project.to_string(),
        "name": tenant.name.to_string(),
        "apiKey": "",
        "isDefault": true,
    }])))
}
