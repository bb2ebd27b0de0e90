//! The first root file system: the guest agent as `/init`, and the modules that it loads.
//!
//! ```text
//! /init                          the agent, PID 1
//! /lib/hearth/modules.list       file names in load order, a line each; a leading `-` marks one that may fail
//! /lib/hearth/modules/NNN-name.ko
//! /dev/console  /proc  /sys  /newroot
//! ```

use crate::compression::{self, Compression};
use crate::cpio::Archive;
use crate::elf;
use crate::error::KernelError;

/// Grows when the layout or the compression changes, so that stored images are made anew.
pub(crate) const GENERATION: u32 = 1;

/// The compression of every initramfs: measured, see docs/adr/0004-initramfs-compression.md.
pub(crate) const COMPRESSION: Compression = Compression::None;

/// Makes the image. `modules` are file name, whether it is optional, and body, in load order.
pub fn build_initramfs(
    agent: &[u8],
    modules: &[(String, bool, Vec<u8>)],
    format: Compression,
) -> Result<Vec<u8>, KernelError> {
    if !elf::is_program(agent) {
        return Err(KernelError::BadAgent { bytes: agent.len() });
    }
    let mut archive = Archive::default();
    for folder in [
        "dev",
        "proc",
        "sys",
        "newroot",
        "lib",
        "lib/hearth",
        "lib/hearth/modules",
    ] {
        archive.folder(folder);
    }
    archive.device("dev/console", 0o600, 5, 1);
    let mut list = String::new();
    for (file, optional, body) in modules {
        archive.file(&format!("lib/hearth/modules/{file}"), 0o644, body);
        list.push_str(if *optional { "-" } else { "" });
        list.push_str(file);
        list.push('\n');
    }
    archive.file("lib/hearth/modules.list", 0o644, list.as_bytes());
    archive.file("init", 0o755, agent);
    compression::pack(format, &archive.finish())
        .map_err(|error| KernelError::bad_kernel(format!("cannot compress the initramfs: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_cpio_program_reads_it() {
        if Command::new("cpio").arg("--version").output().is_err() {
            eprintln!("SKIPPED: cpio");
            return;
        }
        let modules = [
            ("000-a.ko".to_owned(), false, b"aaa".to_vec()),
            ("001-b.ko".to_owned(), true, b"b".to_vec()),
        ];
        let image = build_initramfs(&elf::tiny_vmlinux(b"agent"), &modules, Compression::None).unwrap();
        let mut cpio = Command::new("cpio")
            .args(["-itv", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&image).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        let listing = String::from_utf8(output.stdout).unwrap();
        let names: Vec<_> = listing
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        let expected = [
            "dev",
            "proc",
            "sys",
            "newroot",
            "lib",
            "lib/hearth",
            "lib/hearth/modules",
            "dev/console",
            "lib/hearth/modules/000-a.ko",
            "lib/hearth/modules/001-b.ko",
            "lib/hearth/modules.list",
            "init",
        ];
        assert_eq!(names, expected);
        assert!(
            listing
                .lines()
                .any(|line| line.starts_with("crw-------") && line.contains("5,   1"))
        );
        assert!(image.windows(19).any(|window| window == b"000-a.ko\n-001-b.ko\n"));
    }

    #[test]
    fn an_agent_that_is_no_program_is_refused() {
        assert!(matches!(
            build_initramfs(b"", &[], Compression::None),
            Err(KernelError::BadAgent { bytes: 0 })
        ));
    }
}
