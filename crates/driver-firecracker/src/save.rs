//! What is kept of a VMM that stands still.
//!
//! Firecracker writes the devices' state and the whole memory into two files that it makes as its own user, in its jail.
//! From there they are copied to where they are kept: the memory with holes where it is zero, and both to files that the
//! VMM cannot write any more.
//!
//! A VMM that tracks which pages its guest writes can write those alone, into a file that already has the others. These
//! are known once: of one that booted all are zero, and of one that was restored they are in the file that it holds. What
//! it tracks begins anew with each save, so any other writes the whole memory.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hearth_domain::DriverKind;
use hearth_driver::{
    DriverError, Saved, SavedState, VmmIdentity, VmmUser, kvm,
    memory::{self, Copied},
    process::{ProcessId, open_untrusted},
    saved,
};

use crate::{
    api::{ApiClient, CpuTemplate, HugePages, InstanceState, SnapshotCreate, SnapshotType},
    features::{Features, Version},
    layout::{Transit, saved_once},
    start::refused,
};

const ACTION: &str = "save its state";

/// How fast a VMM must at least write its memory.
const SLOWEST_MIB_PER_S: u64 = 16;

/// What a VMM of this version has in common with all that can go on from it. A template says which features of the
/// processor guests see, whatever else the host's has.
pub(crate) fn identity(version: Version, template: Option<CpuTemplate>) -> VmmIdentity {
    let cpu_features = match template {
        None | Some(CpuTemplate::None) => kvm::cpu_features(),
        Some(template) => vec![format!("the features of the template {template:?}")],
    };
    VmmIdentity {
        version: version.to_string(),
        accelerator: "kvm".to_owned(),
        cpu_features,
    }
}

/// Why machines can be neither saved nor restored, if so. Firecracker restores a memory in huge pages by page faults only,
/// which this driver does not resolve.
pub(crate) fn hindrance(version: Version, huge_pages: Option<HugePages>) -> Option<&'static str> {
    if !Features::of(version).snapshots {
        return Some("save or restore machines before 1.12");
    }
    (huge_pages == Some(HugePages::TwoMebibytes)).then_some("save or restore machines whose memory is in huge pages")
}

/// What a VMM may take to write its memory, beyond any other call.
pub(crate) fn writing_time(memory_mib: u32) -> Duration {
    Duration::from_millis(u64::from(memory_mib) * 1_000 / SLOWEST_MIB_PER_S)
}

/// A VMM that is saved.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) vmm: ProcessId,
    pub(crate) uid: u32,
    pub(crate) jail: Option<PathBuf>,
    pub(crate) folder: PathBuf,
    pub(crate) memory_bytes: u64,
    /// Whether it was itself restored, from a file that it still holds.
    pub(crate) restored: bool,
}

/// Writes the files of a VMM whose vCPUs stand still. Each call on `api` may take as long as its memory needs.
pub(crate) async fn save(api: &ApiClient, subject: Subject, folder: &Path) -> Result<Saved, DriverError> {
    let info = api.instance_info().await.map_err(refused("tell its state"))?;
    if info.state != InstanceState::Paused {
        return Err(unwilling("its vCPUs run"));
    }
    let version = info.vmm_version.parse();
    let version = version.map_err(|_no_version| unwilling("it does not tell its version"))?;
    let config = api.machine_config().await.map_err(refused("tell its size"))?;
    if let Some(action) = hindrance(version, config.huge_pages) {
        return Err(DriverError::Unsupported {
            driver: DriverKind::Firecracker,
            action,
        });
    }
    let written = written(api, &subject, config.track_dirty_pages).await?;
    let files = SavedState::in_folder(folder);
    let copied = blocking(move || written.copy(subject.memory_bytes, &files)).await;
    let (memory, devices_bytes) = copied?;
    Ok(Saved {
        identity: identity(version, config.cpu_template),
        memory_bytes: memory.data_bytes,
        devices_bytes,
    })
}

fn unwilling(message: &str) -> DriverError {
    DriverError::Refused {
        action: ACTION.to_owned(),
        message: message.to_owned(),
    }
}

/// Does what takes time where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DriverError::io(ACTION)(io::Error::other(error)))?
}

/// Removes a file of a hand-over, whatever becomes of it. (One that a VMM makes only after its save was given up is left
/// to the next save, or to the machine's clean.)
#[derive(Debug)]
struct Trace(PathBuf);

impl Trace {
    /// Without what an earlier save may have left there.
    fn of(path: &Path) -> Result<Self, DriverError> {
        saved::forget(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Err(error) = saved::forget(&self.0) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a file of a save stays behind"
            );
        }
    }
}

/// What a VMM wrote, without any name by now. Its user made it, and may have put anything there.
#[derive(Debug)]
struct Written {
    memory: File,
    devices: File,
}

async fn written(api: &ApiClient, subject: &Subject, tracks: bool) -> Result<Written, DriverError> {
    let transit = Transit::of(subject.jail.as_deref(), &subject.folder);
    let _memory = Trace::of(&transit.memory.host)?;
    let _devices = Trace::of(&transit.devices.host)?;
    let first = first_time(&subject.folder)?;
    let snapshot_type = if tracks && first {
        if subject.restored {
            lay_base(subject.clone(), &transit).await?;
        }
        SnapshotType::Diff
    } else {
        SnapshotType::Full
    };
    let snapshot = SnapshotCreate {
        snapshot_type,
        snapshot_path: transit.devices.seen.display().to_string(),
        mem_file_path: transit.memory.seen.display().to_string(),
    };
    api.create_snapshot(&snapshot).await.map_err(refused(ACTION))?;
    Written::open(&transit)
}

/// Whether nobody tried to save this VMM before. What it tracks begins anew each time, also where a save came to nothing,
/// so that what it began with is known but once.
fn first_time(folder: &Path) -> Result<bool, DriverError> {
    let mark = saved_once(folder);
    match File::create_new(&mark) {
        Ok(_made) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(DriverError::io(format!("make {}", mark.display()))(error)),
    }
}

/// Puts what a VMM was restored from where it writes over it what its guest changed since.
async fn lay_base(subject: Subject, transit: &Transit) -> Result<(), DriverError> {
    let path = transit.base.host.clone();
    // Under another name, until it is whole and somebody still wants it.
    let base = blocking(move || copy_base(&subject, &path)).await?;
    fs::rename(&base.0, &transit.memory.host).map_err(DriverError::io("name the memory's base"))
}

fn copy_base(subject: &Subject, path: &Path) -> Result<Trace, DriverError> {
    let trace = Trace::of(path)?;
    let copy = || {
        let base = memory::restored_from(subject.vmm, subject.jail.is_some(), subject.memory_bytes)?;
        let (copy, _copied) = memory::copy_written(&base, subject.memory_bytes, path)?;
        // By its descriptor: by now the VMM may have put something else there.
        std::os::unix::fs::fchown(copy, Some(subject.uid), None)
    };
    let action = format!("copy what process {} was restored from", subject.vmm.pid);
    copy().map_err(DriverError::io(action))?;
    Ok(trace)
}

impl Written {
    fn open(transit: &Transit) -> Result<Self, DriverError> {
        let open = |path: &Path| {
            let action = format!("open what the VMM wrote, {}", path.display());
            open_untrusted(path).map_err(DriverError::io(action))
        };
        Ok(Self {
            memory: open(&transit.memory.host)?,
            devices: open(&transit.devices.host)?,
        })
    }

    /// To files of our own: the bytes of memory that are data, and those of the devices.
    fn copy(self, memory_bytes: u64, files: &SavedState) -> Result<(Copied, u64), DriverError> {
        let doing = |to: &Path| DriverError::io(format!("copy what the VMM wrote to {}", to.display()));
        let (_devices, length) = saved::copy_devices(self.devices, &files.devices).map_err(doing(&files.devices))?;
        let memory = memory::copy_written(&self.memory, memory_bytes, &files.memory);
        let (_memory, copied) = memory.map_err(doing(&files.memory))?;
        Ok((copied, length))
    }
}

/// Puts the devices' state where the VMM reads it. Nobody else may read the one that is kept, so it gets its own.
pub(crate) fn hand_over(saved: &Path, transit: &Transit, user: VmmUser) -> Result<(), DriverError> {
    let to = &transit.devices.host;
    let give = || {
        let (copy, _length) = saved::copy_devices(File::open(saved)?, to)?;
        std::os::unix::fs::fchown(copy, Some(user.uid), Some(user.gid))
    };
    give().map_err(DriverError::io(format!(
        "copy the saved devices {} to {}",
        saved.display(),
        to.display()
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_template_stands_for_the_features_that_it_shows() {
        let version = Version::new(1, 12, 1);
        let plain = identity(version, None);
        assert_eq!((plain.version.as_str(), plain.accelerator.as_str()), ("1.12.1", "kvm"));
        assert_eq!(plain, identity(version, Some(CpuTemplate::None)));
        assert!(!plain.cpu_features.is_empty());
        let shown = identity(version, Some(CpuTemplate::T2S));
        assert_eq!(shown.cannot_restore(&shown), None);
        let why = identity(version, Some(CpuTemplate::T2A)).cannot_restore(&shown);
        assert!(why.unwrap().contains("T2S"));
    }

    #[test]
    fn what_the_vmm_put_in_a_files_place_is_not_followed_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let transit = Transit::of(None, folder.path());
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        let files = SavedState::in_folder(&kept);

        fs::write(&transit.memory.host, vec![1; 4095]).unwrap();
        symlink("/etc/passwd", &transit.devices.host).unwrap();
        let error = Written::open(&transit).unwrap_err();
        assert!(error.to_string().contains("saved.devices"), "{error}");
        for place in [&transit.memory, &transit.devices] {
            drop(Trace(place.host.clone()));
        }
        assert!(Path::new("/etc/passwd").exists());
        for place in [&transit.memory, &transit.devices] {
            assert!(place.host.symlink_metadata().is_err());
        }

        fs::write(&transit.devices.host, "devices").unwrap();
        fs::write(&transit.memory.host, vec![1; 4095]).unwrap();
        let error = Written::open(&transit).unwrap().copy(4096, &files).unwrap_err();
        assert!(hearth_driver::chain(&error).contains("4095"), "{error}");
    }

    #[test]
    fn what_hinders_a_save_is_said() {
        let [before, since] = [Version::new(1, 11, 9), Version::new(1, 12, 0)];
        assert!(hindrance(before, None).unwrap().contains("1.12"));
        assert_eq!(hindrance(since, None), None);
        assert_eq!(hindrance(since, Some(HugePages::None)), None);
        assert!(
            hindrance(since, Some(HugePages::TwoMebibytes))
                .unwrap()
                .contains("huge")
        );
    }

    #[test]
    fn a_save_is_the_first_once() {
        let folder = tempfile::tempdir().unwrap();
        let first: Vec<_> = (0..3).map(|_| first_time(folder.path()).unwrap()).collect();
        assert_eq!(first, [true, false, false]);
    }

    #[test]
    fn a_base_that_nobody_waits_for_any_more_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base");
        fs::write(&path, "of an earlier save").unwrap();
        let subject = Subject {
            vmm: ProcessId::own().unwrap(),
            uid: rustix::process::getuid().as_raw(),
            jail: None,
            folder: folder.path().to_owned(),
            memory_bytes: 4096,
            restored: true,
        };
        // This process was restored from nothing.
        let error = copy_base(&subject, &path).unwrap_err();
        assert!(error.to_string().contains("restored from"), "{error}");
        assert!(!path.exists());
    }
}
