//! Sandboxes as clients see them.

use hearth_api::{Resources, Sandbox, SandboxState};
use hearth_domain::{Action, SandboxState as Wanted};
use hearth_store::SandboxRow;

use crate::{app::App, caller::Tenant, sandboxes::shown, time::timestamp};

/// A sandbox, with what opens it if that is wanted and may be seen. None where it is as good as gone.
pub(super) fn sandbox(app: &App, tenant: &Tenant, row: &SandboxRow, in_full: bool) -> Option<Sandbox> {
    let seen = shown(app, row)?;
    let SandboxRow {
        id,
        project: _,
        machine,
        template,
        alias,
        metadata,
        settings,
        state,
        timeout_ms,
        started_unix_ms,
        ends_unix_ms,
    } = row.clone();
    let state = match (seen.paused, state) {
        (false, _) => SandboxState::Running,
        (true, Wanted::Stopped) => SandboxState::Stopped,
        (true, _) => SandboxState::Paused,
    };
    let enters = in_full && tenant.role.may(Action::MachineExec);
    let resources = seen.spec.resources;
    Some(Sandbox {
        id,
        machine,
        template,
        template_name: alias,
        state,
        metadata,
        started_at: timestamp(started_unix_ms),
        ends_at: timestamp(ends_unix_ms),
        timeout_s: timeout_ms / 1000,
        on_timeout: settings.on_timeout.into(),
        auto_resume: settings.auto_resume,
        keep_alive: settings.keep_alive,
        private_traffic: settings.private_traffic,
        recover: seen.spec.recover.into(),
        network: settings.network.into(),
        resources: Resources {
            cpus: resources.vcpus.into(),
            memory_mib: resources.memory_mib.into(),
            disk_mib: resources.disk_mib.map(Into::into),
        },
        domain: app.sandbox_domain(),
        url: app.plane.get().and_then(|plane| plane.sandbox_url(id)),
        access_token: app.node.access_token(machine).filter(|_| enters),
        traffic_token: (enters && settings.private_traffic).then(|| app.traffic_token(id)),
    })
}
