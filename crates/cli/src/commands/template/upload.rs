//! What a build copies of its folder: sent before the build is asked for, and no file twice.

use std::path::Path;

use hearth_api::{StepKind, TemplateFiles, TemplateStep};
use hearth_client::{ApiPath, Client};

use super::{
    context::{BuildFolder, Files},
    dockerfile::Step,
};
use crate::progress::telling;

/// A folder that is built in, opened when something is first copied of it.
pub(super) struct Upload<'a> {
    client: &'a Client,
    folder: &'a Path,
    opened: Option<BuildFolder>,
    json: bool,
}

impl<'a> Upload<'a> {
    pub(super) fn of(client: &'a Client, folder: &'a Path, json: bool) -> Self {
        Self {
            client,
            folder,
            opened: None,
            json,
        }
    }

    /// The steps as they are asked for, with what they copy sent.
    pub(super) async fn steps(&mut self, steps: Vec<Step>) -> anyhow::Result<Vec<TemplateStep>> {
        let mut ready = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                Step::Ready(step) => ready.push(step),
                Step::Copy {
                    source,
                    target,
                    owner,
                    mode,
                } => {
                    let folder = match &self.opened {
                        Some(folder) => folder,
                        None => self.opened.insert(BuildFolder::open(self.folder)?),
                    };
                    let files = folder.files(&source)?;
                    let (pattern, hash) = (files.pattern.clone(), files.hash.clone());
                    self.send(files).await?;
                    ready.push(TemplateStep {
                        kind: StepKind::Copy,
                        args: vec![pattern, target, owner.unwrap_or_default(), mode.unwrap_or_default()],
                        files: Some(hash),
                        stage: None,
                    });
                }
            }
        }
        Ok(ready)
    }

    async fn send(&self, files: Files) -> anyhow::Result<()> {
        let place = ApiPath::v1(&["template-files", &files.hash]);
        let there: TemplateFiles = self.client.get(&place).await?;
        if there.present {
            return Ok(());
        }
        let what = format!("sending {}", files.pattern);
        let sent = self.client.upload_tar(&place, files.into_archive());
        telling(&what, self.json, sent).await?;
        Ok(())
    }
}
