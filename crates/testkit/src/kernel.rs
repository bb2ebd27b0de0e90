//! The kernel that tests boot: Debian's cloud kernel, fetched once by apt and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest Debian cloud kernel package, from the cache of downloads or else from the package archive.
///
/// The cache is that of [`downloads`]; a lock lets parallel tests, and `scripts/lib`, download once.
///
/// # Panics
/// If there is neither a package in the cache nor one to be downloaded: nothing can be tested without a kernel.
pub fn debian_kernel_deb() -> PathBuf {
    let cache = downloads();
    fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("create {}: {error}", cache.display()));
    let lock = File::create(cache.join("kernel.lock")).unwrap_or_else(|error| panic!("create lock: {error}"));
    lock.lock()
        .unwrap_or_else(|error| panic!("lock {}: {error}", cache.display()));
    if let Some(deb) = cached(&cache) {
        return deb;
    }
    download(&cache);
    cached(&cache).unwrap_or_else(|| panic!("no linux-image-*-cloud-amd64 package: run `apt-get update` and try again"))
}

/// That package's files, unpacked once and kept beside it. To be read only.
///
/// # Panics
/// If it cannot be unpacked.
pub fn debian_kernel_files() -> PathBuf {
    let deb = debian_kernel_deb();
    let name = deb.file_stem().unwrap_or_default().to_string_lossy();
    let kept = downloads().join(format!("unpacked-{name}"));
    let unpack = || -> std::io::Result<()> {
        let lock = File::create(downloads().join("unpacked.lock"))?;
        lock.lock()?;
        if kept.exists() {
            return Ok(());
        }
        let fresh = tempfile::TempDir::with_prefix_in("unpacking-", downloads())?;
        let status = Command::new("dpkg-deb")
            .arg("-x")
            .arg(&deb)
            .arg(fresh.path())
            .status()?;
        if !status.success() {
            return Err(std::io::Error::other(format!("dpkg-deb ended with {status}")));
        }
        fs::rename(fresh.path(), &kept)?;
        // It was renamed away, so there is nothing to remove.
        let _ = fresh.keep();
        Ok(())
    };
    unpack().unwrap_or_else(|error| panic!("unpack {}: {error}", deb.display()));
    kept
}

/// Where scripts and tests keep what takes a while to make: `$HEARTH_CACHE_DIR`, or `~/.cache/hearth`.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    std::env::var_os("HEARTH_CACHE_DIR").map_or_else(|| home().join(".cache/hearth"), PathBuf::from)
}

/// Where they keep what they download: `$HEARTH_DOWNLOADS`, or `downloads` in [`cache`].
pub fn downloads() -> PathBuf {
    std::env::var_os("HEARTH_DOWNLOADS").map_or_else(|| cache().join("downloads"), PathBuf::from)
}

fn cached(cache: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(cache)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let kernels = names.filter(|name| {
        let deb = Path::new(name).extension().is_some_and(|extension| extension == "deb");
        deb && name.starts_with("linux-image-") && name.contains("-cloud-amd64_")
    });
    kernels.max().map(|name| cache.join(name))
}

/// Downloads beside the cache and moves the result in, so that nobody sees half a package.
fn download(cache: &Path) {
    let Some(package) = package() else { return };
    let Ok(folder) = tempfile::tempdir_in(cache) else {
        return;
    };
    let done = Command::new("apt-get")
        .args(["-q", "download", &package])
        .current_dir(folder.path())
        .output();
    if let Some(output) = done.ok().filter(|output| !output.status.success()) {
        eprintln!(
            "apt-get download {package}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    for entry in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
        let place = cache.join(entry.file_name());
        fs::rename(entry.path(), &place).unwrap_or_else(|error| panic!("move to {}: {error}", place.display()));
    }
}

/// The package that the meta package stands for.
fn package() -> Option<String> {
    let output = Command::new("apt-cache")
        .args(["depends", "linux-image-cloud-amd64"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .find_map(|line| Some(line.trim().strip_prefix("Depends: ")?.to_owned()))
}
