//! Images.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use bytes::Bytes;
use futures::Stream;
use hearth_api::{
    Image, ImageLine, ImageList, ImportImageQuery, ImportKind, ProblemCode, PruneQuery, PruneResult, PullImage,
    PullPolicy, RegistryAuth, RemoveQuery,
};
use hearth_client::{ApiPath, Client, ClientError, Lines};
use hearth_image::{Credentials, DockerConfig, Reference};
use http::Method;
use tokio_stream::wrappers::ReceiverStream;

use super::machine::{each, show_each};
use crate::{
    args::{ImageImportArgs, ImportKindArg},
    output::{ago, bytes, note, print_json, print_line, print_table, short_image},
    progress::Bars,
};

/// Bytes of an upload read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait to be sent.
const CHUNKS_MAX: usize = 4;

pub(crate) async fn pull(client: &Client, reference: &str, json: bool) -> anyhow::Result<u8> {
    let image = fetch(client, reference, PullPolicy::Always, json).await?;
    show(&image, json)
}

/// Pulls with progress.
pub(crate) async fn fetch(client: &Client, reference: &str, policy: PullPolicy, json: bool) -> anyhow::Result<Image> {
    let request = PullImage {
        reference: reference.to_owned(),
        policy,
        auth: auth(reference, json).await,
    };
    let lines = client
        .lines(Method::POST, &ApiPath::v1(&["images", "pull"]), Some(&request))
        .await?;
    follow(lines, json).await
}

/// An image that the node has not is pulled.
pub(crate) async fn have(client: &Client, reference: &str, json: bool) -> anyhow::Result<()> {
    match client.get::<Image>(&ApiPath::v1(&["images", reference])).await {
        Ok(_) => Ok(()),
        Err(ClientError::Problem(problem)) if problem.code == ProblemCode::ImageNotFound => {
            fetch(client, reference, PullPolicy::Missing, json).await.map(drop)
        }
        Err(error) => Err(error.into()),
    }
}

/// Credentials of this user, who is not the daemon's.
async fn auth(reference: &str, json: bool) -> Option<RegistryAuth> {
    let reference: Reference = reference.parse().ok()?;
    let found = async {
        DockerConfig::load(&docker_config()?)
            .await
            .ok()?
            .find(reference.registry())
            .await
            .ok()
    };
    match found.await {
        Some(Credentials::Basic { username, password }) => Some(RegistryAuth::Basic { username, password }),
        Some(Credentials::IdentityToken(token)) => Some(RegistryAuth::IdentityToken { token }),
        Some(Credentials::Bearer(token)) => Some(RegistryAuth::Bearer { token }),
        Some(Credentials::Anonymous) => None,
        None => {
            let registry = reference.registry();
            note(
                format_args!("cannot read docker's credentials for {registry}; going on without"),
                json,
            );
            None
        }
    }
}

/// Where docker keeps its configuration.
fn docker_config() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

async fn follow(mut lines: Lines<ImageLine>, json: bool) -> anyhow::Result<Image> {
    let mut bars = Bars::new(json);
    let outcome = loop {
        match lines.next().await {
            Some(Ok(ImageLine::Progress(step))) => bars.image(&step),
            Some(Ok(ImageLine::Result { image })) => break Ok(*image),
            Some(Ok(ImageLine::Problem(line))) => break Err(ClientError::Problem(Box::new(line.problem)).into()),
            Some(Err(error)) => break Err(error.into()),
            None => {
                break Err(anyhow::anyhow!(
                    "the daemon broke off; what was fetched is kept, so try again"
                ));
            }
        }
    };
    bars.clear();
    outcome
}

fn show(image: &Image, json: bool) -> anyhow::Result<u8> {
    if json {
        print_json(image)?;
    } else {
        print_line(&image.id);
    }
    Ok(0)
}

pub(crate) async fn import(client: &Client, args: ImageImportArgs, json: bool) -> anyhow::Result<u8> {
    let kind = match args.kind {
        Some(ImportKindArg::Oci) => ImportKind::Oci,
        Some(ImportKindArg::Docker) => ImportKind::Docker,
        Some(ImportKindArg::Root) => ImportKind::Root,
        None => guess_kind(&args.source)?,
    };
    let cmd = match args.cmd.as_deref().map(words).transpose()? {
        Some(words) => Some(serde_json::to_string(&words)?),
        None => None,
    };
    let query = ImportImageQuery {
        kind,
        name: args.name,
        cmd,
        changes: (!args.change.is_empty())
            .then(|| serde_json::to_string(&args.change))
            .transpose()?,
    };
    let path = ApiPath::v1(&["images", "import"]).query(&query);
    let lines = client.upload_lines(&path, stream_source(args.source)).await?;
    show(&follow(lines, json).await?, json)
}

/// An OCI layout says so in a file of its own, a docker archive in its manifest; everything else is a root.
fn guess_kind(source: &Path) -> anyhow::Result<ImportKind> {
    if source.is_dir() {
        return if source.join("oci-layout").exists() {
            Ok(ImportKind::Oci)
        } else {
            anyhow::bail!(
                "folder {} is no OCI layout: it has no file oci-layout; for a root file system give a tar",
                source.display()
            )
        };
    }
    if source == Path::new("-") {
        return Ok(ImportKind::Root);
    }
    let file = std::fs::File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
    let mut archive = tar::Archive::new(file);
    // A compressed root is no tar to this reader, and then a root it is.
    let Ok(entries) = archive.entries() else {
        return Ok(ImportKind::Root);
    };
    for entry in entries.map_while(Result::ok).take(4096) {
        match entry
            .path()
            .ok()
            .as_deref()
            .and_then(|p| p.strip_prefix(".").ok().or(Some(p)).map(Path::to_owned))
        {
            Some(path) if path == Path::new("oci-layout") => return Ok(ImportKind::Oci),
            Some(path) if path == Path::new("manifest.json") => return Ok(ImportKind::Docker),
            _ => {}
        }
    }
    Ok(ImportKind::Root)
}

/// Splits a command line as a shell would, without expanding anything.
fn words(line: &str) -> anyhow::Result<Vec<String>> {
    let (mut words, mut word, mut in_word) = (Vec::new(), String::new(), false);
    let (mut quote, mut chars) = (None, line.chars());
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => (quote, in_word) = (Some(c), true),
            (Some(q), c) if c == q => quote = None,
            (None | Some('"'), '\\') => {
                word.extend(chars.next());
                in_word = true;
            }
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut in_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, c) => {
                word.push(c);
                in_word = true;
            }
        }
    }
    anyhow::ensure!(quote.is_none(), "--cmd {line:?} has an open quote");
    if in_word {
        words.push(word);
    }
    Ok(words)
}

/// The source as a stream; a folder becomes a tar on the way.
fn stream_source(source: PathBuf) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let (chunks, stream) = tokio::sync::mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let outcome = if source.is_dir() {
            let mut tar = tar::Builder::new(ChunkWriter(chunks.clone()));
            tar.follow_symlinks(false);
            tar.append_dir_all(".", &source).and_then(|()| tar.finish())
        } else if source == Path::new("-") {
            send(std::io::stdin().lock(), &chunks)
        } else {
            std::fs::File::open(&source).and_then(|file| send(file, &chunks))
        };
        if let Err(error) = outcome {
            let error = std::io::Error::new(error.kind(), format!("cannot read {}: {error}", source.display()));
            let _ = chunks.blocking_send(Err(error));
        }
    });
    ReceiverStream::new(stream)
}

type Chunks = tokio::sync::mpsc::Sender<std::io::Result<Bytes>>;

fn send(mut source: impl Read, chunks: &Chunks) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0
            || chunks
                .blocking_send(Ok(Bytes::copy_from_slice(&buffer[..length])))
                .is_err()
        {
            return Ok(());
        }
    }
}

/// Writes into a stream.
pub(crate) struct ChunkWriter(pub(crate) Chunks);

impl Write for ChunkWriter {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(buffer)));
        sent.map(|()| buffer.len())
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) async fn ls(client: &Client, quiet: bool, json: bool) -> anyhow::Result<u8> {
    let list: ImageList = client.get(&ApiPath::v1(&["images"])).await?;
    if json {
        print_json(&list.images)?;
    } else if quiet {
        for image in &list.images {
            print_line(&image.id);
        }
    } else {
        let rows: Vec<[String; 5]> = list
            .images
            .iter()
            .map(|image| {
                let names = if image.references.is_empty() {
                    "-".to_owned()
                } else {
                    image.references.join(", ")
                };
                [
                    names,
                    short_image(&image.id),
                    bytes(image.size_bytes),
                    ago(image.added_at),
                    image.used_by.len().to_string(),
                ]
            })
            .collect();
        print_table(["NAME", "ID", "SIZE", "ADDED", "MACHINES"], &rows);
    }
    Ok(0)
}

pub(crate) async fn inspect(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    show_each(names, json, async |name| {
        client.get::<Image>(&ApiPath::v1(&["images", name])).await
    })
    .await
}

pub(crate) async fn rm(client: &Client, names: &[String], force: bool, json: bool) -> anyhow::Result<u8> {
    let query = RemoveQuery { force };
    each(names, json, async |name| {
        client
            .delete::<PruneResult>(&ApiPath::v1(&["images", name]).query(&query))
            .await
    })
    .await
}

pub(crate) async fn prune(client: &Client, all: bool, json: bool) -> anyhow::Result<u8> {
    let path = ApiPath::v1(&["images", "prune"]).query(&PruneQuery { all });
    let result: PruneResult = client.post(&path).await?;
    if json {
        print_json(&result)?;
    } else {
        for removed in &result.removed {
            print_line(removed);
        }
        print_line(format!("reclaimed {}", bytes(result.reclaimed_bytes)));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_as_by_a_shell() {
        assert_eq!(
            words(r#"sh -c 'a "b" c' d\ e """#).unwrap(),
            ["sh", "-c", r#"a "b" c"#, "d e", ""]
        );
        assert!(words("a 'b").is_err());
    }
}
