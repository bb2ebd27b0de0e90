//! Images, kernel and packages: what the scripts make or fetch once and keep in their cache.

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

/// The image of sandboxes' template `base`, as an OCI archive.
pub(crate) async fn base_template() -> anyhow::Result<PathBuf> {
    printed_path(Command::new(script("templates")).arg("base")).await
}

/// The folder with E2B's SDK for Python.
pub(crate) async fn e2b_packages() -> anyhow::Result<PathBuf> {
    printed_path(Command::new(script("tools")).arg("e2b")).await
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name)
}

async fn from_script(function: &str) -> anyhow::Result<PathBuf> {
    let text = format!("set -euo pipefail; . \"$1\"; {function}");
    printed_path(Command::new("bash").args(["-c", &text, "bash"]).arg(script("lib"))).await
}

/// What a script says it made.
async fn printed_path(script: &mut Command) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(output(script).await?.trim());
    let says = script.as_std();
    anyhow::ensure!(path.exists(), "{says:?} gave {}, which is not there", path.display());
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
