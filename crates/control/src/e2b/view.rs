//! From rows to what E2B's clients read.

use hearth_domain::{Action, OnTimeout, SandboxSettings, SandboxVolume};
use hearth_ids::BuildId;
use hearth_store::{BuildLogLine, BuildRow, BuildState, SandboxRow, TemplateRow};

use super::{
    ENVD_VERSION,
    wire::{Lifecycle, ListedSandbox, LogEntry, Network, Sandbox, SandboxDetail, Template, VolumeMount},
};
use crate::{app::App, caller::Tenant, sandboxes::shown, time::timestamp};

/// There is one node behind each API so far.
const CLIENT_ID: &str = "hearth";

pub(super) fn time(unix_ms: u64) -> String {
    timestamp(unix_ms).to_string()
}

/// What an SDK needs to go into a sandbox: for those who may.
pub(super) fn entry(app: &App, row: &SandboxRow) -> Sandbox {
    Sandbox {
        template_id: row.template.clone(),
        sandbox_id: row.id.to_string(),
        client_id: CLIENT_ID,
        envd_version: ENVD_VERSION,
        alias: row.alias.clone(),
        envd_access_token: app.node.access_token(row.machine),
        traffic_access_token: row.settings.private_traffic.then(|| app.traffic_token(row.id)),
        domain: app.sandbox_domain(),
    }
}

/// A sandbox as it stands in a list. None where it is as good as gone.
pub(super) fn listed(app: &App, row: &SandboxRow) -> Option<ListedSandbox> {
    let seen = shown(app, row)?;
    let resources = &seen.spec.resources;
    Some(ListedSandbox {
        template_id: row.template.clone(),
        sandbox_id: row.id.to_string(),
        client_id: CLIENT_ID,
        alias: row.alias.clone(),
        started_at: time(row.started_unix_ms),
        end_at: time(row.ends_unix_ms),
        cpu_count: resources.vcpus.get().into(),
        memory_mb: resources.memory_mib.get(),
        disk_size_mb: resources.disk_mib.map_or(0, hearth_domain::DiskMib::get),
        metadata: row.metadata.clone(),
        state: if seen.paused { "paused" } else { "running" },
        envd_version: ENVD_VERSION,
        volume_mounts: row.settings.volumes.iter().map(volume_mount).collect(),
    })
}

/// All about a sandbox. What opens it is for those who may go into it.
pub(super) fn detail(app: &App, tenant: &Tenant, row: &SandboxRow) -> Option<SandboxDetail> {
    let enters = tenant.role.may(Action::MachineExec);
    Some(SandboxDetail {
        listed: listed(app, row)?,
        envd_access_token: app.node.access_token(row.machine).filter(|_| enters),
        domain: app.sandbox_domain(),
        allow_internet_access: row.settings.network.internet,
        network: network(&row.settings),
        lifecycle: Lifecycle {
            auto_resume: row.settings.auto_resume,
            on_timeout: match row.settings.on_timeout {
                OnTimeout::Kill => "kill",
                OnTimeout::Pause | OnTimeout::PauseDisk => "pause",
            },
        },
    })
}

fn volume_mount(volume: &SandboxVolume) -> VolumeMount {
    VolumeMount {
        name: volume.name.clone(),
        path: volume.mount.path.clone(),
    }
}

fn network(settings: &SandboxSettings) -> Network {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    Network {
        allow_out: some(&settings.network.allow_out),
        deny_out: some(&settings.network.deny_out),
        allow_public_traffic: Some(!settings.private_traffic),
        mask_request_host: settings.mask_host.clone(),
        ..Network::default()
    }
}

pub(super) fn line(line: BuildLogLine) -> LogEntry {
    LogEntry {
        timestamp: time(line.at_unix_ms),
        level: line.level,
        message: line.message,
        step: line.step,
    }
}

/// A build's ID as E2B has it, which is a UUID.
pub(super) fn build_id(id: BuildId) -> String {
    uuid::Uuid::from_u128(id.to_u128()).to_string()
}

/// A template in a list, with its newest build.
pub(super) fn template(row: &TemplateRow, builds: &[BuildRow]) -> Option<Template> {
    let ready = builds.iter().find(|build| build.state == BuildState::Ready);
    let shown = ready.or(builds.first())?;
    Some(Template {
        template_id: row.id.to_string(),
        build_id: build_id(shown.id),
        build_status: shown.state.as_str(),
        build_count: builds.len(),
        cpu_count: shown.plan.vcpus.get().into(),
        memory_mb: shown.plan.memory_mib.get(),
        disk_size_mb: shown.plan.disk_mib.get(),
        public: row.public,
        aliases: row.names.clone(),
        names: row.names.clone(),
        created_at: time(row.created_unix_ms),
        updated_at: time(row.updated_unix_ms),
        created_by: None,
        last_spawned_at: row.last_unix_ms.map(time),
        spawn_count: row.spawned,
        envd_version: ENVD_VERSION,
    })
}
