//! Building a template: what a Dockerfile says is sent, and the build is followed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use hearth_api::{BuildTemplate, TemplateBuild, TemplateStage};
use hearth_client::{ApiPath, Client};

use super::{
    context::read_at_most,
    dockerfile::{self, Image, Recipe},
    follow,
    upload::Upload,
};
use crate::{
    args::BuildTemplateArgs,
    commands::image,
    output::{note, print_json, print_line},
};

pub(super) async fn build(client: &Client, args: BuildTemplateArgs, json: bool) -> anyhow::Result<u8> {
    let recipe = recipe(&args)?;
    for left_out in &recipe.notes {
        note(left_out, json);
    }
    have(client, &recipe.images, json).await?;
    let detach = args.detach;
    let request = request(client, args, recipe, json).await?;
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
            images: vec![Image {
                name: image.clone(),
                why: "--image".to_owned(),
            }],
            ..Recipe::default()
        });
    }
    let place = match &args.file {
        Some(file) => file.clone(),
        None => args.folder.join("Dockerfile"),
    };
    let text = read_at_most(&place, dockerfile::TEXT_MAX).with_context(|| {
        format!(
            "cannot read {}; name a Dockerfile by --file, or an image by --image",
            place.display()
        )
    })?;
    let arguments: BTreeMap<_, _> = args.arguments.iter().cloned().collect();
    dockerfile::read(&text, &arguments, args.target.as_deref()).with_context(|| place.display().to_string())
}

/// Has the node have the images, each once.
async fn have(client: &Client, images: &[Image], json: bool) -> anyhow::Result<()> {
    let mut had = BTreeSet::new();
    for Image { name, why } in images {
        if had.insert(name) {
            image::have(client, name, json).await.with_context(|| why.clone())?;
        }
    }
    Ok(())
}

/// What is asked for, with what it copies sent before.
async fn request(
    client: &Client,
    args: BuildTemplateArgs,
    recipe: Recipe,
    json: bool,
) -> anyhow::Result<BuildTemplate> {
    let mut upload = Upload::of(client, &args.folder, json);
    let mut stages = Vec::with_capacity(recipe.stages.len());
    for stage in recipe.stages {
        stages.push(TemplateStage {
            name: stage.name,
            image: stage.image,
            steps: upload.steps(stage.steps).await?,
        });
    }
    let steps = upload.steps(recipe.steps).await?;
    Ok(BuildTemplate {
        name: args.name,
        image: Some(recipe.image).filter(|image| !image.is_empty()),
        template: args.template,
        stages,
        steps,
        start_cmd: args.start.or(recipe.start),
        ready_cmd: args.ready,
        cpus: args.cpus.map(|cpus| cpus.get().into()),
        memory_mib: args.memory.map(hearth_domain::MemoryMib::get),
        disk_mib: args.disk.map(hearth_domain::DiskMib::get),
        public: args.public.then_some(true),
        tags: args.tags,
        force: args.no_cache,
    })
}
