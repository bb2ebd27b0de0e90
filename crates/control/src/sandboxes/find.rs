//! Which sandbox is meant, and how it is seen.

use std::sync::Arc;

use hearth_api::ProblemCode;
use hearth_domain::{MachineSpec, SandboxState, StateWord};
use hearth_ids::SandboxId;
use hearth_store::SandboxRow;

use super::Sandbox;
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
};

/// The tenant's sandbox of an ID. What is of another project is not there.
pub(crate) async fn find(app: &App, tenant: &Tenant, text: &str) -> ApiResult<(Arc<Sandbox>, SandboxRow)> {
    let id = text.parse().map_err(|_| no_sandbox(text))?;
    let sandbox = app
        .sandboxes
        .get(id)
        .filter(|sandbox| sandbox.project == tenant.project);
    let sandbox = sandbox.ok_or_else(|| no_sandbox(text))?;
    let row = app.store.sandbox(id).await?.ok_or_else(|| no_sandbox(text))?;
    Ok((sandbox, row))
}

/// The same of an ID, or of a beginning of one that only one of the tenant's has.
pub(crate) async fn find_beginning(app: &App, tenant: &Tenant, text: &str) -> ApiResult<(Arc<Sandbox>, SandboxRow)> {
    if text.parse::<SandboxId>().is_ok() {
        return find(app, tenant, text).await;
    }
    match app.sandboxes.beginning(tenant.project, text)[..] {
        [] => Err(no_sandbox(text)),
        [id] => find(app, tenant, &id.to_string()).await,
        _ => Err(ApiError::new(
            ProblemCode::Ambiguous,
            format!("{text:?} is the beginning of more than one sandbox's ID; give more of it"),
        )),
    }
}

/// There is none, or none that the caller may know of.
pub(crate) fn no_sandbox(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    ApiError::new(
        ProblemCode::SandboxNotFound,
        format!("there is no sandbox {text:?}; `hearth sandbox ls` lists those there are"),
    )
}

/// What is shown of a sandbox beside its row.
pub(crate) struct Shown {
    pub(crate) spec: MachineSpec,
    pub(crate) paused: bool,
}

/// How a sandbox is seen now. None where it is as good as gone: it is to be, or its machine has ended.
pub(crate) fn shown(app: &App, row: &SandboxRow) -> Option<Shown> {
    if row.state == SandboxState::Killed {
        return None;
    }
    let (spec, status) = (app.node.spec(row.machine)?, app.status(row.machine)?);
    let paused = match status.state.word() {
        StateWord::Destroyed => return None,
        // It goes back to its last snapshot.
        _ if status.comes_back => row.state.is_paused(),
        StateWord::Stopped | StateWord::Failed if !row.state.is_paused() => return None,
        StateWord::Stopped | StateWord::Failed | StateWord::Paused => true,
        _ => row.state.is_paused(),
    };
    Some(Shown { spec, paused })
}
