//! AWS's own Lambda runtime client for Python, unmodified, fetched once and kept.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::pip::{Shelf, run};

const PACKAGE: &str = "awslambdaric==4.2.2";

/// A Python with what it needs to run `-m awslambdaric`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonRuntime {
    /// The interpreter, by its absolute path.
    pub python: PathBuf,
    /// For `PYTHONPATH`: the package and what it depends on.
    pub packages: PathBuf,
}

/// `awslambdaric` 4.2.2 for this host's Python, from the cache of downloads or else by pip.
///
/// A lock lets parallel tests download once. The error says what is missing, for a test to skip with.
pub fn python_runtime() -> Result<PythonRuntime, String> {
    let script = "import sys; print(sys.executable); print(sys.implementation.cache_tag)";
    let told = run(Command::new("python3").args(["-c", script]))?;
    let mut lines = told.lines();
    let (Some(python), Some(tag)) = (lines.next(), lines.next()) else {
        return Err(format!("python3 does not say what it is: {told}"));
    };
    let name = format!("{}-{tag}", PACKAGE.replace("==", "-"));
    let options = ["--only-binary=:all:"];
    let packages = Shelf::lock("awslambdaric")?.packages(Path::new(python), &name, &options, &[PACKAGE])?;
    Ok(PythonRuntime {
        python: python.into(),
        packages,
    })
}
