//! Templates and builds as clients see them.

use hearth_api::{BuildLogLine, BuildState, Resources, Template, TemplateBuild, TemplateTag};
use hearth_domain::BuildPlan;
use hearth_store::{BuildLogLine as Line, BuildRow, BuildState as Stored, DEFAULT_TAG, TagRow, TemplateRow};

use crate::time::timestamp;

/// The template; with its builds if wanted.
pub(super) fn template(row: TemplateRow, tags: Vec<TagRow>, builds: Vec<BuildRow>, in_full: bool) -> Template {
    let meant = tags.iter().find(|row| row.tag == DEFAULT_TAG).map(|row| row.build);
    let of_default = builds.iter().find(|build| Some(build.id) == meant);
    let resources = of_default.or(builds.first()).map(|build| resources(&build.plan));
    Template {
        id: row.id,
        names: row.names,
        public: row.public,
        tags: tags.into_iter().map(tag).collect(),
        resources,
        last_build: builds.first().map(|build| state(build.state)),
        created_at: timestamp(row.created_unix_ms),
        updated_at: timestamp(row.updated_unix_ms),
        used_at: row.last_unix_ms.map(timestamp),
        sandboxes: row.spawned,
        builds: if in_full {
            builds.into_iter().map(|row| build(row, Vec::new())).collect()
        } else {
            Vec::new()
        },
    }
}

fn resources(plan: &BuildPlan) -> Resources {
    Resources {
        cpus: plan.vcpus.into(),
        memory_mib: plan.memory_mib.into(),
        disk_mib: Some(plan.disk_mib.into()),
    }
}

fn tag(row: TagRow) -> TemplateTag {
    TemplateTag {
        tag: row.tag,
        build: row.build,
        since: timestamp(row.created_unix_ms),
    }
}

/// A build, with what of its log was asked for.
pub(super) fn build(row: BuildRow, log: Vec<Line>) -> TemplateBuild {
    let (reason, step) = match row.reason {
        Some(reason) => (Some(reason.message), reason.step),
        None => (None, None),
    };
    TemplateBuild {
        id: row.id,
        template: row.template,
        state: state(row.state),
        created_at: timestamp(row.created_unix_ms),
        finished_at: row.finished_unix_ms.map(timestamp),
        reason,
        step,
        snapshot: row.snapshot,
        log: log.into_iter().map(line).collect(),
    }
}

fn state(state: Stored) -> BuildState {
    match state {
        Stored::Waiting => BuildState::Waiting,
        Stored::Building => BuildState::Building,
        Stored::Ready => BuildState::Ready,
        Stored::Error => BuildState::Failed,
    }
}

fn line(line: Line) -> BuildLogLine {
    BuildLogLine {
        at: timestamp(line.at_unix_ms),
        level: line.level,
        step: line.step,
        message: line.message,
    }
}
