//! Kernels.

use std::path::PathBuf;

use hearth_api::{ImportKernel, Kernel, KernelLine, KernelList};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::{
    machine::{Removed, each},
    run::absolute,
};
use crate::{
    args::KernelImportArgs,
    output::{ago, bytes, print_json, print_line, print_table, short_image},
    progress::Bars,
};

pub(crate) async fn import(client: &Client, args: KernelImportArgs, json: bool) -> anyhow::Result<u8> {
    let request = match (args.deb, args.vmlinuz) {
        (Some(deb), _) => ImportKernel::Deb { path: absolute(&deb)? },
        (None, Some(vmlinuz)) => ImportKernel::Files {
            vmlinuz: absolute(&vmlinuz)?,
            modules: args.modules.as_deref().map(absolute).transpose()?,
            config: None,
        },
        (None, None) => anyhow::bail!("name a kernel: --deb FILE, or --vmlinuz FILE with --modules FOLDER"),
    };
    bring_in(client, &request, json).await
}

pub(crate) async fn build(
    client: &Client,
    source: Option<PathBuf>,
    jobs: Option<u32>,
    json: bool,
) -> anyhow::Result<u8> {
    let source = source.as_deref().map(absolute).transpose()?;
    bring_in(client, &ImportKernel::Build { source, jobs }, json).await
}

async fn bring_in(client: &Client, request: &ImportKernel, json: bool) -> anyhow::Result<u8> {
    let mut lines = client
        .lines::<KernelLine>(Method::POST, &ApiPath::v1(&["kernels", "import"]), Some(request))
        .await?;
    let mut bars = Bars::new(json);
    let outcome = loop {
        match lines.next().await {
            Some(Ok(KernelLine::Progress(step))) => bars.kernel(&step),
            Some(Ok(KernelLine::Result { kernel })) => break Ok(*kernel),
            Some(Ok(KernelLine::Problem(line))) => break Err(ClientError::Problem(Box::new(line.problem)).into()),
            Some(Err(error)) => break Err(anyhow::Error::from(error)),
            None => break Err(anyhow::anyhow!("the daemon broke off; nothing was kept, so try again")),
        }
    };
    bars.clear();
    let kernel = outcome?;
    if json {
        print_json(&kernel)?;
    } else {
        print_line(format!(
            "{} {}{}",
            kernel.id,
            kernel.version,
            if kernel.default { " (default)" } else { "" }
        ));
    }
    Ok(0)
}

pub(crate) async fn ls(client: &Client, json: bool) -> anyhow::Result<u8> {
    let list: KernelList = client.get(&ApiPath::v1(&["kernels"])).await?;
    if json {
        print_json(&list.kernels)?;
        return Ok(0);
    }
    let rows: Vec<[String; 6]> = list
        .kernels
        .iter()
        .map(|kernel| {
            [
                short_image(&kernel.id),
                kernel.version.clone(),
                kernel.source.clone(),
                bytes(kernel.bzimage_bytes),
                ago(kernel.added_at),
                if kernel.default { "yes" } else { "" }.to_owned(),
            ]
        })
        .collect();
    print_table(["ID", "VERSION", "SOURCE", "SIZE", "ADDED", "DEFAULT"], &rows);
    Ok(0)
}

pub(crate) async fn rm(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        client
            .act(Method::DELETE, &ApiPath::v1(&["kernels", name]))
            .await
            .map(|()| Removed::of(name))
    })
    .await
}

pub(crate) async fn default(client: &Client, wanted: Option<String>, json: bool) -> anyhow::Result<u8> {
    if let Some(wanted) = wanted {
        client
            .act(Method::POST, &ApiPath::v1(&["kernels", &wanted, "default"]))
            .await?;
    }
    let list: KernelList = client.get(&ApiPath::v1(&["kernels"])).await?;
    let Some(kernel): Option<&Kernel> = list.kernels.iter().find(|kernel| kernel.default) else {
        anyhow::bail!("there is no kernel yet; bring one in with: hearth kernel import --deb linux-image-….deb");
    };
    if json {
        print_json(kernel)?;
    } else {
        print_line(format!("{} {}", kernel.id, kernel.version));
    }
    Ok(0)
}
