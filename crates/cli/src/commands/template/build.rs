//! Building a template: what a Dockerfile says is sent, and the build is followed.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use hearth_api::{BuildTemplate, StepKind, TemplateBuild, TemplateFiles, TemplateStep};
use hearth_client::{ApiPath, Client};

use super::{
    context::BuildFolder,
    dockerfile::{self, Recipe, Step},
    follow,
};
use crate::{
    args::BuildTemplateArgs,
    commands::image,
    output::{note, print_json, print_line},
    progress::telling,
};

pub(super) async fn build(client: &Client, args: BuildTemplateArgs, json: bool) -> anyhow::Result<u8> {
    let recipe = recipe(&args)?;
    for left_out in &recipe.notes {
        note(left_out, json);
    }
    if !recipe.image.is_empty() {
        image::have(client, &recipe.image, json).await?;
    }
    let steps = steps(client, &args.folder, recipe.steps, json).await?;
    let detach = args.detach;
    let request = request(args, recipe.image, recipe.start, steps);
    let begun: TemplateBuild = client.post_json(&ApiPath::v1(&["templates"]), &request).await?;
    if detach {
        if json {
            print_json(&begun)?;
        } else {
            print_line(begun.id.to_string());
        }
        return Ok(0);
    }
    let name = request.name.split(':').next().unwrap_or_default();
    follow::to_the_end(client, name, begun, json).await
}

/// What is built: of a Dockerfile, or of an image or a template alone.
fn recipe(args: &BuildTemplateArgs) -> anyhow::Result<Recipe> {
    if args.template.is_some() {
        return Ok(Recipe::default());
    }
    if let Some(image) = &args.image {
        return Ok(Recipe {
            image: image.clone(),
            ..Recipe::default()
        });
    }
    let place = match &args.file {
        Some(file) => file.clone(),
        None => args.folder.join("Dockerfile"),
    };
    let text = fs::read_to_string(&place).with_context(|| {
        format!(
            "cannot read {}; name a Dockerfile by --file, or an image by --image",
            place.display()
        )
    })?;
    let arguments: BTreeMap<_, _> = args.arguments.iter().cloned().collect();
    dockerfile::read(&text, &arguments).with_context(|| place.display().to_string())
}

/// The steps as they are sent, with what they copy sent before.
async fn steps(client: &Client, folder: &Path, steps: Vec<Step>, json: bool) -> anyhow::Result<Vec<TemplateStep>> {
    let (mut ready, mut opened) = (Vec::with_capacity(steps.len()), None);
    for step in steps {
        match step {
            Step::Ready(step) => ready.push(step),
            Step::Copy {
                source,
                target,
                owner,
                mode,
            } => {
                let folder = match &opened {
                    Some(folder) => folder,
                    None => opened.insert(BuildFolder::open(folder)?),
                };
                let files = folder.files(&source)?;
                let (pattern, hash) = (files.pattern.clone(), files.hash.clone());
                let place = ApiPath::v1(&["template-files", &hash]);
                let there: TemplateFiles = client.get(&place).await?;
                if !there.present {
                    let sent = client.upload_tar(&place, files.into_archive());
                    telling(&format!("sending {pattern}"), json, sent).await?;
                }
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

fn request(args: BuildTemplateArgs, image: String, start: Option<String>, steps: Vec<TemplateStep>) -> BuildTemplate {
    BuildTemplate {
        name: args.name,
        image: Some(image).filter(|image| !image.is_empty()),
        template: args.template,
        stages: Vec::new(),
        steps,
        start_cmd: args.start.or(start),
        ready_cmd: args.ready,
        cpus: args.cpus.map(|cpus| cpus.get().into()),
        memory_mib: args.memory.map(hearth_domain::MemoryMib::get),
        disk_mib: args.disk.map(hearth_domain::DiskMib::get),
        public: args.public.then_some(true),
        tags: args.tags,
        force: args.no_cache,
    }
}
