//! What the tests share: tars made by hand, images built and mounted, trees compared.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program has its copy, and uses its part"
)]

pub mod archive;
pub mod tree;

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hearth_erofs::{BuildError, Builder, ImageStats, Limits};
use tempfile::TempDir;

/// Root, loop devices and EROFS in the kernel; says what is missing.
pub fn can_mount() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        "root"
    } else if !Path::new("/dev/loop-control").exists() {
        "loop devices"
    } else if !std::fs::read_to_string("/proc/filesystems").unwrap().contains("erofs") {
        "EROFS in the kernel"
    } else {
        return true;
    };
    eprintln!("SKIPPED: {missing}");
    false
}

/// Cases of a property test; `PROPTEST_CASES` asks for more.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |cases| cases.parse().unwrap())
}

/// Whether programs are installed; says which is missing.
pub fn have(programs: &[&str]) -> bool {
    let found = |program: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    match programs.iter().find(|program| !found(program)) {
        Some(missing) => {
            eprintln!("SKIPPED: {missing}");
            false
        }
        None => true,
    }
}

/// Runs a program that must succeed.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// An image in a temporary folder.
pub struct Image {
    pub folder: TempDir,
    pub path: PathBuf,
    pub stats: ImageStats,
}

pub fn builder(folder: &Path, limits: Limits) -> (Builder, PathBuf) {
    let path = folder.join("image.erofs");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    (Builder::create(file, limits).unwrap(), path)
}

pub fn build(layers: &[Vec<u8>]) -> Result<Image, BuildError> {
    build_within(layers, Limits::default())
}

pub fn build_within(layers: &[Vec<u8>], limits: Limits) -> Result<Image, BuildError> {
    let folder = tempfile::tempdir().unwrap();
    let (mut builder, path) = builder(folder.path(), limits);
    for (number, layer) in layers.iter().enumerate() {
        builder.apply_layer(&format!("layer-{number}"), layer.as_slice(), &mut |_| {})?;
    }
    let stats = builder.finish()?;
    Ok(Image { folder, path, stats })
}

impl Image {
    /// Checks the image with the reference tools.
    pub fn fsck(&self) {
        run("fsck.erofs", [OsStr::new("--extract"), self.path.as_os_str()]);
    }

    pub fn mount(&self) -> Mount {
        let at = self.folder.path().join("mount");
        std::fs::create_dir(&at).unwrap();
        let options = ["-t", "erofs", "-o", "loop,ro"].map(OsStr::new);
        run(
            "mount",
            options.into_iter().chain([self.path.as_os_str(), at.as_os_str()]),
        );
        Mount { at }
    }
}

/// A mounted image, unmounted on drop, also by a panic.
pub struct Mount {
    pub at: PathBuf,
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.at).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.at.display());
        }
    }
}
