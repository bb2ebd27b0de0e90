//! Templates, which sandboxes are made of.

mod build;
mod context;
mod dockerfile;
mod follow;
mod ignored;
mod upload;

use hearth_api::{PrunedLayers, Resources, Template, TemplateList, UpdateTemplate};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::machine::{Removed, each, show_each};
use crate::{
    args::TemplateCommand,
    output::{ago, bytes, print_json, print_line, print_table},
};

pub(crate) async fn dispatch(command: TemplateCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        TemplateCommand::Build(args) => build::build(client, *args, json).await,
        TemplateCommand::Ls { quiet } => ls(client, quiet, json).await,
        TemplateCommand::Get { templates } => show_each(&templates, json, async |name| one(client, name).await).await,
        TemplateCommand::Rm { templates } => {
            each(&templates, json, async |name| {
                let removed = client.act(Method::DELETE, &path(name, &[])).await;
                removed.map(|()| Removed::of(name))
            })
            .await
        }
        TemplateCommand::Prune => prune(client, json).await,
        TemplateCommand::Publish { private, templates } => {
            let change = UpdateTemplate {
                public: Some(!private),
                ..UpdateTemplate::default()
            };
            each(&templates, json, async |name| update(client, name, &change).await).await
        }
        TemplateCommand::Tag { remove, template, tags } => {
            let (tag, untag) = if remove { (Vec::new(), tags) } else { (tags, Vec::new()) };
            let change = UpdateTemplate {
                public: None,
                tag,
                untag,
            };
            each(&[template], json, async |name| update(client, name, &change).await).await
        }
        TemplateCommand::Logs {
            follow,
            template,
            build,
        } => {
            let build = match build {
                Some(build) => build,
                None => newest(client, &template).await?,
            };
            follow::log(client, &template, &build, follow, json).await
        }
    }
}

/// The beginning of a text that somebody else wrote, in quotes, for errors.
fn short(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn path(template: &str, rest: &[&str]) -> ApiPath {
    let mut segments = vec!["templates", template];
    segments.extend(rest);
    ApiPath::v1(&segments)
}

async fn one(client: &Client, template: &str) -> Result<Template, ClientError> {
    client.get(&path(template, &[])).await
}

async fn update(client: &Client, template: &str, change: &UpdateTemplate) -> Result<Template, ClientError> {
    client.send_json(Method::PATCH, &path(template, &[]), change).await
}

async fn prune(client: &Client, json: bool) -> anyhow::Result<u8> {
    let pruned: PrunedLayers = client.delete(&ApiPath::v1(&["template-layers"])).await?;
    if json {
        print_json(&pruned)?;
    } else {
        print_line(format!("{} layers removed", pruned.removed));
    }
    Ok(0)
}

/// The newest build of a template.
async fn newest(client: &Client, template: &str) -> anyhow::Result<String> {
    let found = one(client, template).await?;
    match found.builds.first() {
        Some(build) => Ok(build.id.to_string()),
        None => anyhow::bail!("template {template} was never built"),
    }
}

async fn ls(client: &Client, quiet: bool, json: bool) -> anyhow::Result<u8> {
    let list: TemplateList = client.get(&ApiPath::v1(&["templates"])).await?;
    if json {
        print_json(&list.templates)?;
    } else if quiet {
        for template in &list.templates {
            print_line(template.id.to_string());
        }
    } else {
        let rows: Vec<[String; 8]> = list.templates.iter().map(row).collect();
        let headings = [
            "ID",
            "NAME",
            "TAGS",
            "LAST BUILD",
            "SIZE",
            "PUBLIC",
            "SANDBOXES",
            "UPDATED",
        ];
        print_table(headings, &rows);
    }
    Ok(0)
}

fn row(template: &Template) -> [String; 8] {
    let tags: Vec<_> = template.tags.iter().map(|row| row.tag.as_str()).collect();
    [
        template.id.to_string(),
        template.names.join(", "),
        tags.join(", "),
        template.last_build.map_or_else(String::new, |state| state.to_string()),
        template.resources.map_or_else(String::new, size),
        if template.public { "yes" } else { "no" }.to_owned(),
        template.sandboxes.to_string(),
        ago(template.updated_at),
    ]
}

/// CPUs, memory and disk.
fn size(resources: Resources) -> String {
    let disk = resources.disk_mib.unwrap_or_default();
    let (memory, disk) = (bytes(resources.memory_mib << 20), bytes(disk << 20));
    format!("{} CPU, {memory}, {disk}", resources.cpus)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_shown_in_short() {
        assert_eq!(short("a\nb"), r#""a\nb""#);
        assert_eq!(short(&"é".repeat(1000)), format!("\"{}…\"", "é".repeat(80)));
    }

    #[test]
    fn a_row_shows_what_there_is() {
        let template = json!({
            "id": "tpl00000000000000000000000000", "names": ["web"], "public": true, "tags": [],
            "created_at": jiff::Timestamp::now(), "updated_at": jiff::Timestamp::now(), "sandboxes": 3,
            "last_build": "building", "resources": { "cpus": 2, "memory_mib": 512, "disk_mib": 4096 },
        });
        let row = row(&serde_json::from_value(template).unwrap());
        assert_eq!(row[1..4], ["web", "", "building"]);
        assert_eq!(row[4..7], ["2 CPU, 512.00 MiB, 4.00 GiB", "yes", "3"]);
    }
}
