//! How Hearth comes onto a host: `make install`, its systemd unit, and what that unit is told.

use std::{fs, os::unix::net::UnixDatagram, path::Path, process::Command};

use hearth_e2e::{Host, HostOptions, PATIENCE, skip};

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn a_service_manager_is_told_when_the_daemon_answers() {
    let mut host = Host::empty(&HostOptions::default());
    host.down();
    let path = host.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut state = [0; 64];
        let length = manager.recv(&mut state).unwrap();
        String::from_utf8_lossy(&state[..length]).into_owned()
    };
    host.spawn(&HostOptions::default().env("NOTIFY_SOCKET", path.to_str().unwrap()));
    assert_eq!(told(), "READY=1");
    host.hearth(&["node", "info"]).ok();
    host.down();
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn the_unit_starts_what_was_installed() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::empty(&HostOptions::default());
    let hearth = host.command(&[]).get_program().to_str().unwrap().to_owned();
    let made = Command::new("make")
        .current_dir(repository())
        .args(["-s", "install-files", "PREFIX=/opt/hearth"])
        .arg(format!("HEARTH={hearth}"))
        .arg(format!("DESTDIR={}", folder.path().display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(folder.path().join("opt/hearth/bin/hearth").is_file());
    let unit = folder.path().join("etc/systemd/system/hearth.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("\nExecStart=/opt/hearth/bin/hearth up\n"), "{text}");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(format!("--root={}", folder.path().display()))
        .arg("hearth.service")
        .output();
    match verify {
        Ok(verify) => assert!(verify.status.success(), "{verify:?}"),
        Err(_) => skip("systemd-analyze"),
    }
}

#[test]
fn root_without_rust_is_told_whose_it_may_use() {
    let folder = tempfile::tempdir().unwrap();
    let tools = |cargo: Option<&str>, caller: &str| {
        if let Some(version) = cargo {
            let script = folder.path().join("cargo");
            fs::write(&script, format!("#!/bin/sh\necho 'cargo {version}'\n")).unwrap();
            fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let ran = Command::new("bash")
            .arg(repository().join("scripts/tools"))
            .arg("build")
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .env("SUDO_USER", caller)
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    if Path::new("/usr/bin/cargo").exists() {
        return skip("a host without Debian's cargo");
    }
    assert!(tools(None, "nobody").contains("has no cargo that works"));
    if Path::new("/root/.cargo/bin/cargo").exists() {
        assert!(tools(None, "root").contains("sudo env PATH=/root/.cargo/bin:"));
    }
    assert!(tools(Some("1.63.0 (fd9c4297c 2022-07-01)"), "nobody").contains("of Rust 1.63.0"));
}
