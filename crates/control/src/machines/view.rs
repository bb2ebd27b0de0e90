//! A machine as clients see it: what was asked for, from the store; what it does, from the node.

use hearth_api::{ExitStatus, Machine, Resources, Transition};
use hearth_domain::{MachineState, StateWord};
use hearth_node_api::MachineStatus;
use hearth_store::MachineRow;

use crate::time::timestamp;

/// What a machine does, from whoever knows it best.
pub(crate) struct Seen {
    pub(crate) state: StateWord,
    pub(crate) exit: Option<ExitStatus>,
    pub(crate) reason: Option<String>,
}

impl Seen {
    pub(crate) fn of_status(status: &MachineStatus) -> Self {
        Self::of_state(&status.state)
    }

    fn of_state(state: &MachineState) -> Self {
        let (exit, reason) = match state {
            MachineState::Stopped { exit } => (Some(exit.clone().into()), None),
            MachineState::Failed { reason } => (None, Some(reason.clone())),
            _ => (None, None),
        };
        Self {
            state: state.word(),
            exit,
            reason,
        }
    }

    pub(crate) fn of_row(row: &MachineRow) -> Self {
        Self {
            state: row.state,
            exit: row.exit.clone().map(Into::into),
            reason: row.reason.clone(),
        }
    }
}

/// The machine, with its history if wanted.
pub(crate) fn machine(row: MachineRow, status: Option<MachineStatus>, with_history: bool) -> Machine {
    // Of a machine that is just being destroyed, its last state tells more.
    let status = status.filter(|status| status.state != MachineState::Destroyed);
    let seen = status.as_ref().map_or_else(|| Seen::of_row(&row), Seen::of_status);
    let (started, finished) = match &status {
        Some(status) => (status.started_unix_ms, status.finished_unix_ms),
        None => (row.started_unix_ms, row.finished_unix_ms),
    };
    let history = status
        .iter()
        .filter(|_| with_history)
        .flat_map(|status| status.history.iter().map(transition));
    let history = history.collect();
    let restarts = status.as_ref().map_or(row.restarts, |status| status.restarts);
    let on_disk = status.as_ref().is_some_and(|status| status.on_disk);
    let recovery_point = status.as_ref().and_then(|status| status.recovery_point_unix_ms);
    let (pid, address) = status.map(|status| (status.pid, status.address)).unwrap_or_default();
    let spec = row.spec;
    Machine {
        id: spec.id,
        name: spec.name.into(),
        image: spec.image,
        image_id: spec.image_id,
        kernel_id: spec.kernel_id,
        driver: spec.driver.into(),
        state: seen.state.into(),
        on_disk,
        snapshot: spec.snapshot,
        exit: seen.exit,
        reason: seen.reason,
        created_at: timestamp(row.created_unix_ms),
        started_at: started.map(timestamp),
        finished_at: finished.map(timestamp),
        restarts,
        resources: Resources {
            cpus: spec.resources.vcpus.into(),
            memory_mib: spec.resources.memory_mib.into(),
            disk_mib: spec.resources.disk_mib.map(Into::into),
        },
        entrypoint: spec.workload.entrypoint,
        cmd: spec.workload.cmd,
        args: row.args,
        env: spec
            .workload
            .env
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        working_dir: spec.workload.working_dir,
        user: spec.workload.user,
        tty: spec.workload.tty,
        stdin: spec.workload.stdin,
        network: spec.network.into(),
        ports: spec.ports.into_iter().map(Into::into).collect(),
        restart: spec.restart.into(),
        recover: spec.recover.into(),
        recovery_point_at: recovery_point.map(timestamp),
        stop_timeout_ms: spec.stop_timeout_ms,
        auto_remove: spec.auto_remove,
        address,
        pid,
        history,
    }
}

fn transition(step: &hearth_node_api::Transition) -> Transition {
    Transition {
        at: timestamp(step.at_unix_ms),
        from: step.from.into(),
        to: step.to.into(),
        reason: step.reason.clone(),
    }
}
