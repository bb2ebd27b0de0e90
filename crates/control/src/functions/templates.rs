//! Templates: snapshots of instances that were ready and not called yet, from which further instances of the same version go
//! on instead of booting.
//!
//! A template is a snapshot of a function's machine that is nobody's snapshot. Its fingerprint tells whether a machine that is
//! wanted now is like the one that it was made of, down to the agent in the guest. So nothing is kept of it but itself and, in
//! the store, that there may be one: the node does not tell of those that are damaged.
//!
//! One that nothing would go on from any more goes: at a start, when another takes its place, and now and then.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use hearth_domain::{MachineOwner, MachineSpec};
use hearth_ids::{FunctionId, SnapshotId};
use hearth_node_api::SnapshotInfo;
use hearth_worker::BlueprintError;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::blueprint;
use crate::{app::App, error::ApiResult};

/// How often it is looked which templates nothing would go on from any more.
const LOOK: Duration = Duration::from_secs(30);

/// What differs between instances of one version, and leaves their memories alike.
const OWN_FIELDS: [&str; 3] = ["id", "name", "snapshot"];

/// How an instance comes to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// From this template.
    From(SnapshotId),
    /// By a boot, after which this template is made of it.
    Make(SnapshotId),
    /// By a boot.
    Boot,
}

/// The templates of all versions.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<HashMap<Version, Template>>);

type Version = (FunctionId, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Template {
    fingerprint: [u8; 32],
    id: SnapshotId,
    ready: bool,
}

/// What two machines have in common whose memories are alike.
fn fingerprint(spec: &MachineSpec, agent_version: &str) -> [u8; 32] {
    let mut spec = serde_json::to_value(spec).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    }
    let mut hasher = Sha256::new();
    hasher.update(agent_version.as_bytes());
    hasher.update([0]);
    hasher.update(spec.to_string().as_bytes());
    hasher.finalize().into()
}

fn version_of(spec: &MachineSpec) -> Option<Version> {
    let owner = spec.owner.as_ref();
    owner.and_then(MachineOwner::function)
}

/// Whether a snapshot that no row knows is a template.
pub(crate) fn is_template(info: &SnapshotInfo) -> bool {
    version_of(&info.spec).is_some()
}

impl Templates {
    fn known(&self) -> MutexGuard<'_, HashMap<Version, Template>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How an instance of this shape is to start, and the template that is of no use any more, if there is one.
    pub(crate) fn choose(&self, spec: &MachineSpec, agent_version: &str) -> (Start, Option<SnapshotId>) {
        let Some(version) = version_of(spec) else {
            return (Start::Boot, None);
        };
        let fingerprint = fingerprint(spec, agent_version);
        let new = Template {
            fingerprint,
            id: SnapshotId::new(),
            ready: false,
        };
        match self.known().entry(version) {
            Entry::Vacant(entry) => {
                entry.insert(new);
                (Start::Make(new.id), None)
            }
            Entry::Occupied(mut entry) => {
                let known = *entry.get();
                match (known.fingerprint == fingerprint, known.ready) {
                    (true, true) => (Start::From(known.id), None),
                    (_, false) => (Start::Boot, None),
                    (false, true) => {
                        entry.insert(new);
                        (Start::Make(new.id), Some(known.id))
                    }
                }
            }
        }
    }

    /// The template from which a machine of this shape would go on now.
    pub(crate) fn current(&self, spec: &MachineSpec, agent_version: &str) -> Option<SnapshotId> {
        let known = self.known().get(&version_of(spec)?).copied()?;
        (known.ready && known.fingerprint == fingerprint(spec, agent_version)).then_some(known.id)
    }

    /// A template is made, or will not be made. What was told of one first counts. Whether it is there and somebody wants it.
    pub(crate) fn made(&self, id: SnapshotId, made: bool) -> bool {
        let mut known = self.known();
        let Some((version, template)) = known.iter_mut().find(|(_, template)| template.id == id) else {
            // Its version went meanwhile.
            return false;
        };
        template.ready |= made;
        if template.ready {
            return true;
        }
        let version = *version;
        known.remove(&version);
        false
    }

    /// A template is of no use: the next instance makes another.
    pub(crate) fn failed(&self, id: SnapshotId) {
        self.known().retain(|_, template| template.id != id);
    }

    /// Takes up what a process before this one made. Gives those of which there is another.
    fn take_up(&self, found: Vec<SnapshotInfo>) -> Vec<SnapshotId> {
        let mut superseded = Vec::new();
        let mut known = self.known();
        for info in found {
            let Some(version) = version_of(&info.spec) else {
                continue;
            };
            let template = Template {
                fingerprint: fingerprint(&info.spec, &info.agent_version),
                id: info.id,
                ready: true,
            };
            match known.get(&version) {
                // Its maker is quicker than we are.
                Some(other) if other.id == info.id => {}
                Some(other) if !other.ready => superseded.push(info.id),
                _ => superseded.extend(known.insert(version, template).map(|other| other.id)),
            }
        }
        superseded
    }

    /// Those that are made.
    fn ready(&self) -> Vec<(Version, SnapshotId)> {
        let known = self.known();
        let ready = known.iter().filter(|(_, template)| template.ready);
        ready.map(|(version, template)| (*version, template.id)).collect()
    }

    /// Forgets the templates of versions that are not wanted, and gives them.
    fn forget(&self, wanted: impl Fn(Version) -> bool) -> Vec<SnapshotId> {
        let mut known = self.known();
        let gone: Vec<(Version, SnapshotId)> = known
            .iter()
            .filter(|(version, _)| !wanted(**version))
            .map(|(version, template)| (*version, template.id))
            .collect();
        for (version, _) in &gone {
            known.remove(version);
        }
        gone.into_iter().map(|(_, id)| id).collect()
    }
}

/// Brings templates and functions together after a start, before any instance is made or given out. What fails is left for the
/// next start.
pub(crate) async fn take_up(app: &App, templates: &Templates) {
    if let Err(error) = reconcile(app, templates).await {
        warn!(
            detail = error.problem.detail,
            cause = error.chain(),
            "cannot bring templates and functions together"
        );
    }
}

async fn reconcile(app: &App, templates: &Templates) -> ApiResult<()> {
    let mut found = Vec::new();
    for info in app.node.snapshots().await? {
        if is_template(&info) && app.store.snapshot(info.id).await?.is_none() {
            app.store.note_template(info.id).await?;
            found.push(info);
        }
    }
    // Those that the node does not tell of were never made, or are damaged.
    let mut gone = app.store.templates().await?;
    gone.retain(|id| !found.iter().any(|info| info.id == *id));
    gone.extend(templates.take_up(found));
    let versions = app.store.versions(None).await?;
    let there: std::collections::HashSet<Version> = versions
        .iter()
        .map(|version| (version.spec.function, version.spec.number))
        .collect();
    gone.extend(templates.forget(|version| there.contains(&version)));
    for id in gone {
        remove(app, id).await;
    }
    remove_outdated(app, templates).await;
    Ok(())
}

/// Removes templates that nothing would go on from any more, until told to stop.
pub(crate) async fn keep_current(app: Weak<App>, templates: Arc<Templates>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK) => {}
        }
        let Some(app) = app.upgrade() else { return };
        remove_outdated(&app, &templates).await;
    }
}

async fn remove_outdated(app: &App, templates: &Templates) {
    let Ok(node) = app.node.info().await else { return };
    for ((function, version), id) in templates.ready() {
        let outdated = match blueprint::wanted(app, function, Some(version)).await {
            Ok((spec, _)) => templates.current(&spec, &node.agent_version) != Some(id),
            Err(BlueprintError::Gone | BlueprintError::Lacking(_)) => true,
            // What is not known is not judged.
            Err(BlueprintError::NoRoom(_) | BlueprintError::Broken(_)) => false,
        };
        if outdated {
            templates.failed(id);
            remove(app, id).await;
        }
    }
}

/// Removes the templates of a function, or of one version of it.
pub(crate) async fn forget(app: &App, function: FunctionId, version: Option<u32>) {
    let wanted = |(of, number): Version| of != function || version.is_some_and(|version| version != number);
    for id in app.plane().templates.forget(wanted) {
        remove(app, id).await;
    }
}

/// Removes a template that nobody goes on from, be there one or not. Those that are on their way from it have all that they need.
pub(crate) async fn remove(app: &App, id: SnapshotId) {
    if let Err(error) = app.node.remove_snapshot(id).await {
        warn!(snapshot = %id, %error, "cannot remove a template; it is tried again at the next start");
        return;
    }
    match app.store.forget_template(id).await {
        Ok(()) => info!(snapshot = %id, "a template is gone that nothing goes on from any more"),
        Err(error) => {
            warn!(snapshot = %id, %error, "cannot forget a template that is gone; it is forgotten at the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::{SealedSecret, SecretTarget};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn spec(function: FunctionId, version: u32) -> MachineSpec {
        MachineSpec {
            id: hearth_ids::MachineId::new(),
            owner: Some(MachineOwner::Function { function, version }),
            ..crate::reconcile::test_spec()
        }
    }

    fn made(templates: &Templates, spec: &MachineSpec) -> SnapshotId {
        let (Start::Make(id), None) = templates.choose(spec, "1") else {
            panic!("none was wanted")
        };
        assert_eq!(
            templates.choose(spec, "1"),
            (Start::Boot, None),
            "one is made at a time"
        );
        assert!(templates.made(id, true));
        id
    }

    #[test]
    fn instances_of_a_version_share_one_template() {
        let (templates, function) = (Templates::default(), FunctionId::new());
        let id = made(&templates, &spec(function, 1));
        for _ in 0..2 {
            assert_eq!(templates.choose(&spec(function, 1), "1"), (Start::From(id), None));
        }
        // What is told late changes nothing.
        templates.made(id, false);
        assert_eq!(templates.choose(&spec(function, 1), "1"), (Start::From(id), None));
        assert_ne!(made(&templates, &spec(function, 2)), id);
    }

    #[test]
    fn what_changed_makes_another_template() {
        let (templates, function) = (Templates::default(), FunctionId::new());
        let first = made(&templates, &spec(function, 1));
        let (start, old) = templates.choose(&spec(function, 1), "2");
        assert!(matches!(start, Start::Make(_)) && old == Some(first), "a new agent");
        templates.failed(first);
        let templates = Templates::default();
        let first = made(&templates, &spec(function, 1));
        let mut other = spec(function, 1);
        other.kernel_id = "other".into();
        assert!(matches!(templates.choose(&other, "1"), (Start::Make(_), Some(old)) if old == first));
    }

    /// What becomes of a template that is to be made.
    #[derive(Debug, Clone, Copy)]
    enum End {
        Made,
        NotMade,
        Later,
    }

    proptest! {
        #[test]
        fn what_is_current_is_as_what_is_wanted_now(
            steps in vec((0..2_u8, 0..2_u8, 0..2_u8, select(vec![End::Made, End::NotMade, End::Later])), 1..40),
        ) {
            let (templates, function) = (Templates::default(), FunctionId::new());
            let (mut made_of, mut later) = (HashMap::new(), None);
            for (kernel, agent, secret, end) in steps {
                let (now, agent_version) = ((kernel, agent, secret), agent.to_string());
                let mut spec = spec(function, 1);
                spec.kernel_id = kernel.to_string();
                spec.workload.secrets = vec![SealedSecret {
                    target: SecretTarget::Env("S".into()),
                    sealed: secret.to_string(),
                }];
                let (start, gone) = templates.choose(&spec, &agent_version);
                prop_assert!(gone.is_none_or(|gone| made_of[&gone] != now));
                let current = templates.current(&spec, &agent_version);
                match start {
                    Start::From(id) => prop_assert!(current == Some(id) && made_of[&id] == now),
                    Start::Boot => prop_assert_eq!(current, None),
                    Start::Make(id) => {
                        prop_assert_eq!(current, None);
                        made_of.insert(id, now);
                        match end {
                            End::Made => prop_assert!(templates.made(id, true)),
                            End::NotMade => prop_assert!(!templates.made(id, false)),
                            End::Later => later = Some(id),
                        }
                    }
                }
                if let (End::Made, Some(id)) = (end, later) {
                    templates.made(id, true);
                    later = None;
                }
            }
        }
    }

    #[test]
    fn one_that_failed_is_made_again() {
        let (templates, function) = (Templates::default(), FunctionId::new());
        let (Start::Make(id), _) = templates.choose(&spec(function, 1), "1") else {
            panic!()
        };
        templates.made(id, false);
        let id = made(&templates, &spec(function, 1));
        templates.failed(id);
        assert_ne!(made(&templates, &spec(function, 1)), id);
    }

    #[test]
    fn templates_go_with_their_versions() {
        let (templates, function) = (Templates::default(), FunctionId::new());
        let (first, second) = (
            made(&templates, &spec(function, 1)),
            made(&templates, &spec(function, 2)),
        );
        assert_eq!(templates.forget(|(_, number)| number != 1), [first]);
        assert_eq!(templates.choose(&spec(function, 2), "1"), (Start::From(second), None));
        // One that is just being made belongs to nobody once its version is gone.
        let (Start::Make(late), _) = templates.choose(&spec(function, 1), "1") else {
            panic!()
        };
        templates.forget(|_| false);
        assert!(!templates.made(late, true));
    }

    #[test]
    fn templates_of_before_are_taken_up() {
        let (templates, function) = (Templates::default(), FunctionId::new());
        let info = |spec: MachineSpec| SnapshotInfo {
            id: SnapshotId::new(),
            made_unix_ms: 1,
            spec,
            parents: Vec::new(),
            vmm_version: String::new(),
            accelerator: String::new(),
            cpu_features: Vec::new(),
            agent_version: "1".into(),
            parts: Vec::new(),
            paused_us: 1,
            programs_held: false,
        };
        let (old, new) = (info(spec(function, 1)), info(spec(function, 1)));
        let ids = (old.id, new.id);
        assert_eq!(
            templates.take_up(vec![old, new, info(crate::reconcile::test_spec())]),
            [ids.0]
        );
        assert_eq!(templates.choose(&spec(function, 1), "1"), (Start::From(ids.1), None));
    }
}
