//! The guest agent as bytes, built for the guest and carried inside the hearth binary.

/// A static x86-64 executable, to be the initramfs's `/init`.
pub static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth-guest"));

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    #[test]
    fn runs_without_any_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hearth-guest");
        std::fs::write(&path, super::GUEST).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new(&path).arg("--version").output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            env!("CARGO_PKG_VERSION")
        );
        // A dynamic executable names its loader; a static one has no PT_INTERP to name it in.
        assert!(!super::GUEST.windows(10).any(|window| window == b"/ld-linux-"));
    }
}
