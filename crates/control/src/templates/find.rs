//! Which template is meant.
//!
//! `NAME`, `NAME:TAG`, `PROJECT/NAME:TAG`, a template's ID with or without a tag, or the ID or name of a snapshot. A name of the
//! own project goes before a public one of project `default`.

use hearth_api::ProblemCode;
use hearth_domain::{Action, ProjectName};
use hearth_ids::{BuildId, TemplateId};
use hearth_store::{BuildState, DEFAULT_TAG, SnapshotRow, SnapshotState, TagRow, TemplateRow};

use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    snapshots::find as snapshots,
};

/// What a sandbox is made of.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) snapshot: SnapshotRow,
    /// The template's ID, or the snapshot's where there is none.
    pub(crate) template: String,
    pub(crate) template_id: Option<TemplateId>,
    /// The template's name.
    pub(crate) alias: Option<String>,
}

/// A reference, in its parts.
struct Reference<'t> {
    project: Option<&'t str>,
    name: &'t str,
    tag: &'t str,
}

impl<'t> Reference<'t> {
    fn of(text: &'t str) -> Self {
        let (path, tag) = text.rsplit_once(':').unwrap_or((text, DEFAULT_TAG));
        let (project, name) = match path.split_once('/') {
            Some((project, name)) => (Some(project), name),
            None => (None, path),
        };
        Self { project, name, tag }
    }
}

/// What sandboxes of a reference are made of.
pub(crate) async fn resolve(app: &App, tenant: &Tenant, text: &str) -> ApiResult<Source> {
    let reference = Reference::of(text);
    let Some(template) = visible(app, tenant, &reference).await? else {
        return of_snapshot(app, tenant, text).await;
    };
    let tags = app.store.tags(template.id).await?;
    let Some(tag) = tags.iter().find(|row| row.tag == reference.tag) else {
        return Err(no_tag(text, reference.tag, &tags));
    };
    let build = app.store.build(tag.build).await?;
    let snapshot = build
        .filter(|build| build.state == BuildState::Ready)
        .and_then(|build| build.snapshot);
    let row = match snapshot {
        Some(id) => app.store.snapshot(id).await?,
        None => None,
    };
    let Some(snapshot) = row.filter(|row| row.state == SnapshotState::Ready) else {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("the node does not have what template {text:?} is made of any more; build it again"),
        ));
    };
    Ok(Source {
        snapshot,
        template: template.id.to_string(),
        template_id: Some(template.id),
        alias: template.names.first().cloned(),
    })
}

/// A snapshot of the project is a template, too.
async fn of_snapshot(app: &App, tenant: &Tenant, text: &str) -> ApiResult<Source> {
    let missing = |error: ApiError| match error.problem.code {
        ProblemCode::SnapshotNotFound => no_template(text),
        _ => error,
    };
    let name = text.strip_suffix(":default").unwrap_or(text);
    let snapshot = snapshots::ready(app, tenant, name).await.map_err(missing)?;
    if !snapshot.spec.workload.idle {
        return Err(ApiError::field(
            "template",
            format!(
                "snapshot {text:?} is of a machine with a program of its own, not of a sandbox; fork that machine instead"
            ),
        ));
    }
    Ok(Source {
        template: snapshot.id.to_string(),
        template_id: None,
        alias: snapshot.name.clone(),
        snapshot,
    })
}

/// The template that is meant, if the tenant may make sandboxes of it.
async fn visible(app: &App, tenant: &Tenant, reference: &Reference<'_>) -> ApiResult<Option<TemplateRow>> {
    if let Ok(id) = reference.name.parse() {
        let row = app.store.template(id).await?;
        return Ok(row.filter(|row| row.public || row.project == tenant.project));
    }
    if let Some(project) = reference.project {
        let Some(project) = app.store.find_project(project).await? else {
            return Ok(None);
        };
        let row = app.store.template_named(project.id, reference.name).await?;
        return Ok(row.filter(|row| row.public || row.project == tenant.project));
    }
    match app.store.template_named(tenant.project, reference.name).await? {
        Some(row) => Ok(Some(row)),
        None => of_everybody(app, reference.name).await,
    }
}

/// The public template of a name that stands for itself: of the project that there is from the first start on, whose templates
/// the host's owner makes. Any other project's are asked for by its name, so that nobody takes a name from others.
async fn of_everybody(app: &App, name: &str) -> ApiResult<Option<TemplateRow>> {
    let Some(project) = app.store.find_project(ProjectName::default().as_str()).await? else {
        return Ok(None);
    };
    let row = app.store.template_named(project.id, name).await?;
    Ok(row.filter(|row| row.public))
}

/// The tenant's own template of a name or an ID. One that is another project's, and everybody's to use, is told apart from none.
pub(crate) async fn owned_or_taken(app: &App, tenant: &Tenant, text: &str) -> ApiResult<TemplateRow> {
    match visible(app, tenant, &Reference::of(text)).await? {
        Some(row) if row.project == tenant.project => Ok(row),
        Some(_) => Err(ApiError::new(
            ProblemCode::Forbidden,
            format!(
                "template {text:?} is another project's: sandboxes can be made of it, and nothing of it can be changed"
            ),
        )),
        None => Err(no_template(text)),
    }
}

/// The tenant's own template of a name or an ID, to be changed.
pub(crate) async fn owned(app: &App, tenant: &Tenant, text: &str) -> ApiResult<TemplateRow> {
    debug_assert!(tenant.role.may(Action::MachineRead));
    let reference = Reference::of(text);
    let row = visible(app, tenant, &reference).await?;
    let row = row.filter(|row| row.project == tenant.project);
    row.ok_or_else(|| no_template(text))
}

/// The tenant's own template, and the build that the tag means which the reference names.
pub(crate) async fn tagged(app: &App, tenant: &Tenant, text: &str) -> ApiResult<(TemplateRow, BuildId)> {
    let template = owned(app, tenant, text).await?;
    let tag = Reference::of(text).tag;
    let tags = app.store.tags(template.id).await?;
    match tags.iter().find(|row| row.tag == tag) {
        Some(row) => Ok((template, row.build)),
        None => Err(no_tag(text, tag, &tags)),
    }
}

/// The tag that a reference names.
pub(super) fn tag_of(text: &str) -> &str {
    Reference::of(text).tag
}

/// Whether a reference of the tenant's own means a template by this tag: each part of it may be left out.
pub(crate) fn means(tenant: &Tenant, text: &str, template: &TemplateRow, tag: &str) -> bool {
    let reference = Reference::of(text);
    let of_project = reference.project.is_none_or(|project| project == tenant.name.as_str());
    let named = template.names.iter().any(|name| name == reference.name) || template.id.to_string() == reference.name;
    of_project && named && (!text.contains(':') || reference.tag == tag)
}

/// The template is there, and the tag is not.
fn no_tag(text: &str, tag: &str, tags: &[TagRow]) -> ApiError {
    let has: Vec<_> = tags.iter().map(|row| row.tag.as_str()).collect();
    let detail = if has.is_empty() {
        format!("template {text:?} has no build that went well; build it first")
    } else {
        format!("template {text:?} has no tag {tag:?}; it has {}", has.join(", "))
    };
    ApiError::new(ProblemCode::TemplateNotFound, detail)
}

/// There is none, or none that the caller may know of.
pub(crate) fn no_template(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    ApiError::new(
        ProblemCode::TemplateNotFound,
        format!("there is no template {text:?}; `hearth template ls` lists those there are"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_project_name_and_tag() {
        let parts = |text| {
            let Reference { project, name, tag } = Reference::of(text);
            (project, name, tag)
        };
        assert_eq!(parts("base"), (None, "base", "default"));
        assert_eq!(parts("base:v1"), (None, "base", "v1"));
        assert_eq!(parts("team/base:v1"), (Some("team"), "base", "v1"));
    }
}
