//! The drivers of a daemon, as its flags say.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use hearth_driver::{Driver, fake::FakeDriver, launch::Launcher};
use hearth_driver_firecracker::{FirecrackerConfig, FirecrackerDriver};
use hearth_driver_qemu::{AccelChoice, QemuDriver, QemuOptions};

use crate::args::VmmArgs;

/// All drivers, whether they work here or not.
pub(crate) fn drivers(args: &VmmArgs, state_dir: &Path) -> anyhow::Result<Vec<Arc<dyn Driver>>> {
    let launcher = Launcher::of_this_program();
    let qemu = QemuOptions {
        program: absolute(args.qemu.as_deref())?,
        accel: args.accel,
    };
    let mut drivers: Vec<Arc<dyn Driver>> = vec![
        Arc::new(QemuDriver::new(qemu, launcher.clone())),
        Arc::new(FirecrackerDriver::new(firecracker(args)?, launcher)),
    ];
    if std::env::var_os("HEARTH_FAKE_DRIVER").is_some() {
        tracing::warn!(state_dir = %state_dir.display(), "the fake driver is on: its machines run nothing");
        drivers.push(Arc::new(FakeDriver::default()));
    }
    Ok(drivers)
}

/// What the file says; flags of their own prevail.
fn firecracker(args: &VmmArgs) -> anyhow::Result<FirecrackerConfig> {
    let mut config = match &args.firecracker_config {
        Some(path) => read_config(path)?,
        None => FirecrackerConfig::default(),
    };
    if let Some(program) = absolute(args.firecracker.as_deref())? {
        config.firecracker = Some(program);
    }
    if let Some(program) = absolute(args.jailer.as_deref())? {
        config.jailer = Some(program);
    }
    config.trust_kvm |= args.accel == AccelChoice::Kvm;
    Ok(config)
}

fn read_config(path: &Path) -> anyhow::Result<FirecrackerConfig> {
    let text = std::fs::read(path).with_context(|| format!("cannot read --firecracker-config {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| {
        let path = path.display();
        format!("--firecracker-config {path} is not valid; the handbook has its fields")
    })
}

/// A VMM is started in a folder of its own.
fn absolute(program: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let Some(program) = program else { return Ok(None) };
    let absolute = std::path::absolute(program).with_context(|| format!("cannot find {}", program.display()))?;
    Ok(Some(absolute))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        vmm: VmmArgs,
    }

    fn config(args: &[&str]) -> anyhow::Result<FirecrackerConfig> {
        firecracker(&Line::parse_from([&["x"], args].concat()).vmm)
    }

    #[test]
    fn flags_prevail_over_the_file_and_a_slip_in_it_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let text =
            r#"{"jailer": "/a/jailer", "firecracker": "/a/fc", "balloon": {"amount_mib": 8, "deflate_on_oom": true}}"#;
        std::fs::write(file.path(), text).unwrap();
        let read = config(&["--firecracker-config", path, "--firecracker", "fc"]).unwrap();
        assert_eq!(read.jailer.as_deref(), Some(Path::new("/a/jailer")));
        assert!(
            read.firecracker
                .is_some_and(|path| path.is_absolute() && path.ends_with("fc"))
        );
        assert!(read.balloon.is_some() && !read.trust_kvm);
        assert!(config(&["--accel", "kvm"]).unwrap().trust_kvm);

        std::fs::write(file.path(), r#"{"baloon": {}}"#).unwrap();
        let error = format!("{:#}", config(&["--firecracker-config", path]).unwrap_err());
        assert!(error.contains("baloon") && error.contains(path), "{error}");
    }
}
