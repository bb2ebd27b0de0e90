//! Noting templates and builds of them.

use hearth_domain::BuildPlan;
use hearth_ids::{BuildId, TemplateId};
use hearth_store::{BuildRow, NewTemplate, TemplateRow};

use crate::{app::App, caller::Tenant, error::ApiResult, time::now_unix_ms};

/// The tenant's template of this name, new or not, and a build of it that waits to be started.
pub(crate) async fn book(
    app: &App,
    tenant: &Tenant,
    name: String,
    plan: BuildPlan,
) -> ApiResult<(TemplateRow, BuildRow)> {
    let new = NewTemplate {
        id: TemplateId::new(),
        project: tenant.project,
        name: Some(name),
        public: false,
        sandbox: None,
        created_unix_ms: now_unix_ms(),
    };
    Ok(app.store.book_build(&new, BuildId::new(), plan).await?)
}
