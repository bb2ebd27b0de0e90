//! AWS's own clients, unmodified, fetched once and kept: boto3 and the aws-cli.

use std::path::{Path, PathBuf};

use crate::pip::Shelf;

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
    let name = PACKAGES.join("-").replace("==", "-");
    let packages = Shelf::lock("aws")?.packages(Path::new("python3"), &name, &[], &PACKAGES)?;
    Ok(AwsClients {
        aws: packages.join("bin/aws"),
        packages,
    })
}
