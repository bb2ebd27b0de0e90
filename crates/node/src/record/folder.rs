//! The folder itself: what is in it appears and vanishes whole.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use hearth_domain::MachineSpec;
use hearth_ids::{MachineId, SnapshotId};

use super::MachineRecord;
use crate::{
    files::{remove_tree, sync_folder, write_private},
    snapshot::{self, Staged},
};

/// Begins the names of folders that were put aside.
const DAMAGED_PREFIX: &str = ".damaged-";
/// Begins the names of recovery points.
const RECOVERY_PREFIX: &str = "recovery-";

/// The folder of one machine.
#[derive(Debug, Clone)]
pub(crate) struct MachineFolder(PathBuf);

impl MachineFolder {
    /// Makes the folder of a new machine, whole or not at all. With what it goes on from, or the disk that it boots with, if
    /// that is somebody's.
    pub(crate) fn create(
        machines: &Path,
        spec: &MachineSpec,
        record: &MachineRecord,
        staged: Option<Staged>,
    ) -> io::Result<Self> {
        let making = machines.join(format!(".making-{}", spec.id));
        let folder = machines.join(spec.id.to_string());
        let lasting = is_lasting(spec);
        let made = Self::fill(&making, spec, record, staged, lasting)
            .and_then(|()| fs::rename(&making, &folder))
            .and_then(|()| if lasting { sync_folder(machines) } else { Ok(()) });
        if let Err(error) = made {
            // A full disk wants its blocks back.
            let _ = remove_tree(&making);
            return Err(error);
        }
        Ok(Self(folder))
    }

    fn fill(
        making: &Path,
        spec: &MachineSpec,
        record: &MachineRecord,
        staged: Option<Staged>,
        lasting: bool,
    ) -> io::Result<()> {
        fs::create_dir(making)?;
        // Reachable for the VMM's user, who owns `vmm/`, but not readable.
        fs::set_permissions(making, fs::Permissions::from_mode(0o711))?;
        write_private(&making.join("spec.json"), &serde_json::to_vec_pretty(spec)?, lasting)?;
        write_private(&making.join("state.json"), &serde_json::to_vec(record)?, lasting)?;
        let folder = Self(making.to_owned());
        match staged {
            Some(Staged::Whole(draft)) => {
                draft.place(&folder.saved())?;
                folder.take_disk(&folder.saved())?;
            }
            Some(Staged::Disk { disk, .. }) => folder.take_disk(disk.path())?,
            None => {}
        }
        if lasting {
            sync_folder(making)?;
        }
        crate::fault::point("create.folder");
        Ok(())
    }

    /// Where a machine's folder is.
    pub(crate) fn of(machines: &Path, machine: MachineId) -> Self {
        Self(machines.join(machine.to_string()))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The driver's part.
    pub(crate) fn vmm(&self) -> PathBuf {
        self.0.join("vmm")
    }

    /// The machine's own disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.0.join("disk.ext4")
    }

    /// What its VMM goes on from.
    pub(crate) fn saved(&self) -> PathBuf {
        self.0.join("saved")
    }

    /// The same while it is written.
    pub(crate) fn saving(&self) -> PathBuf {
        self.0.join(".saving")
    }

    /// What a rollback brings.
    pub(crate) fn rollback(&self) -> PathBuf {
        self.0.join("rollback")
    }

    /// A recovery point.
    pub(crate) fn recovery(&self, id: SnapshotId) -> PathBuf {
        self.0.join(format!("{RECOVERY_PREFIX}{id}"))
    }

    /// The same while it is made.
    pub(crate) fn recovery_draft(&self) -> PathBuf {
        self.0.join(".recovery")
    }

    /// Removes all recovery points but one. Idempotent.
    pub(crate) fn remove_recoveries_but(&self, kept: Option<SnapshotId>) -> io::Result<()> {
        remove_tree(&self.recovery_draft())?;
        let kept = kept.map(|id| self.recovery(id));
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let is_one = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(RECOVERY_PREFIX.as_bytes());
            if is_one && Some(entry.path()) != kept {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Puts what a rollback brought in the place of what was there. Idempotent.
    pub(crate) fn take_rollback(&self) -> io::Result<()> {
        let brought = self.rollback();
        if !brought.exists() {
            // A try before this one was cut off right at its end.
            return Ok(());
        }
        self.take_disk(&brought)?;
        remove_tree(&self.saved())?;
        fs::rename(brought, self.saved())?;
        sync_folder(&self.0)
    }

    /// Makes the disk that came with a snapshot the machine's own.
    fn take_disk(&self, from: &Path) -> io::Result<()> {
        match fs::rename(from.join(snapshot::DISK), self.disk()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Has what was written to the disk survive a power cut.
    pub(crate) fn sync_disk(&self) -> io::Result<()> {
        match fs::File::open(self.disk()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened?.sync_all(),
        }
    }

    /// Removes what a rollback brought that will not be. Idempotent.
    pub(crate) fn remove_rollback(&self) -> io::Result<()> {
        remove_tree(&self.rollback())
    }

    /// Removes what was saved. Idempotent.
    pub(crate) fn remove_saved(&self) -> io::Result<()> {
        remove_tree(&self.saving())?;
        remove_tree(&self.saved())
    }

    /// Writes down that the machine is another one from here on.
    pub(crate) fn save_spec(&self, spec: &MachineSpec) -> io::Result<()> {
        self.replace("spec.json", &serde_json::to_vec_pretty(spec)?, is_lasting(spec))
    }

    /// Reads what the machine should be.
    pub(crate) fn load_spec(&self) -> io::Result<MachineSpec> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("spec.json"))?)?)
    }

    /// Reads what a predecessor saw it do.
    pub(crate) fn load_record(&self) -> io::Result<MachineRecord> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("state.json"))?)?)
    }

    /// Replaces the record. Of a machine at rest that has a disk, and of one that is on disk whole, now or in a recovery point,
    /// it survives a power cut as well, which leaves nothing of any other machine that would be worth the wait.
    pub(crate) fn save(&self, record: &MachineRecord) -> io::Result<()> {
        let on_disk = record.saved.is_some() || record.recovery.is_some();
        let lasting = on_disk || (record.state.is_at_rest() && self.disk().exists());
        self.write(record, lasting)
    }

    /// The same of a step after `before`. That nothing saved is gone on from any more must survive a power cut where there
    /// is a disk, for what the guest has on it from then on does.
    pub(crate) fn save_after(&self, before: &MachineRecord, record: &MachineRecord) -> io::Result<()> {
        if (before.saved.is_some() && self.disk().exists()) || before.recovery.is_some() {
            return self.write(record, true);
        }
        self.save(record)
    }

    fn write(&self, record: &MachineRecord, lasting: bool) -> io::Result<()> {
        self.replace("state.json", &serde_json::to_vec(record)?, lasting)
    }

    /// Replaces a file whole.
    fn replace(&self, name: &str, bytes: &[u8], lasting: bool) -> io::Result<()> {
        let next = self.0.join(format!("{name}.next"));
        write_private(&next, bytes, lasting)?;
        fs::rename(next, self.0.join(name))?;
        if lasting { sync_folder(&self.0) } else { Ok(()) }
    }

    /// Puts the folder where no machine is looked for and nothing is cleared away: it holds a disk, and nobody knows
    /// whose. Gives its new place.
    pub(crate) fn put_aside(&self) -> io::Result<PathBuf> {
        let name = self.0.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let aside = self.0.with_file_name(format!("{DAMAGED_PREFIX}{name}"));
        fs::rename(&self.0, &aside)?;
        Ok(aside)
    }

    /// Makes the driver's part anew, empty and owned by `uid`.
    pub(crate) fn renew_vmm(&self, uid: u32, gid: u32) -> io::Result<PathBuf> {
        let vmm = self.vmm();
        remove_tree(&vmm)?;
        fs::create_dir(&vmm)?;
        fs::set_permissions(&vmm, fs::Permissions::from_mode(0o700))?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&vmm, Some(uid), Some(gid))?;
        }
        Ok(vmm)
    }

    /// Removes the folder. Idempotent.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let Some(name) = self.0.file_name().and_then(|n| n.to_str()) else {
            return Ok(());
        };
        let going = self.0.with_file_name(format!(".going-{name}"));
        match fs::rename(&self.0, &going) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        crate::fault::point("remove.folder");
        remove_tree(&going)
    }
}

/// Whether something of the machine is there after a power cut that is worth to be found.
fn is_lasting(spec: &MachineSpec) -> bool {
    spec.resources.disk_mib.is_some() || spec.recover.interval_s().is_some()
}

/// The machines that have a folder; half-made and half-removed ones are cleared away.
pub(crate) fn scan(machines: &Path) -> io::Result<Vec<MachineId>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(machines)? {
        let entry = entry?;
        match entry.file_name().to_str().map(str::parse::<MachineId>) {
            Some(Ok(id)) => found.push(id),
            _ if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(DAMAGED_PREFIX.as_bytes()) => {}
            _ => {
                if let Err(error) = remove_tree(&entry.path()) {
                    tracing::warn!(path = %entry.path().display(), %error, "cannot clear away what was half made");
                }
            }
        }
    }
    Ok(found)
}
