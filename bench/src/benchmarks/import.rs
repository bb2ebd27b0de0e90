//! An OCI image of one layer to EROFS, against `umoci unpack` and `mkfs.erofs`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use tokio::process::Command;

use crate::{
    daemon::Daemon,
    figures::{Turns, millis},
    fixtures,
    host::Ground,
    output::Row,
};

const TAG: &str = "bench";

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let daemon = Daemon::start(ground, "import", &[], &[]).await?;
    let work = ground.subfolder("layout")?;
    let layout = make_layout(&work).await?;
    let mut turns = Turns::default();
    for _ in 0..ground.rounds(5) {
        let started = Instant::now();
        daemon
            .hearth(&["image", "import", &layout.to_string_lossy(), "--name", "bench/import"])
            .await?;
        turns.ours.push(millis(started.elapsed()));
        // The next one shall find nothing that it could use again.
        daemon.hearth(&["image", "rm", "bench/import"]).await?;
        daemon.hearth(&["image", "prune"]).await?;
        turns.baseline.push(by_tools(&work, &layout).await?);
    }
    let (ours, baseline) = turns.medians();
    Ok(vec![Row::new(
        "OCI image to EROFS, against umoci and mkfs.erofs",
        "ms",
        ours,
        baseline,
        1.3,
    )])
}

/// The Debian with Python as an OCI layout of one compressed layer.
async fn make_layout(work: &Path) -> anyhow::Result<PathBuf> {
    let root = fixtures::python_root().await?;
    let layout = work.join("oci");
    let image = format!("{}:{TAG}", layout.display());
    fixtures::output(Command::new("umoci").args(["init", "--layout"]).arg(&layout)).await?;
    fixtures::output(Command::new("umoci").args(["new", "--image", &image])).await?;
    fixtures::output(
        Command::new("umoci")
            .args(["raw", "add-layer", "--image", &image])
            .arg(root),
    )
    .await?;
    Ok(layout)
}

async fn by_tools(work: &Path, layout: &Path) -> anyhow::Result<f64> {
    let (bundle, output) = (work.join("bundle"), work.join("root.erofs"));
    let image = format!("{}:{TAG}", layout.display());
    let started = Instant::now();
    fixtures::output(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle)).await?;
    fixtures::output(Command::new("mkfs.erofs").arg(&output).arg(bundle.join("rootfs"))).await?;
    let took = millis(started.elapsed());
    fs::remove_dir_all(&bundle)?;
    fs::remove_file(&output)?;
    Ok(took)
}
