//! Deploying.

use hearth_api::{Contract, DeployFunction, Deployment, FunctionSource, Runtime};
use hearth_client::{Client, ClientError};
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};

use super::{function_path, pack::Source};
use crate::{
    args::DeployArgs,
    commands::image,
    output::{note, print_json, print_line},
};

/// Deploys a function, packing and sending its folder or pulling its image first.
pub(super) async fn deploy(client: &Client, args: DeployArgs, json: bool) -> anyhow::Result<u8> {
    let name = args.name.clone();
    let source = match &args.source {
        None => None,
        Some(folder) => Some(send(client, &name, Source::open(folder)?, json).await?.source),
    };
    if let Some(image) = &args.image {
        image::have(client, image, json).await?;
    }
    let request = request(args, source);
    let deployed: Deployment = client
        .send_json(Method::PUT, &function_path(&name, &[]), &request)
        .await?;
    if json {
        print_json(&deployed)?;
        return Ok(0);
    }
    let function = &deployed.function;
    let version = deployed.version.version;
    let what = if deployed.new { "deployed" } else { "is there already:" };
    print_line(format!("{} {what} version {version}", function.name));
    for url in &function.urls {
        print_line(format!("  {url}"));
    }
    if !function.traffic.iter().any(|share| share.version == version) {
        note(
            format!("no calls go to version {version} yet; let them with: hearth fn traffic {name} {version}=100"),
            json,
        );
    }
    Ok(0)
}

async fn send(client: &Client, name: &str, source: Source, json: bool) -> Result<FunctionSource, ClientError> {
    let bar = if json {
        ProgressBar::hidden()
    } else {
        ProgressBar::no_length()
    };
    let style = ProgressStyle::with_template("sending the source {binary_bytes}/{binary_total_bytes}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_length(source.size_bytes);
    let counted = bar.clone();
    let tar = futures::StreamExt::inspect(source.into_tar(), move |piece| {
        if let Ok(piece) = piece {
            counted.inc(piece.len() as u64);
        }
    });
    let sent = client.post_tar(&function_path(name, &["source"]), tar).await;
    bar.finish_and_clear();
    sent
}

fn request(args: DeployArgs, source: Option<String>) -> DeployFunction {
    let settings = args.settings.settings();
    DeployFunction {
        image: args.image,
        runtime: args.runtime.map(Runtime::from),
        source,
        handler: args.handler,
        contract: args.contract.map(|contract| match contract.as_str() {
            "lambda" => Contract::Lambda,
            _ => Contract::Http,
        }),
        port: args.port,
        entrypoint: args.entrypoint.map(|program| vec![program]),
        cmd: args.cmd,
        env: args.env,
        secrets: args.secrets.into_iter().chain(args.secret_files).collect(),
        cpus: args.cpus.map(Into::into),
        memory_mib: args.memory.map(Into::into),
        timeout_ms: args.timeout,
        driver: args.driver.map(Into::into),
        description: args.description,
        no_traffic: args.no_traffic,
        settings,
    }
}
