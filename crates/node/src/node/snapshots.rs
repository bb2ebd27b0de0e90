//! What control asks of snapshots.

use std::sync::Arc;

use hearth_domain::{MachineSpec, NetworkMode, StateWord};
use hearth_ids::SnapshotId;
use hearth_node_api::{ErrorKind, NodeError, SnapshotInfo, SnapshotRequest};
use tokio::sync::oneshot;

use super::Node;
use crate::{
    guest_link,
    held::Held,
    owner::{Command, OwnerHandle, SnapshotOrder, Taken, save_error},
    provisions::Holder,
    services::{Services, blocking, chain},
    snapshot::{Draft, Folder, SnapshotError, Staged, Take, check_disk_shape, check_identity, check_shape, kind_of},
};

/// Refuses what can be paused but not go on from a snapshot, not even one of its own.
pub(super) fn check_network(spec: &MachineSpec) -> Result<(), NodeError> {
    if spec.network != NetworkMode::Bridge {
        return Ok(());
    }
    let message = format!(
        "machine {} is on the bridge and has its address within, which may be another's when it goes on from a snapshot; use another network",
        spec.name
    );
    Err(NodeError::new(ErrorKind::InvalidInput, message))
}

impl Node {
    pub(crate) async fn make_snapshot(&self, request: SnapshotRequest) -> Result<SnapshotInfo, NodeError> {
        let SnapshotRequest {
            id, machine, memory, ..
        } = request;
        if self.services.snapshots.get(id).is_some() {
            return Ok(self.snapshot_of(id)?.info().clone());
        }
        let owner = self.owner(machine)?;
        if memory {
            check_network(&owner.spec)?;
            guest_link::check_can_save(&*self.driver(owner.spec.driver)?, "make a snapshot")?;
        }
        let services = Arc::clone(&self.services);
        let root = services
            .roots
            .hold(&owner.spec.image_id, &owner.spec.layers, Holder::Snapshot(id));
        root.map_err(|error| NodeError::new(ErrorKind::Internal, chain(&*error)))?;
        let made = self.take_snapshot(&owner, request).await;
        if made.is_err() && services.snapshots.get(id).is_none() {
            let _ = services.roots.release(Holder::Snapshot(id));
        }
        made
    }

    async fn take_snapshot(&self, owner: &OwnerHandle, request: SnapshotRequest) -> Result<SnapshotInfo, NodeError> {
        let SnapshotRequest { id, memory, .. } = request;
        let services = Arc::clone(&self.services);
        let running = owner.status.borrow().state.word() == StateWord::Running;
        let guest = owner.guest.borrow().clone().filter(|_| running);
        let (holds, finishing) = (owner.holds.clone(), services.finishing.clone());
        let held = if memory {
            Held::prepare(guest, holds, finishing).await
        } else {
            Held::for_disk(guest, holds, finishing).await
        };
        let held = held.map_err(|error| guest_link::node_error("prepare the machine for a snapshot", &error))?;
        let (taken, taking) = oneshot::channel();
        let at = services.snapshots.workplace("making", id);
        let order = SnapshotOrder { id, at, memory };
        let command = |reply| Command::Snapshot { order, taken, reply };
        self.command(owner.spec.id, command).await?;
        let taken = taking.await.map_err(|_| {
            let message = "the node is closing, or the machine is gone";
            NodeError::new(ErrorKind::Unavailable, message)
        })?;
        let taken = taken.released(held).await;
        let finished = blocking(move || finish(&services, id, taken)).await;
        finished.map_err(save_error)?;
        Ok(self.snapshot_of(id)?.info().clone())
    }

    pub(crate) async fn forget_snapshot(&self, id: SnapshotId) -> Result<(), NodeError> {
        let services = Arc::clone(&self.services);
        let removed = blocking(move || services.snapshots.remove(id)).await;
        removed.map_err(|error| {
            NodeError::new(ErrorKind::Internal, format!("cannot remove snapshot {id}: {error}")).caused_by(error)
        })?;
        self.release_root(Holder::Snapshot(id));
        Ok(())
    }

    /// Gathers what a new machine needs to begin with a snapshot, if it can.
    pub(crate) async fn stage(&self, id: SnapshotId, spec: &MachineSpec) -> Result<Staged, NodeError> {
        let folder = self.snapshot_of(id)?;
        let whole = folder.info().has_memory() && !spec.boots;
        if whole {
            self.check_goes_on(&folder, spec).await?;
        } else {
            let checked = check_disk_shape(&folder.info().spec, spec);
            checked.map_err(|error| refused(id, spec, &error, ErrorKind::InvalidInput))?;
        }
        let disk_mib = spec.resources.disk_mib.map_or(0, u64::from);
        let take = if whole { Take::Whole } else { Take::Disk(disk_mib << 20) };
        let staged = self.copy_for(&folder, spec, take).await?;
        Ok(if whole {
            Staged::Whole(staged)
        } else {
            Staged::disk_of(folder.info(), staged)
        })
    }

    /// The same for a machine that is to go back to it.
    pub(crate) async fn stage_rollback(&self, id: SnapshotId, spec: &MachineSpec) -> Result<Draft, NodeError> {
        let folder = self.snapshot_of(id)?;
        if !folder.info().has_memory() {
            let message = format!(
                "machine {} cannot go back to snapshot {id}, which has no memory to go on from; make another machine of it instead",
                spec.name
            );
            return Err(NodeError::new(ErrorKind::InvalidInput, message));
        }
        self.check_goes_on(&folder, spec).await?;
        self.copy_for(&folder, spec, Take::Whole).await
    }

    /// Refuses a machine that cannot go on from a snapshot's memory here.
    async fn check_goes_on(&self, folder: &Folder, spec: &MachineSpec) -> Result<(), NodeError> {
        let (info, id) = (folder.info(), folder.info().id);
        check_shape(&info.spec, spec).map_err(|error| refused(id, spec, &error, ErrorKind::InvalidInput))?;
        check_network(spec)?;
        let here = self.driver(spec.driver)?.identity().await;
        let here = here.map_err(|error| guest_link::driver_error("look at the VMM", error))?;
        check_identity(info, &here).map_err(|error| refused(id, spec, &error, ErrorKind::Conflict))
    }

    /// A machine's own copy of a snapshot.
    async fn copy_for(&self, folder: &Arc<Folder>, spec: &MachineSpec, take: Take) -> Result<Draft, NodeError> {
        let (folder, id) = (Arc::clone(folder), folder.info().id);
        let workplace = self
            .services
            .machines_dir
            .join(format!(".for-{}-{}", spec.id, SnapshotId::new()));
        let staged = blocking(move || folder.stage(workplace, take)).await;
        staged.map_err(|error| refused(id, spec, &error, kind_of(&error)))
    }

    fn snapshot_of(&self, id: SnapshotId) -> Result<Arc<Folder>, NodeError> {
        match self.services.snapshots.get(id) {
            None => Err(NodeError::no_snapshot(id)),
            Some(Ok(folder)) => Ok(folder),
            Some(Err(why)) => Err(NodeError::new(
                ErrorKind::Conflict,
                format!("snapshot {id} is of no use: {why}"),
            )),
        }
    }
}

fn refused(id: SnapshotId, spec: &MachineSpec, error: &SnapshotError, kind: ErrorKind) -> NodeError {
    let message = format!(
        "machine {} cannot begin with snapshot {id}: {}",
        spec.name,
        chain(error)
    );
    NodeError::new(kind, message)
}

fn finish(services: &Services, id: SnapshotId, taken: Taken) -> std::io::Result<()> {
    let Taken { draft, mut manifest } = taken;
    let snapshots = &services.snapshots;
    draft.finish(&mut manifest, &snapshots.key, &snapshots.path_of(id))?;
    drop(snapshots.add(id));
    Ok(())
}
