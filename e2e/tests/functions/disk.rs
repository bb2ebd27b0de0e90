//! A disk of a test's own.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A file system in a file, gone with the value. What uses it has to go before.
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    /// An empty one of so many MiB. The error says why there can be none, for a test to skip with.
    pub(crate) fn new(mib: u32) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("hearth-e2e-disk-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let disk = Self { folder };
        fs::create_dir(disk.root()).unwrap();
        run("truncate", &["-s".into(), format!("{mib}M"), disk.file()])?;
        // Nothing of it is set aside for root, who fills it.
        run("mkfs.ext4", &["-q".into(), "-m".into(), "0".into(), disk.file()])?;
        disk.mount()?;
        fs::set_permissions(disk.root(), fs::Permissions::from_mode(0o711)).unwrap();
        Ok(disk)
    }

    /// The folder that is on it.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn file(&self) -> String {
        self.folder.path().join("file").display().to_string()
    }

    fn mount(&self) -> Result<(), String> {
        let root = self.root().display().to_string();
        run(
            "mount",
            &["-o".into(), "loop,errors=remount-ro".into(), self.file(), root],
        )
    }

    /// Takes all the room that there is, until the value is dropped.
    pub(crate) fn fill(&self) -> Filler {
        let filler = Filler(self.root().join("filler"));
        let mut file = fs::File::create(&filler.0).unwrap();
        let mut block = 1 << 20;
        while block > 0 {
            let written = file.write_all(&vec![7; block]).and_then(|()| file.sync_data());
            if written.is_err() {
                block /= 4;
            }
        }
        filler
    }

    /// Has the kernel find the file system damaged: from now on it can only be read, whoever has files open on it.
    pub(crate) fn become_read_only(&self) -> Result<(), String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = self.root().display().to_string();
        let device = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let device = words.next()?;
            (words.next()? == root).then_some(device)
        });
        // What was not synced would be lost with the rest.
        run("sync", &["-f".into(), root.clone()])?;
        let device = Path::new(device.unwrap()).file_name().unwrap();
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        fs::write(&trigger, "1").map_err(|error| format!("{}: {error}", trigger.display()))
    }

    /// Puts a repaired copy in its place. Nobody may use it meanwhile. It is a copy since VMMs that other tests started have
    /// taken a look at the mounts: the broken file system lives, read-only, as long as they do.
    pub(crate) fn repair(&self) -> Result<(), String> {
        run("umount", &[self.root().display().to_string()])?;
        let copy = format!("{}-repaired", self.file());
        fs::copy(self.file(), &copy).map_err(|error| format!("{copy}: {error}"))?;
        // It says by its exit code that it has repaired something.
        let _ = Command::new("e2fsck").args(["-fy", &copy]).output();
        fs::rename(&copy, self.file()).map_err(|error| format!("{copy}: {error}"))?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.root()).status();
    }
}

/// What takes the room of a disk.
pub(crate) struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run(program: &str, args: &[String]) -> Result<(), String> {
    let ran = Command::new(program).args(args).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&ran.stderr).trim()))
}
