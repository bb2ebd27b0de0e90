//! What is kept of a QEMU that stands still.
//!
//! The state of vCPUs and devices is written by QEMU itself, with the command that Xen's tools use: it leaves out the
//! memory, which a migration would send along wherever that is not shared. The memory is copied from outside
//! ([`hearth_driver::memory`]). On the other side the devices come in as a migration without any memory.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use hearth_driver::{
    DriverError, Saved, SavedState, VmmHandle, VmmIdentity, kvm, memory,
    process::{self, ProcessId},
    saved,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{accel::Accel, command::QMP_SOCKET, driver::blocking, qmp};

/// Where QEMU writes its devices' state, in its working folder.
const DEVICES: &str = "devices";
const ACTION: &str = "save its state";

/// Writes the files of a QEMU whose vCPUs stand still.
pub(crate) async fn save(handle: &VmmHandle, accel: Accel, folder: &Path) -> Result<Saved, DriverError> {
    let socket = handle.folder.join(QMP_SOCKET);
    let status = qmp::execute(&socket, handle.pid, "query-status", ACTION).await?;
    if status["running"] != false {
        return Err(refused("its vCPUs run"));
    }
    let version = qmp::execute(&socket, handle.pid, "query-version", "tell its version").await?;
    let own = handle.folder.join(DEVICES);
    saved::forget(&own)?;
    let command = json!({
        "execute": "xen-save-devices-state",
        "arguments": { "filename": DEVICES, "live": false },
    });
    qmp::execute_with(&socket, handle.pid, command, ACTION).await?;
    let vmm = ProcessId {
        pid: handle.pid,
        start_ticks: handle.start_ticks,
    };
    let memory_mib = handle.extra["memory_mib"].as_u64().unwrap_or(0);
    let files = SavedState::in_folder(folder);
    let copied = blocking(ACTION, move || copy(vmm, memory_mib << 20, &own, &files));
    let (memory_bytes, devices_bytes) = copied.await??;
    Ok(Saved {
        identity: identity(version_in(&version["qemu"])?, accel),
        memory_bytes,
        devices_bytes,
    })
}

fn refused(message: &str) -> DriverError {
    DriverError::Refused {
        action: ACTION.into(),
        message: message.into(),
    }
}

fn copy(vmm: ProcessId, memory: u64, devices: &Path, files: &SavedState) -> Result<(u64, u64), DriverError> {
    let devices_bytes =
        copy_devices(devices, &files.devices).map_err(DriverError::io(format!("copy {}", devices.display())))?;
    saved::forget(devices)?;
    let copied = memory::copy_out(vmm, memory, &files.memory).map_err(DriverError::io(format!(
        "copy the memory of process {} to {}",
        vmm.pid,
        files.memory.display()
    )))?;
    Ok((copied.data_bytes, devices_bytes))
}

/// QEMU's user wrote it, and may have put anything there.
fn copy_devices(from: &Path, to: &Path) -> io::Result<u64> {
    let (_copy, length) = saved::copy_devices(process::open_untrusted(from)?, to)?;
    Ok(length)
}

fn identity(version: String, accel: Accel) -> VmmIdentity {
    let cpu_features = match accel {
        Accel::Kvm => kvm::cpu_features(),
        // The processor is made up, whatever the host's is.
        Accel::Tcg => Vec::new(),
    };
    VmmIdentity {
        version,
        accelerator: accel.as_str().into(),
        cpu_features,
    }
}

fn version_in(version: &Value) -> Result<String, DriverError> {
    let part = |name: &str| version[name].as_u64();
    match (part("major"), part("minor"), part("micro")) {
        (Some(major), Some(minor), Some(micro)) => Ok(format!("{major}.{minor}.{micro}")),
        _ => Err(refused("it does not tell its version")),
    }
}

/// Versions of programs that were asked, with when each was written.
static VERSIONS: Mutex<Option<HashMap<PathBuf, (SystemTime, String)>>> = Mutex::new(None);

/// What a QEMU that is started now would be.
pub(crate) async fn identity_of_program(program: &Path, accel: Accel) -> Result<VmmIdentity, DriverError> {
    let written = fs::metadata(program)
        .and_then(|meta| meta.modified())
        .map_err(DriverError::io(format!("read {}", program.display())))?;
    let known = |versions: &HashMap<PathBuf, (SystemTime, String)>| {
        let (at, version) = versions.get(program)?;
        (*at == written).then(|| version.clone())
    };
    let lock = || VERSIONS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let found = lock().as_ref().and_then(known);
    if let Some(version) = found {
        return Ok(identity(version, accel));
    }
    let output = Command::new(program).arg("--version").kill_on_drop(true).output().await;
    let output = output.map_err(DriverError::io(format!("run {}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = version_of(&text).ok_or_else(|| refused("it does not tell its version"))?;
    lock()
        .get_or_insert_default()
        .insert(program.to_owned(), (written, version.clone()));
    Ok(identity(version, accel))
}

/// The number in "QEMU emulator version 7.2.22 (Debian …)".
fn version_of(text: &str) -> Option<String> {
    let (_, rest) = text.lines().next()?.split_once("version ")?;
    let version = rest.split_whitespace().next()?;
    version
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_alike() {
        let said = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright\n";
        assert_eq!(version_of(said).as_deref(), Some("7.2.22"));
        assert_eq!(version_of("QEMU emulator version"), None);
        let asked = version_in(&json!({ "major": 7, "minor": 2, "micro": 22 }));
        assert_eq!(asked.unwrap(), "7.2.22");
        assert!(version_in(&json!({ "major": 7 })).is_err());
    }

    #[test]
    fn what_qemus_user_put_there_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, to) = (folder.path().join("link"), folder.path().join("to"));
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(copy_devices(&link, &to).is_err());
    }
}
