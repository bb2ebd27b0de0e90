//! What a build begins with: an image, or what another template, or a snapshot, holds.

use hearth_domain::{BuildReason, MachineSpec};
use hearth_ids::SnapshotId;

use super::{build::Begin, layers::Key, machine, snapshot, steps::Setting, words::BASE, work::Work};
use crate::error::ApiResult;

/// What a build begins with.
pub(super) struct Base {
    pub(super) spec: MachineSpec,
    pub(super) key: Key,
    /// Of which the disk alone is not enough: not all that was written is on it.
    pub(super) whole: Option<SnapshotId>,
    /// Who is made first, if there is nobody of the name.
    pub(super) user: Option<String>,
}

impl Base {
    /// What steps begin with.
    pub(super) fn setting(&self) -> Setting {
        let mut setting = Setting::of(&self.spec.workload);
        if let Some(user) = &self.user {
            setting.user = Some(user.clone());
            setting.working_dir = Some(format!("/home/{user}"));
        }
        setting
    }
}

impl Work<'_> {
    /// What a build, or a stage of it, begins with.
    pub(super) async fn base(&self, begin: &Begin) -> Result<Base, BuildReason> {
        self.at(BASE);
        self.find_base(begin).await.map_err(self.failed(BASE))
    }

    async fn find_base(&self, begin: &Begin) -> ApiResult<Base> {
        let (app, plan) = (self.app, self.plan);
        match begin {
            Begin::Image(image) => {
                self.say("info", &format!("FROM {}", image.name));
                let (driver, facts) = (app.default_driver().await?, image.facts(app).await?);
                let user = plan.user.as_deref().unwrap_or_default();
                let key = format!("image {} with {} MiB for {user:?}", facts.image_id, plan.disk_mib);
                let key = Key::of(&key);
                let spec = machine::of_image(self.template.project, self.build.id, plan, &image.name, facts, driver);
                let (whole, user) = (None, plan.user.clone());
                Ok(Base { spec, key, whole, user })
            }
            Begin::Snapshot(source) => {
                self.say("info", "FROM a template");
                let spec = machine::of_snapshot(self.template.project, self.build.id, source);
                let key = Key::of(&format!("snapshot {}", source.id));
                let whole = (!snapshot::boots(app, source).await?).then_some(source.id);
                let user = None;
                Ok(Base { spec, key, whole, user })
            }
        }
    }
}
