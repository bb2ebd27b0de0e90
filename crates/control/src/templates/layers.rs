//! What steps left on the disk, kept by all that led to it, so that later builds of the project begin where they differ.
//!
//! A layer is a snapshot without memory. It is noted before it is made, and of no use until it is: what is cut off in between is
//! forgotten by whoever finds it.

use std::fmt;

use hearth_domain::{BuildPlan, BuildStep, MachineSpec};
use hearth_ids::{BuildId, ProjectId, SnapshotId};
use hearth_store::{LayerRow, SnapshotState};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{remove, snapshot};
use crate::{app::App, error::ApiResult, fault, time::now_unix_ms};

/// Layers of one project. Those that were not used for the longest time go first.
const LAYERS_MAX: usize = 32;

/// All that led to a disk: what was built on, and the steps since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of what a build begins with, by what tells it from all others.
    pub(super) fn of(base: &str) -> Self {
        Self(Sha256::digest(base).into())
    }

    /// Of what a COPY names on the disk that this is the key of.
    pub(super) fn copied(self, source: &str) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        hash.update(b"copied\n");
        hash.update(source);
        Self(hash.finalize().into())
    }

    fn then(self, step: &BuildStep) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        // Each with its length before it, so that no two steps read alike.
        let files = step.files_hash.iter();
        for part in [&step.kind].into_iter().chain(&step.args).chain(files) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update([u8::from(step.files_hash.is_some())]);
        // What is copied of a stage is another's by default. Which stage it was is told by the files.
        if step.stage.is_some() {
            hash.update(b"stage");
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The keys after so many steps of a plan, from none to all.
pub(super) fn keys(base: Key, plan: &BuildPlan) -> Vec<Key> {
    let after = |key: &mut Key, step: &BuildStep| {
        *key = key.then(step);
        Some(*key)
    };
    [base].into_iter().chain(plan.steps.iter().scan(base, after)).collect()
}

/// How many steps may be taken from what was made before: those before the first that is to be done anew.
fn reusable(plan: &BuildPlan) -> usize {
    let forced = plan.steps.iter().position(|step| step.force);
    if plan.force {
        0
    } else {
        forced.unwrap_or(plan.steps.len())
    }
}

/// The layers of a project, for one build.
pub(super) struct Layers<'a> {
    pub(super) app: &'a App,
    pub(super) project: ProjectId,
    pub(super) build: BuildId,
    /// After so many steps.
    pub(super) keys: Vec<Key>,
}

/// A layer that a build can go on from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// The steps that it holds.
    pub(super) steps: usize,
    pub(super) disk: SnapshotId,
}

impl Layers<'_> {
    /// The layer that holds the most steps of a plan.
    pub(super) async fn find(&self, plan: &BuildPlan) -> ApiResult<Option<Found>> {
        for steps in (0..=reusable(plan)).rev() {
            let key = self.keys[steps].to_string();
            let Some(disk) = self.app.store.use_layer(self.project, &key, now_unix_ms()).await? else {
                continue;
            };
            let row = self.app.store.snapshot(disk).await?;
            if row.is_some_and(|row| row.state == SnapshotState::Ready) {
                return Ok(Some(Found { steps, disk }));
            }
            self.remove(&LayerRow { key, snapshot: disk }).await?;
        }
        Ok(None)
    }

    /// Keeps the disk of a machine, after so many steps.
    pub(super) async fn keep(&self, spec: MachineSpec, steps: usize) -> ApiResult<SnapshotId> {
        let key = self.keys[steps].to_string();
        let disk = SnapshotId::new();
        let before = self.app.store.use_layer(self.project, &key, now_unix_ms()).await?;
        if let Some(snapshot) = before {
            let key = key.clone();
            self.remove(&LayerRow { key, snapshot }).await?;
        }
        let layer = LayerRow { key, snapshot: disk };
        self.app.store.keep_layer(self.project, &layer, now_unix_ms()).await?;
        if let Err(error) = snapshot::save(self.app, disk, spec, self.build, false).await {
            self.app.store.forget_layer(self.project, &layer).await?;
            return Err(error);
        }
        fault::point("build.layer");
        self.make_room(disk).await;
        Ok(disk)
    }

    /// Forgets the layer that a build could not go on from.
    pub(super) async fn forget(&self, found: Found) -> ApiResult<()> {
        let key = self.keys[found.steps].to_string();
        let snapshot = found.disk;
        self.remove(&LayerRow { key, snapshot }).await
    }

    /// Removes what was used longest ago, where there are too many. The one just made stays.
    async fn make_room(&self, made: SnapshotId) {
        let layers = match self.app.store.layers(self.project).await {
            Ok(layers) => layers,
            Err(error) => return warn!(%error, "cannot look for layers that are too many"),
        };
        let rest = layers.iter().filter(|layer| layer.snapshot != made);
        for layer in rest.skip(LAYERS_MAX - 1) {
            if let Err(error) = self.remove(layer).await {
                warn!(
                    layer = layer.key,
                    error = error.problem.detail,
                    "cannot remove a layer; the next build tries again"
                );
            }
        }
    }

    async fn remove(&self, layer: &LayerRow) -> ApiResult<()> {
        remove_layer(self.app, self.project, layer).await
    }
}

/// Removes all layers of a project. Gives how many there were.
pub(crate) async fn clear(app: &App, project: ProjectId) -> ApiResult<u64> {
    let mut removed = 0;
    for layer in app.store.layers(project).await? {
        remove_layer(app, project, &layer).await?;
        removed += 1;
    }
    Ok(removed)
}

async fn remove_layer(app: &App, project: ProjectId, layer: &LayerRow) -> ApiResult<()> {
    if let Some(row) = app.store.snapshot(layer.snapshot).await? {
        remove::remove_snapshot(app, &row).await?;
    }
    Ok(app.store.forget_layer(project, layer).await?)
}

#[cfg(test)]
mod tests {
    use hearth_domain::{DiskMib, MemoryMib, Vcpus};

    use super::*;

    fn step(args: &[&str], files: Option<&str>) -> BuildStep {
        BuildStep {
            kind: "COPY".to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
            force: false,
            files_hash: files.map(ToOwned::to_owned),
            stage: None,
        }
    }

    fn plan(steps: Vec<BuildStep>) -> BuildPlan {
        BuildPlan {
            vcpus: Vcpus::try_from(1).unwrap(),
            memory_mib: MemoryMib::try_from(512).unwrap(),
            disk_mib: DiskMib::try_from(512).unwrap(),
            from: None,
            user: None,
            stages: Vec::new(),
            steps,
            force: false,
            start_cmd: None,
            ready_cmd: None,
            tags: Vec::new(),
        }
    }

    #[test]
    fn keys_tell_all_that_led_there() {
        let base = Key::of("image");
        let last = |base: Key, steps: Vec<BuildStep>| keys(base, &plan(steps)).last().copied();
        let is = last(base, vec![step(&["a", "b"], Some("1"))]);
        let mut of_stage = step(&["a", "b"], Some("1"));
        of_stage.stage = Some("build".to_owned());
        let other_name = BuildStep {
            stage: Some("other".to_owned()),
            ..of_stage.clone()
        };
        assert_eq!(last(base, vec![of_stage.clone()]), last(base, vec![other_name]));
        assert_eq!(is, last(base, vec![step(&["a", "b"], Some("1"))]));
        for other in [
            last(Key::of("other"), vec![step(&["a", "b"], Some("1"))]),
            last(base, vec![step(&["a", "b"], Some("2"))]),
            last(base, vec![step(&["a", "b", "1"], None)]),
            last(base, vec![step(&["ab"], Some("1"))]),
            last(base, vec![of_stage.clone()]),
            last(base, vec![step(&["x"], None), step(&["a", "b"], Some("1"))]),
        ] {
            assert_ne!(is, other);
        }
    }

    #[test]
    fn what_is_to_be_done_anew_is() {
        let mut plan = plan(vec![step(&["a"], None), step(&["b"], None), step(&["c"], None)]);
        assert_eq!(reusable(&plan), 3);
        plan.steps[1].force = true;
        assert_eq!(reusable(&plan), 1);
        plan.force = true;
        assert_eq!(reusable(&plan), 0);
    }
}
