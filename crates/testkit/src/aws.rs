//! AWS's own clients, unmodified, fetched once and kept: boto3 and the aws-cli.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use crate::kernel::downloads;

const PACKAGES: [&str; 2] = ["boto3==1.44.5", "awscli==1.46.3"];

/// A Python that has boto3, and the `aws` program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsClients {
    /// For `PYTHONPATH`: the packages and what they depend on.
    pub packages: PathBuf,
    /// The `aws` program, to be run by Python.
    pub aws: PathBuf,
}

/// `boto3` and the aws-cli from `PyPI`, from the cache of downloads or else by pip.
///
/// A lock lets parallel tests download once. The error says what is missing, for a test to skip with.
pub fn aws_clients() -> Result<AwsClients, String> {
    let cache = downloads();
    let packages = cache.join(PACKAGES.join("-").replace("==", "-"));
    fs::create_dir_all(&cache).map_err(|error| format!("cannot create {}: {error}", cache.display()))?;
    let lock = File::create(cache.join("aws.lock")).map_err(|error| format!("cannot create a lock: {error}"))?;
    lock.lock()
        .map_err(|error| format!("cannot lock {}: {error}", cache.display()))?;
    if !packages.exists() {
        let work = tempfile::tempdir_in(&cache).map_err(|error| format!("cannot make a folder: {error}"))?;
        let made = work.path().join("packages");
        let output = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&made)
            .args(PACKAGES)
            .output()
            .map_err(|error| format!("cannot run pip: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("pip has not installed {PACKAGES:?}: {}", said.trim()));
        }
        fs::rename(&made, &packages).map_err(|error| format!("cannot move to {}: {error}", packages.display()))?;
    }
    Ok(AwsClients {
        aws: packages.join("bin/aws"),
        packages,
    })
}
