//! Building a small kernel from a distribution's source: minutes of work for half the boot time.
//!
//! ```text
//! <cache>/<release of the source>-<digest of source and fragment>/bzImage  config     once it is done
//!         …/work/                                                                      while it is built
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha2::{Digest as _, Sha256};

use crate::bundle::Bundle;
use crate::error::KernelError;
use crate::files::FileInputs;
use crate::progress::KernelProgress;
use crate::step::run;
use crate::store::KernelStore;

/// The options of the guest kernel, over `make allnoconfig`.
pub const GUEST_CONFIG: &str = include_str!("../../../deploy/kernel/guest.config");

/// The packages that a build needs on Debian.
const PACKAGES: &str = "linux-source build-essential bc flex bison libelf-dev libssl-dev cpio xz-utils";
/// Programs that they bring, and that are looked for before anything is unpacked.
const PROGRAMS: [&str; 7] = ["make", "gcc", "bc", "flex", "bison", "tar", "xz"];
/// No machine on which a build makes sense takes longer.
const DEADLINE_S: u32 = 4 * 3600;

/// What to build, and where.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// A `linux-source-*.tar.xz`; by default the newest in `/usr/src`.
    pub source: Option<PathBuf>,
    /// Where finished builds are kept, and where the work is done (2 GiB while it goes on).
    pub cache: PathBuf,
    /// Compilers at a time.
    pub jobs: usize,
    /// Set by whoever does not want the build any more: it ends soon after, and leaves nothing.
    pub cancelled: Arc<AtomicBool>,
}

/// The newest kernel source in `/usr/src`, where Debian's packages put it.
pub fn find_source() -> Option<PathBuf> {
    newest_source(Path::new("/usr/src"))
}

fn newest_source(folder: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let sources = names.filter_map(|name| Some((release_of(&name)?, name)));
    sources.max().map(|(_, name)| folder.join(name))
}

/// `linux-source-6.12.tar.xz` → `[6, 12]`.
fn release_of(file_name: &str) -> Option<Vec<u32>> {
    let release = file_name.strip_prefix("linux-source-")?.split(".tar.").next()?;
    release.split('.').map(|part| part.parse().ok()).collect()
}

impl KernelStore {
    /// Builds the guest kernel, or takes it from the cache, and imports it.
    pub fn build(
        &self,
        options: &BuildOptions,
        progress: &mut dyn FnMut(KernelProgress),
    ) -> Result<Bundle, KernelError> {
        let source = options
            .source
            .clone()
            .or_else(find_source)
            .ok_or_else(|| KernelError::Build {
                reason: format!(
                    "no linux-source-*.tar.xz in /usr/src; install it (apt-get install {PACKAGES}) or name one"
                ),
            })?;
        let place = options.cache.join(key(&source)?);
        if !place.join("bzImage").exists() {
            check_programs()?;
            compile(&source, &place, options, progress)?;
        }
        let inputs = FileInputs {
            vmlinuz: place.join("bzImage"),
            modules: None,
            config: Some(place.join("config")),
        };
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.import_built(&inputs, &name, progress)
    }
}

/// Tells builds apart: by the source, whose bytes are read, and by the fragment.
fn key(source: &Path) -> Result<String, KernelError> {
    let mut hash = Sha256::new();
    let mut file = File::open(source).map_err(|error| KernelError::Build {
        reason: format!("cannot open the source {}: {error}", source.display()),
    })?;
    io::copy(&mut file, &mut hash).map_err(KernelError::io("read", source))?;
    hash.update(GUEST_CONFIG);
    let digest = hex::encode(hash.finalize());
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split(".tar").next().unwrap_or_default();
    Ok(format!("{name}-{}", &digest[..16]))
}

fn check_programs() -> Result<(), KernelError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &&&str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing: Vec<_> = PROGRAMS.iter().filter(|program| !there(program)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(KernelError::Build {
        reason: format!("{} not found; apt-get install {PACKAGES}", missing.join(", ")),
    })
}

/// Builds in `place/work`, and leaves `bzImage` last, so that its presence means that all is there.
fn compile(
    source: &Path,
    place: &Path,
    options: &BuildOptions,
    progress: &mut dyn FnMut(KernelProgress),
) -> Result<(), KernelError> {
    fs::create_dir_all(place).map_err(KernelError::io("create", place))?;
    let lock = File::create(place.join("lock")).map_err(KernelError::io("create", place.join("lock")))?;
    if lock.try_lock().is_err() {
        return Err(KernelError::Build {
            reason: format!("another build works in {}; wait for it", place.display()),
        });
    }
    let work = place.join("work");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(KernelError::io("remove", &work))?;
    }
    fs::create_dir(&work).map_err(KernelError::io("create", &work))?;
    let made = make_in(&work, source, place, options, progress);
    // Also where it failed: it has a gigabyte or two.
    let removed = fs::remove_dir_all(&work).map_err(KernelError::io("remove", &work));
    made.and(removed)
}

fn make_in(
    work: &Path,
    source: &Path,
    place: &Path,
    options: &BuildOptions,
    progress: &mut dyn FnMut(KernelProgress),
) -> Result<(), KernelError> {
    let fragment = place.join("fragment");
    fs::write(&fragment, GUEST_CONFIG).map_err(KernelError::io("write", &fragment))?;
    progress(KernelProgress::Line(format!("unpacking {}", source.display())));
    let mut tar = Command::new("tar");
    tar.arg("-xf")
        .arg(source)
        .arg("--strip-components=1")
        .arg("-C")
        .arg(work);
    let mut run = |command| run(command, &options.cancelled, progress);
    run(tar)?;
    let config = format!("KCONFIG_ALLCONFIG={}", fragment.display());
    run(make(work, &["allnoconfig", &config]))?;
    check_config(&work.join(".config"))?;
    run(make(work, &[&format!("-j{}", options.jobs.max(1)), "bzImage"]))?;
    for (from, to) in [(".config", "config"), ("arch/x86/boot/bzImage", "bzImage")] {
        let (from, to) = (work.join(from), place.join(to));
        fs::rename(&from, &to).map_err(KernelError::io("keep", to))?;
    }
    Ok(())
}

fn make(work: &Path, arguments: &[&str]) -> Command {
    // Behind everything else on the machine, with an end; `timeout` ends make's children as well.
    let mut command = Command::new("nice");
    command.args([
        "-n",
        "19",
        "timeout",
        "--kill-after=10",
        &DEADLINE_S.to_string(),
        "make",
    ]);
    command.arg("-C").arg(work).args(arguments);
    // Equal inputs give equal kernels.
    command
        .env("KBUILD_BUILD_USER", "hearth")
        .env("KBUILD_BUILD_HOST", "hearth");
    command
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01")
        .env("ARCH", "x86_64")
        .env_remove("MAKEFLAGS");
    command
}

/// An option that another one rules out is dropped without a word: look.
fn check_config(path: &Path) -> Result<(), KernelError> {
    let config = fs::read_to_string(path).map_err(KernelError::io("read", path))?;
    let missing = missing_options(&config);
    if missing.is_empty() {
        return Ok(());
    }
    let reason = format!("this source does not take {}; use a 6.12 source", missing.join(", "));
    Err(KernelError::Build { reason })
}

fn missing_options(config: &str) -> Vec<&'static str> {
    let set: std::collections::HashSet<_> = config.lines().collect();
    GUEST_CONFIG
        .lines()
        .filter(|line| line.starts_with("CONFIG_") && !set.contains(line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FEATURES, REQUIRED_OPTIONS};
    use crate::kconfig::KernelConfig;

    #[test]
    fn the_fragment_gives_every_feature() {
        let config = KernelConfig::parse(GUEST_CONFIG);
        let absent: Vec<_> = FEATURES
            .iter()
            .filter(|feature| !config.is_builtin(feature.option))
            .collect();
        assert!(absent.is_empty(), "{absent:?}");
        for any in REQUIRED_OPTIONS {
            assert!(any.iter().any(|option| config.is_builtin(option)), "{any:?}");
        }
    }

    #[test]
    fn options_that_did_not_take_are_named() {
        assert!(missing_options(GUEST_CONFIG).is_empty());
        let without = GUEST_CONFIG.replace("CONFIG_TUN=y", "# CONFIG_TUN is not set");
        assert_eq!(missing_options(&without), ["CONFIG_TUN=y"]);
    }

    #[test]
    fn the_newest_source_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert!(newest_source(folder.path()).is_none());
        for name in [
            "linux-source-6.1.tar.xz",
            "linux-source-6.12.tar.xz",
            "linux-source-6.9.tar.xz",
            "linux-config",
        ] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        assert_eq!(
            newest_source(folder.path()).unwrap(),
            folder.path().join("linux-source-6.12.tar.xz")
        );
    }

    #[test]
    fn a_source_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = KernelStore::open(&folder.path().join("store")).unwrap();
        let source = folder.path().join("linux-source-0.1.tar.xz");
        let mut options = BuildOptions {
            source: Some(source.clone()),
            cache: folder.path().join("cache"),
            jobs: 1,
            cancelled: Arc::default(),
        };
        let refused = |options: &BuildOptions| store.build(options, &mut |_| {}).unwrap_err().to_string();
        assert!(refused(&options).contains("cannot open the source"));
        fs::write(source, b"no tar").unwrap();
        assert!(refused(&options).contains("cannot build a kernel"));
        options.jobs = 0;
        assert!(refused(&options).contains("cannot build a kernel"));
    }
}
