//! Which names a caller may give to images. All projects of a host share names, and make machines of what they lead to; so
//! who does not administer the host gives none that others may take for something else.

use hearth_api::ProblemCode;
use hearth_image::{NameClaim, Reference};

use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
};

/// Where names without a registry lead.
const HUB: &str = "docker.io";
/// Names of what Hearth brings, such as the images of runtimes.
const HEARTH: &str = "hearth";
/// What names without a folder are in: `python:3.12` is `library/python:3.12`.
const LIBRARY: &str = "library";

/// The claim to the name of an import: an archive may hold anything, so its name is below the project's. None for admins
/// of the host, who may give any.
pub(crate) fn of_import(tenant: &Tenant, name: Option<&Reference>) -> ApiResult<Option<NameClaim>> {
    if tenant.host {
        return Ok(None);
    }
    let project = tenant.name.as_str();
    let Some(name) = name else {
        return Err(ApiError::field(
            "name",
            format!("name is missing: only admins of the host may leave it to the archive; name the image {project}/…"),
        ));
    };
    // Such projects' names are those that all take for the host's.
    let own = !matches!(project, HEARTH | LIBRARY);
    if own && folder(name) == Some(project) {
        return Ok(Some(claim(tenant, true)));
    }
    Err(forbidden(format!(
        "{name} is not a name of the project {project}: only admins of the host may import under it; name the image {project}/…"
    )))
}

/// The claim to the name of a pull, which stays where it leads already. None for admins of the host.
pub(crate) async fn of_pull(app: &App, tenant: &Tenant, name: &Reference) -> ApiResult<Option<NameClaim>> {
    if tenant.host {
        return Ok(None);
    }
    let others = match folder(name) {
        None | Some(LIBRARY) => false,
        Some(HEARTH) => true,
        Some(folder) => match app.store.find_project(folder).await? {
            Some(project) => project.id != tenant.project,
            None => false,
        },
    };
    if others {
        return Err(forbidden(format!(
            "images named as {name} are of Hearth, or of the project of that name; only admins of the host may pull it"
        )));
    }
    Ok(Some(claim(tenant, false)))
}

/// The first part of a name that leads to no registry of its own.
fn folder(name: &Reference) -> Option<&str> {
    let (folder, _) = name.repository().split_once('/')?;
    (name.registry() == HUB).then_some(folder)
}

fn claim(tenant: &Tenant, may_move: bool) -> NameClaim {
    NameClaim {
        owner: tenant.project.to_string(),
        may_move,
    }
}

fn forbidden(detail: String) -> ApiError {
    ApiError::new(ProblemCode::Forbidden, detail)
}
