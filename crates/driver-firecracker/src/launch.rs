//! Starting the jailer, or the VMM itself.

use std::{
    fs, io,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use hearth_driver::{DriverError, StartPlan};

use crate::{
    layout::{Layout, Stream, jail_base},
    programs::Programs,
    streams,
};

/// The command that becomes the VMM.
pub(crate) fn arguments(plan: &StartPlan, programs: &Programs, layout: &Layout) -> Vec<String> {
    let mut arguments = vec!["--id".to_owned(), plan.machine.to_string()];
    if layout.root.is_some() {
        arguments.extend([
            "--exec-file".to_owned(),
            programs.firecracker.display().to_string(),
            "--chroot-base-dir".to_owned(),
            jail_base(&plan.folder).display().to_string(),
            "--uid".to_owned(),
            plan.user.uid.to_string(),
            "--gid".to_owned(),
            plan.user.gid.to_string(),
        ]);
        if let Some(netns) = &plan.net.netns {
            arguments.extend(["--netns".to_owned(), netns.display().to_string()]);
        }
        arguments.push("--".to_owned());
    }
    arguments.extend(["--api-sock".to_owned(), layout.seen.api.display().to_string()]);
    arguments
}

/// Starts it.
pub(crate) fn launch(plan: &StartPlan, programs: &Programs, layout: &Layout) -> Result<Child, DriverError> {
    let program: &PathBuf = programs.jailer.as_ref().unwrap_or(&programs.firecracker);
    let output = streams::open_for_vmm(Stream::Console, &plan.folder).map_err(DriverError::io("open the console"))?;
    let errors = output.try_clone().map_err(DriverError::io("open the console"))?;
    let child = Command::new(program)
        .args(arguments(plan, programs, layout))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(DriverError::io(format!("start {}", program.display())))?;
    Ok(child)
}

/// Field 22 of `/proc/<pid>/stat`.
pub(crate) fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').map_or("", |(_name, rest)| rest);
    let field = after.split_whitespace().nth(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
