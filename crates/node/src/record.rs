//! A machine's folder: what a later daemon needs to find the machine again.
//!
//! ```text
//! machines/<id>/spec.json    what it should be; written once
//!               state.json   what it is doing; replaced whole at each step, before the step
//!               log.<n>      what its program wrote
//!               disk.ext4    its own disk, if it has one
//!               vmm/         the driver's files, owned by the VMM's user
//! ```
//!
//! The folder appears whole (it is made under another name and renamed) and vanishes whole (it is renamed and then
//! removed), so whatever lies under `machines/` is a machine.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hearth_domain::{ExitStatus, MachineEvent, MachineSpec, MachineState, StateWord, TransitionRefused};
use hearth_driver::VmmHandle;
use hearth_ids::MachineId;
use hearth_node_api::{GuestBoot, HISTORY_MAX, Transition};
use serde::{Deserialize, Serialize};

/// Begins the names of folders that were put aside.
const DAMAGED_PREFIX: &str = ".damaged-";

/// The part of a machine that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub(crate) struct MachineRecord {
    /// Where it is.
    pub(crate) state: MachineState,
    /// When it came there, in ms since 1970.
    pub(crate) since_ms: u64,
    /// When the guest of this boot came up, as it says.
    #[serde(default)]
    pub(crate) guest_boot: Option<GuestBoot>,
    /// When its program last began to run.
    #[serde(default)]
    pub(crate) started_ms: Option<u64>,
    /// Whether the program ran in this boot, or in the last one of a machine at rest.
    #[serde(default)]
    pub(crate) ran: bool,
    /// Whether someone wants it to run; false once it was asked to stop.
    #[serde(default)]
    pub(crate) wanted: bool,
    /// Whether it is to be started again once it is at rest: a restart is under way.
    #[serde(default)]
    pub(crate) again: bool,
    /// How long the stop that is under way waits, in ms, if whoever asked said so.
    #[serde(default)]
    pub(crate) stop_timeout_ms: Option<u64>,
    /// Whether it is being removed.
    #[serde(default)]
    pub(crate) removing: bool,
    /// The VMM, from its launch until it is cleaned away.
    #[serde(default)]
    pub(crate) handle: Option<VmmHandle>,
    /// The token that opens the guest's host-only calls. Of this boot.
    #[serde(default)]
    pub(crate) host_token: String,
    /// The token that opens the guest's files and processes. Kept over boots.
    #[serde(default)]
    pub(crate) access_token: String,
    /// Added to the guest's record numbers, which begin anew with each boot.
    #[serde(default)]
    pub(crate) log_base: u64,
    /// How this boot ended, while what it held is being given back.
    #[serde(default)]
    pub(crate) end: Option<End>,
    /// When it last came to rest, in ms since 1970.
    #[serde(default)]
    pub(crate) finished_ms: Option<u64>,
    /// Number of transitions so far.
    #[serde(default)]
    pub(crate) sequence: u64,
    /// User that its VMM runs as; of no other machine.
    #[serde(default)]
    pub(crate) vmm_uid: u32,
    /// Restarts in a row by policy.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// How it came here, the newest last.
    #[serde(default)]
    pub(crate) history: Vec<Transition>,
}

/// How a boot of a machine ended; decided before anything is given back, so that a crash in between loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// By its program, or as asked.
    Exited(ExitStatus),
    /// Otherwise, for this reason.
    Failed(String),
}

impl MachineRecord {
    /// A machine that was just made.
    pub(crate) fn new(now_ms: u64, access_token: String, vmm_uid: u32) -> Self {
        Self {
            state: MachineState::Pending,
            guest_boot: None,
            since_ms: now_ms,
            started_ms: None,
            ran: false,
            wanted: false,
            again: false,
            stop_timeout_ms: None,
            removing: false,
            handle: None,
            host_token: String::new(),
            access_token,
            log_base: 0,
            end: None,
            finished_ms: None,
            sequence: 0,
            vmm_uid,
            attempts: 0,
            history: Vec::new(),
        }
    }

    /// A machine whose record is lost: it fails, once everything is given back that it may hold.
    pub(crate) fn lost(now_ms: u64, access_token: String, vmm_uid: u32, error: &io::Error) -> Self {
        Self {
            state: MachineState::Stopping,
            end: Some(End::Failed(format!("its record cannot be read: {error}"))),
            // More than there can have been transitions, for no number comes twice.
            sequence: now_ms,
            ..Self::new(now_ms, access_token, vmm_uid)
        }
    }

    /// Follows `event`, and remembers the step.
    pub(crate) fn apply(&mut self, event: MachineEvent, now_ms: u64) -> Result<Transition, TransitionRefused> {
        let next = self.state.next(event)?;
        let reason = match &next {
            MachineState::Failed { reason } => Some(reason.clone()),
            MachineState::Stopped { exit } => Some(
                exit.message
                    .clone()
                    .unwrap_or_else(|| format!("exited with {}", exit.code)),
            ),
            _ => None,
        };
        let step = Transition {
            at_unix_ms: now_ms,
            from: self.state.word(),
            to: next.word(),
            reason,
        };
        match next {
            MachineState::Preparing => self.ran = false,
            MachineState::Running if self.state.word() == StateWord::Starting => {
                self.started_ms = Some(now_ms);
                self.ran = true;
            }
            MachineState::Stopped { .. } | MachineState::Failed { .. } => self.finished_ms = Some(now_ms),
            _ => {}
        }
        self.state = next;
        self.since_ms = now_ms;
        self.sequence += 1;
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(step.clone());
        Ok(step)
    }

    /// How long the program has run, or ran the last time, in milliseconds; nothing if that boot failed before it.
    pub(crate) fn ran_ms(&self, now_ms: u64) -> u64 {
        self.started_ms
            .filter(|_| self.ran)
            .map_or(0, |started| self.finished_ms.unwrap_or(now_ms).saturating_sub(started))
    }
}

/// The folder of one machine.
#[derive(Debug, Clone)]
pub(crate) struct MachineFolder(PathBuf);

impl MachineFolder {
    /// Makes the folder of a new machine, whole or not at all.
    pub(crate) fn create(machines: &Path, spec: &MachineSpec, record: &MachineRecord) -> io::Result<Self> {
        let making = machines.join(format!(".making-{}", spec.id));
        let folder = machines.join(spec.id.to_string());
        let lasting = spec.resources.disk_mib.is_some();
        let made = Self::fill(&making, spec, record, lasting)
            .and_then(|()| fs::rename(&making, &folder))
            .and_then(|()| if lasting { sync_folder(machines) } else { Ok(()) });
        if let Err(error) = made {
            // A full disk wants its blocks back.
            let _ = remove_tree(&making);
            return Err(error);
        }
        Ok(Self(folder))
    }

    fn fill(making: &Path, spec: &MachineSpec, record: &MachineRecord, lasting: bool) -> io::Result<()> {
        fs::create_dir(making)?;
        // Reachable for the VMM's user, who owns `vmm/`, but not readable.
        fs::set_permissions(making, fs::Permissions::from_mode(0o711))?;
        write_private(&making.join("spec.json"), &serde_json::to_vec_pretty(spec)?, lasting)?;
        write_private(&making.join("state.json"), &serde_json::to_vec(record)?, lasting)?;
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

    /// Reads what the machine should be.
    pub(crate) fn load_spec(&self) -> io::Result<MachineSpec> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("spec.json"))?)?)
    }

    /// Reads what a predecessor saw it do.
    pub(crate) fn load_record(&self) -> io::Result<MachineRecord> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("state.json"))?)?)
    }

    /// Replaces the record. Of a machine at rest that has a disk it survives a power cut as well, which leaves nothing of
    /// any other machine that would be worth the wait.
    pub(crate) fn save(&self, record: &MachineRecord) -> io::Result<()> {
        let next = self.0.join("state.json.next");
        let lasting = record.state.is_at_rest() && self.disk().exists();
        write_private(&next, &serde_json::to_vec(record)?, lasting)?;
        fs::rename(next, self.0.join("state.json"))?;
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

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Specs carry environments, and environments carry secrets.
fn write_private(path: &Path, bytes: &[u8], lasting: bool) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    if lasting { file.sync_data() } else { Ok(()) }
}

/// Makes names in a folder survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use hearth_domain::{RestartPlan, RestartPolicy, plan_restart};

    use super::*;

    /// A record that went through `events`, each at its time.
    fn after(events: &[(MachineEvent, u64)]) -> MachineRecord {
        let mut record = MachineRecord::new(0, String::new(), 0);
        for (event, now_ms) in events {
            record.apply(event.clone(), *now_ms).unwrap();
        }
        record
    }

    fn run(from_ms: u64, to_ms: u64) -> Vec<(MachineEvent, u64)> {
        vec![
            (MachineEvent::Prepare, from_ms),
            (MachineEvent::Launch, from_ms),
            (MachineEvent::Ready, from_ms),
            (MachineEvent::Fail("x".to_owned()), to_ms),
        ]
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_long_run() {
        for (from_ms, to_ms, ran_ms) in [(1000, 5000, 4000), (5000, 1000, 0), (u64::MAX, 0, 0), (0, 0, 0)] {
            let record = after(&run(from_ms, to_ms));
            assert_eq!(record.ran_ms(u64::MAX), ran_ms);
            let plan = plan_restart(RestartPolicy::Always, &record.state, 3, record.ran_ms(0));
            assert_eq!(
                plan,
                RestartPlan::Restart {
                    delay_ms: 800,
                    attempt: 4
                }
            );
        }
    }

    #[test]
    fn a_boot_that_failed_did_not_run() {
        let mut events = run(1000, 2000);
        events.extend([
            (MachineEvent::Restart, 3000),
            (MachineEvent::Prepare, 3000),
            (MachineEvent::Fail("x".to_owned()), 900_000),
        ]);
        assert_eq!(after(&events).ran_ms(900_000), 0);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut record = MachineRecord::new(0, String::new(), 0);
        for now_ms in 0..100 {
            for (event, _) in run(0, 0) {
                record.apply(event, now_ms).unwrap();
            }
            record.apply(MachineEvent::Restart, now_ms).unwrap();
        }
        assert_eq!((record.history.len(), record.sequence), (HISTORY_MAX, 500));
        assert_eq!(record.history.last().map(|step| step.to), Some(StateWord::Pending));
    }
}
