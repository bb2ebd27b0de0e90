//! Snapshots as clients see them, and as the store keeps what the node says of them.

use hearth_api::{Resources, Snapshot, SnapshotPart, SnapshotState};
use hearth_node_api::SnapshotInfo;
use hearth_store::{PartFacts, SnapshotFacts, SnapshotRow, SnapshotState as Stored};

use crate::time::timestamp;

/// The snapshot; with all of its parts if wanted.
pub(crate) fn snapshot(row: SnapshotRow, in_full: bool) -> Snapshot {
    let SnapshotRow {
        id,
        project: _,
        build: _,
        name,
        spec,
        args: _,
        state,
        transient: _,
        facts,
        created_unix_ms,
    } = row;
    let made_unix_ms = facts.as_ref().map_or(created_unix_ms, |facts| facts.made_unix_ms);
    let data_bytes = |facts: &SnapshotFacts| facts.parts.iter().map(|part| part.data_bytes).sum();
    let bare = Snapshot {
        id,
        name,
        machine: spec.id,
        machine_name: spec.name.into(),
        state: word(state),
        created_at: timestamp(made_unix_ms),
        image: spec.image,
        image_id: spec.image_id,
        kernel_id: spec.kernel_id,
        driver: spec.driver.into(),
        resources: Resources {
            cpus: spec.resources.vcpus.into(),
            memory_mib: spec.resources.memory_mib.into(),
            disk_mib: spec.resources.disk_mib.map(Into::into),
        },
        data_bytes: facts.as_ref().map(data_bytes),
        memory: facts.as_ref().map(SnapshotFacts::has_memory),
        paused_us: None,
        vmm_version: None,
        accelerator: None,
        agent_version: None,
        cpu_features: Vec::new(),
        parents: Vec::new(),
        parts: Vec::new(),
    };
    let Some(facts) = facts else { return bare };
    let (cpu_features, parts) = if in_full {
        (facts.cpu_features, facts.parts.into_iter().map(part).collect())
    } else {
        (Vec::new(), Vec::new())
    };
    Snapshot {
        paused_us: Some(facts.paused_us),
        vmm_version: Some(facts.vmm_version).filter(|version| !version.is_empty()),
        accelerator: Some(facts.accelerator).filter(|accelerator| !accelerator.is_empty()),
        agent_version: Some(facts.agent_version),
        cpu_features,
        parents: facts.parents,
        parts,
        ..bare
    }
}

fn word(state: Stored) -> SnapshotState {
    match state {
        Stored::Making => SnapshotState::Making,
        Stored::Ready => SnapshotState::Ready,
        Stored::Removing => SnapshotState::Removing,
        Stored::Lost => SnapshotState::Lost,
    }
}

fn part(part: PartFacts) -> SnapshotPart {
    let PartFacts {
        name,
        bytes,
        data_bytes,
        hash,
    } = part;
    SnapshotPart {
        name,
        bytes,
        data_bytes,
        hash,
    }
}

/// What the store keeps of what the node says. The spec is there already, and does not change.
pub(crate) fn facts(info: SnapshotInfo) -> SnapshotFacts {
    let SnapshotInfo {
        id: _,
        made_unix_ms,
        spec: _,
        parents,
        vmm_version,
        accelerator,
        cpu_features,
        agent_version,
        parts,
        paused_us,
        programs_held: _,
    } = info;
    let part = |part: hearth_node_api::SnapshotPart| PartFacts {
        name: part.name,
        bytes: part.bytes,
        data_bytes: part.data_bytes,
        hash: part.hash,
    };
    SnapshotFacts {
        made_unix_ms,
        parents,
        vmm_version,
        accelerator,
        cpu_features,
        agent_version,
        parts: parts.into_iter().map(part).collect(),
        paused_us,
    }
}
