//! Images and kernel: what `scripts/lib` makes once and keeps in its cache.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context as _;
use tokio::process::Command;

/// A small Debian with Python, as a plain root tar.
pub(crate) async fn python_root() -> anyhow::Result<PathBuf> {
    from_script("python_root").await
}

/// Debian's kernel package.
pub(crate) async fn kernel_deb() -> anyhow::Result<PathBuf> {
    from_script("kernel_deb").await
}

async fn from_script(function: &str) -> anyhow::Result<PathBuf> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lib");
    let script = format!("set -euo pipefail; . \"$1\"; {function}");
    let output = output(Command::new("bash").args(["-c", &script, "bash"]).arg(library)).await?;
    let path = PathBuf::from(output.trim());
    anyhow::ensure!(path.is_file(), "{function} gave {}, which is no file", path.display());
    Ok(path)
}

/// Runs a command to its good end and gives its standard output.
pub(crate) async fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", command.as_std().get_program().display()))?;
    anyhow::ensure!(
        output.status.success(),
        "{:?}: {}: {}",
        command.as_std(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}
