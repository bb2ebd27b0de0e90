//! A file up and down by the SDK, against a plain TCP copy: a program in the same guest reads and writes 1 MiB at a time between a
//! socket and a file of the same file system.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
};

use serde_json::{Value, json};

use super::{
    Sandboxes, TEMPLATE,
    sdk::{Sdk, Took},
};
use crate::{figures::Turns, host::Ground, output::Row};

/// Half of what the guest has of memory, so that its disk does not count.
const SIZE_MIB: usize = 256;
/// Half as fast.
const GOAL: f64 = 2.0;
const OURS: &str = "/home/user/by-sdk";
const PLAIN: &str = "/home/user/by-tcp";

pub(super) async fn measure(ground: &Ground, sandboxes: &mut Sandboxes) -> anyhow::Result<Vec<Row>> {
    let source = ground.folder().join("upload");
    write_noise(&source)?;
    let id = sandboxes.sdk.begin(TEMPLATE).await?;
    let address = sandboxes.address(&id).await?;
    let sdk = &mut sandboxes.sdk;
    let _: Value = sdk.ask("copier", json!({ "id": id, "path": PLAIN })).await?;
    let (mut up, mut down) = (Turns::default(), Turns::default());
    for _ in 0..ground.rounds(7) {
        up.ours
            .push(took(sdk, "upload", json!({ "id": id, "source": source, "path": OURS })).await?);
        down.ours
            .push(took(sdk, "download", json!({ "id": id, "path": OURS })).await?);
        clear(sdk, &id).await?;
        let plain = json!({ "address": address, "source": source });
        up.baseline.push(took(sdk, "plain_upload", plain).await?);
        down.baseline
            .push(took(sdk, "plain_download", json!({ "address": address })).await?);
        clear(sdk, &id).await?;
    }
    sandboxes.settle().await?;
    Ok(rows(up, down))
}

fn rows(up: Turns, down: Turns) -> Vec<Row> {
    let ((ours_up, plain_up), (ours_down, plain_down)) = (up.medians(), down.medians());
    vec![
        Row::new(
            "upload of 256 MiB by the SDK, against a plain TCP copy into the guest",
            "ms",
            ours_up,
            plain_up,
            GOAL,
        ),
        Row::new(
            "download of 256 MiB by the SDK, against a plain TCP copy out of it",
            "ms",
            ours_down,
            plain_down,
            GOAL,
        ),
    ]
}

/// Has the SDK's process copy the whole file one way or the other; in milliseconds.
async fn took(sdk: &mut Sdk, wish: &str, details: Value) -> anyhow::Result<f64> {
    let took: Took = sdk.ask(wish, details).await?;
    let whole = took.bytes == SIZE_MIB << 20;
    anyhow::ensure!(whole, "the {wish} of {SIZE_MIB} MiB came to {} bytes", took.bytes);
    Ok(took.ms)
}

/// Has the guest begin anew: what is in its memory still and not on its disk would be the next copy's.
async fn clear(sdk: &mut Sdk, id: &str) -> anyhow::Result<()> {
    let command = format!("rm -f {OURS} {PLAIN}; sync");
    let _: Value = sdk.ask("command", json!({ "id": id, "command": command })).await?;
    Ok(())
}

/// A file that nobody on the way can make smaller by its zeros.
fn write_noise(path: &Path) -> anyhow::Result<()> {
    let mut piece = vec![0; 1 << 20];
    File::open("/dev/urandom")?.read_exact(&mut piece)?;
    let mut file = File::create(path)?;
    for _ in 0..SIZE_MIB {
        file.write_all(&piece)?;
    }
    Ok(())
}
