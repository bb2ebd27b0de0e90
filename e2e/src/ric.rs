//! An image of AWS's own runtime client, as its guide makes one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{Ran, fixture::runtime_archive};

/// An archive of an image that is a Python with unmodified `awslambdaric` as its entry point, `program` as `app.py`, and
/// `app.handler` as the handler. It is made in `folder`, packed as the runtimes' images are.
///
/// The error says what is missing, for a test to skip with.
pub fn ric_archive(folder: &Path, program: &str) -> Result<PathBuf, String> {
    let packages = hearth_testkit::lambda::python_runtime()?.packages;
    let runtime = runtime_archive("python3");
    let beside = fs::read_dir(runtime.parent().expect("it lies in a folder")).expect("the cache can be read");
    let mut bases = beside.flatten().map(|entry| entry.path());
    let base = bases.find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("base-python3-"))
    });
    let base = base.expect("the runtime's base lies beside it");
    let overlay = folder.join("overlay");
    fs::create_dir_all(overlay.join("app")).expect("a test's own folder");
    fs::write(overlay.join("app/app.py"), program).expect("a test's own folder");
    let copied = overlay.join("app/packages");
    Ran::of(Command::new("cp").arg("-r").args([&packages, &copied]), b"").ok();
    let config = json!({
        "Entrypoint": ["/usr/bin/python3", "-m", "awslambdaric"],
        "Cmd": ["app.handler"],
        "Env": ["PATH=/usr/bin:/bin", "PYTHONPATH=/app/packages:/app"],
        "WorkingDir": "/app",
    });
    let (config_path, image) = (folder.join("ric.json"), folder.join("ric.tar"));
    fs::write(&config_path, config.to_string()).expect("a test's own folder");
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtimes/pack.py");
    let mut packing = Command::new("python3");
    packing.arg(pack).args([&base, &overlay, &config_path, &image]);
    Ran::of(packing.arg("docker.io/test/ric:latest"), b"").ok();
    Ok(image)
}
