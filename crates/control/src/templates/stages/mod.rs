//! Stages: disks that a build makes to copy from, of which nothing else comes into the template.
//!
//! ```text
//! stage ──► steps in a builder, as the template's own, each layer kept ──► a machine that boots with its disk
//!                                                                              │ a tar of each path that is copied
//!   COPY with the hash of the archive, as of one that a client put ◄── kept by its content ◄── sifted, made root's
//! ```
//! They are built in their order, so that all that one copies is known before its own steps are. From there on they are like any
//! other: layers, log, failure. What was copied before, by the same steps, is not copied again, and then its stage is not built.
//! Nothing is left of a stage but layers and archives, which are bounded and pruned as others are.

mod check;
mod kept;
mod repack;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use futures::{StreamExt as _, stream::BoxStream};
use hearth_domain::{BuildFrom, BuildPlan, BuildReason, BuildStage, BuildStep};
use hearth_node_api::{EntryKind, NodeError};
use hearth_store::{BuildRow, TemplateRow};
use tokio::{sync::mpsc, time::timeout};

pub(super) use check::check;

use self::{
    kept::Kept,
    source::{Pick, Source, readable},
};
use super::{
    build::Begin, files::StepFiles, image::Image, layers::Key, log::BuildLog, machine::Builder, steps::Reason,
    stop::Stop, words::FINALIZE, work::Work,
};
use crate::{app::App, caller::Tenant, fault};

/// How long one copy may take.
const COPY_TIMEOUT: Duration = Duration::from_mins(30);
/// Pieces of a tar that are read ahead.
const AHEAD: usize = 4;

/// The hash of what was copied, by stage and source.
type Copied = BTreeMap<(String, String), String>;

/// The plan of a build, with the hash of all that it copies of its stages. They are built where that is not known.
pub(super) async fn filled(
    app: &Arc<App>,
    (template, build): (&TemplateRow, &BuildRow),
    tenant: &Tenant,
    log: &BuildLog,
    stop: &Arc<Stop>,
) -> Result<BuildPlan, BuildReason> {
    let mut plan = build.plan.clone();
    let mut copied = Copied::new();
    for (at, stage) in build.plan.stages.iter().enumerate() {
        let sources = sources(&build.plan, at);
        let mut steps = stage.steps.clone();
        fill(&mut steps, &copied);
        let own = BuildPlan {
            from: Some(BuildFrom::Image(stage.image.clone())),
            user: None,
            stages: Vec::new(),
            steps,
            ..plan.clone()
        };
        let work = Work {
            app,
            template,
            build,
            log,
            stop,
            plan: &own,
            stage: Some(&stage.name),
        };
        let hashes = work.copied(stage, tenant, &sources).await?;
        let named = hashes
            .into_iter()
            .map(|(source, hash)| ((stage.name.clone(), source), hash));
        copied.extend(named);
    }
    fill(&mut plan.steps, &copied);
    Ok(plan)
}

/// What later steps copy of a stage, each once.
fn sources(plan: &BuildPlan, stage: usize) -> BTreeSet<&str> {
    let name = plan.stages[stage].name.as_str();
    let later = plan.stages[stage + 1..].iter().flat_map(|stage| &stage.steps);
    let of_it = later
        .chain(&plan.steps)
        .filter(|step| step.stage.as_deref() == Some(name));
    of_it.filter_map(|step| step.args.first()).map(String::as_str).collect()
}

fn fill(steps: &mut [BuildStep], copied: &Copied) {
    for step in steps {
        if let (Some(stage), Some(source)) = (&step.stage, step.args.first()) {
            step.files_hash = copied.get(&(stage.clone(), source.clone())).cloned();
        }
    }
}

impl Work<'_> {
    /// Copies what is named of a stage, which is built if it was not copied before. Gives the hash of each.
    async fn copied(
        &self,
        stage: &BuildStage,
        tenant: &Tenant,
        sources: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, String>, BuildReason> {
        let image = Image::of_stage(&stage.image, tenant);
        let base = self.base(&Begin::Image(Box::new(image))).await?;
        let layers = self.layers(&base);
        let Some(key) = layers.keys.last().copied() else {
            return Ok(BTreeMap::new());
        };
        let kept = Kept::of(StepFiles::of(self.app, self.template.project));
        let (mut hashes, mut missing) = (BTreeMap::new(), Vec::new());
        for &source in sources {
            match kept.find(key.copied(source)).await.filter(|_| !self.plan.force) {
                Some(hash) => {
                    self.say("info", &format!("CACHED {source}"));
                    hashes.insert(source.to_owned(), hash);
                }
                None => missing.push(source),
            }
        }
        if missing.is_empty() {
            return Ok(hashes);
        }
        let machine = self.reach(&base, &layers, &mut base.setting()).await?;
        let copies = machine
            .during(Box::pin(self.copy(&machine, &kept, key, &missing)))
            .await?;
        hashes.extend(copies);
        Ok(hashes)
    }

    async fn copy(
        &self,
        machine: &Builder,
        kept: &Kept,
        key: Key,
        sources: &[&str],
    ) -> Result<Vec<(String, String)>, BuildReason> {
        let mut hashes = Vec::with_capacity(sources.len());
        for &source in sources {
            self.say("info", &format!("copying {source}"));
            let copied = timeout(COPY_TIMEOUT, copy(machine, kept, key.copied(source), source));
            let late = |_| format!("the copy of {source} took longer than {} s", COPY_TIMEOUT.as_secs());
            let hash = copied.await.map_err(late).and_then(|copied| copied);
            let hash = hash.map_err(|why| self.reason(FINALIZE, format!("COPY of {source}: {why}")))?;
            fault::point("build.copied");
            hashes.push((source.to_owned(), hash));
        }
        Ok(hashes)
    }
}

/// Copies what is named in a machine to an archive.
async fn copy(machine: &Builder, kept: &Kept, key: Key, text: &str) -> Result<String, Reason> {
    let Source { place, pick } = Source::parse(text)?;
    let tar = read(machine, text, place, &pick).await?;
    let (send, pieces) = mpsc::channel(AHEAD);
    let received = Received {
        pieces,
        current: Bytes::new(),
    };
    let (kept, ()) = tokio::join!(kept.keep(key, pick, received), pass_on(tar, send));
    kept
}

/// A place as a tar. What is named itself may be a link, which is followed: the guest says where it leads, once and for all.
async fn read(
    machine: &Builder,
    text: &str,
    place: String,
    pick: &Pick,
) -> Result<BoxStream<'static, Result<Bytes, NodeError>>, Reason> {
    let get = async |place| machine.app.node.archive_get(machine.spec.id, place).await;
    let (mut stat, mut tar) = get(place).await.map_err(|error| error.to_string())?;
    if let Some(target) = stat.link_target.take() {
        readable(text, &target)?;
        (stat, tar) = get(target).await.map_err(|error| error.to_string())?;
    }
    if stat.kind == EntryKind::Symlink || stat.link_target.is_some() {
        return Err(format!("{text:?} is a link that leads nowhere"));
    }
    if matches!(pick, Pick::Matching(_)) && stat.kind == EntryKind::File {
        return Err(format!("{text:?}: what the pattern begins with is no folder"));
    }
    Ok(tar)
}

async fn pass_on(mut tar: BoxStream<'static, Result<Bytes, NodeError>>, to: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(piece) = tar.next().await {
        let last = piece.is_err();
        if to.send(piece.map_err(io::Error::other)).await.is_err() || last {
            return;
        }
    }
}

/// A stream's pieces, for a thread that reads them.
struct Received {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
