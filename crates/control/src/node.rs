//! The node and the server themselves.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{Amount, Check, CheckList, CheckOutcome, DriverInfo, NodeInfo, Version};
use hearth_domain::Action;
use hearth_store::Store;

use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
};

/// What the node is and has.
#[utoipa::path(get, path = "/v1/node", tag = "node", operation_id = "node_info",
    responses((status = 200, description = "The node", body = NodeInfo), Problems))]
pub(crate) async fn info(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<NodeInfo>> {
    caller.may(&app, Action::NodeRead).await?;
    let info = app.node.info().await?;
    let (images, kernels) = (app.images.clone(), Arc::clone(&app.kernels));
    let (images, default_kernel) = app.blocking(move || (images.list(), kernels.default_bundle())).await?;
    let total = info.capacity.total(info.overcommit);
    let cpu_millis = u32::try_from(info.capacity.cpu_millis).unwrap_or(u32::MAX);
    let memory_mib = u32::try_from(info.capacity.memory_mib).unwrap_or(u32::MAX);
    Ok(Json(NodeInfo {
        id: info.id.to_string(),
        version: info.version,
        host_name: info.host_name,
        host_kernel: info.host_kernel,
        architecture: info.architecture,
        cpus: Amount {
            capacity: f64::from(cpu_millis) / 1000.0,
            overcommit: info.overcommit.cpu,
            total: total.vcpus,
            allocated: info.allocation.vcpus,
        },
        memory_mib: Amount {
            capacity: f64::from(memory_mib),
            overcommit: info.overcommit.memory,
            total: total.memory_mib,
            allocated: info.allocation.memory_mib,
        },
        machines: info.machines,
        machines_active: info.machines_active,
        images: images.map_err(ApiError::from)?.len() as u64,
        default_driver: info.default_driver.into(),
        drivers: info.drivers.iter().map(driver).collect(),
        default_kernel: default_kernel.map(|bundle| bundle.id),
    }))
}

fn driver(info: &hearth_node_api::DriverInfo) -> DriverInfo {
    let hearth_node_api::DriverInfo {
        kind,
        guest,
        outlives,
        pause,
        snapshot,
        accelerated,
        ref unusable,
    } = *info;
    DriverInfo {
        unusable: unusable.clone(),
        name: kind.into(),
        guest,
        outlives,
        pause,
        snapshot,
        accelerated,
    }
}

/// Tries, by use, whatever the node needs of its host. Takes some seconds.
#[utoipa::path(get, path = "/v1/doctor", tag = "node", operation_id = "doctor",
    responses((status = 200, description = "What was found", body = CheckList), Problems))]
pub(crate) async fn doctor(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<CheckList>> {
    caller.may(&app, Action::HostAdmin).await?;
    Ok(Json(check_list(app.node.doctor().await)))
}

/// What was found, as clients see it.
pub fn check_list(found: Vec<hearth_node_api::Check>) -> CheckList {
    CheckList {
        checks: found.into_iter().map(check).collect(),
    }
}

fn check(found: hearth_node_api::Check) -> Check {
    let hearth_node_api::Check {
        name,
        outcome,
        detail,
        advice,
    } = found;
    let outcome = match outcome {
        hearth_node_api::CheckOutcome::Ok => CheckOutcome::Ok,
        hearth_node_api::CheckOutcome::Warning => CheckOutcome::Warning,
        hearth_node_api::CheckOutcome::Failed => CheckOutcome::Failed,
    };
    Check {
        name,
        outcome,
        detail,
        advice,
    }
}

/// What the server is.
#[utoipa::path(get, path = "/v1/version", tag = "node", operation_id = "version",
    responses((status = 200, description = "The versions", body = Version), Problems))]
pub(crate) async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_version: hearth_api::API_VERSION.to_owned(),
        schema_version: Store::schema_version(),
    })
}

/// Whether the server answers at all.
#[utoipa::path(get, path = "/healthz", tag = "node", operation_id = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"), Problems))]
pub(crate) async fn health() -> &'static str {
    "ok\n"
}
