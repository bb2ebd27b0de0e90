//! Noting templates and builds of them.

use hearth_domain::{BuildPlan, Holding};
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
    // What is built of more than the project may hold, it can make no sandbox of.
    if let Some(project) = app.store.project(tenant.project).await? {
        let wanted = Holding {
            machines: 1,
            vcpus: plan.vcpus.get().into(),
            memory_mib: plan.memory_mib.get().into(),
        };
        project.quotas.admit(Holding::default(), wanted)?;
    }
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
