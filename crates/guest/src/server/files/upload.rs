//! `POST /files`: one file as it is or compressed, or a form of many.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use super::super::body::{self, Body, Incoming, Response};
use super::super::header;
use super::content::Content;
use super::{PIECE_BYTES, Refused, blocking, next_data, path_in, without_waiting};
use crate::files::multipart::{Multipart, Part, boundary};
use crate::files::{Owner, entry, make_folders};
use crate::process::users::Identity;

const METADATA_HEADER: &str = "x-metadata-";
/// Of names and values together, by E2B's rule.
const MAX_METADATA_BYTES: usize = 4096;

pub(super) async fn serve(
    user: &Identity,
    query: &HashMap<String, String>,
    request: Request<Incoming>,
) -> Result<Response, Refused> {
    let content_type = header(request.headers(), CONTENT_TYPE.as_str()).to_owned();
    let form = boundary(&content_type);
    if form.is_none() && content_type.starts_with("multipart/") {
        return Err(Refused::bad("the multipart content type has no usable boundary"));
    }
    let writing = Writing {
        user: user.clone(),
        metadata: metadata_of(request.headers())?,
        is_packed: is_packed(request.headers(), form.is_some())?,
    };
    let path = query.get("path").filter(|path| !path.is_empty()).cloned();
    let body = request.into_body();
    let written = if let Some(boundary) = form {
        writing.multipart(path, &boundary, body).await?
    } else {
        let path = path.ok_or_else(|| Refused::bad("the query has no `path`"))?;
        vec![writing.whole(&path, body).await?]
    };
    let answer: Vec<_> = written
        .iter()
        .map(|path| describe_written(path, &writing.metadata))
        .collect();
    let text = serde_json::Value::from(answer).to_string();
    Ok(body::with_type(StatusCode::OK, "application/json", Body::full(text)))
}

/// Whether the content is compressed. A form cannot be: its parts' ends are looked for in it.
fn is_packed(headers: &HeaderMap, is_form: bool) -> Result<bool, Refused> {
    match header(headers, CONTENT_ENCODING.as_str()) {
        "" | "identity" => Ok(false),
        encoding if encoding.eq_ignore_ascii_case("gzip") && !is_form => Ok(true),
        encoding => Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the content encoding `{encoding}` is not taken here; send gzip with a plain body, or none"),
        )),
    }
}

pub(super) fn describe_written(path: &Path, metadata: &[(String, String)]) -> serde_json::Value {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut described = serde_json::json!({ "path": path.to_string_lossy(), "name": name, "type": "file" });
    if !metadata.is_empty() {
        let pairs = metadata.iter().map(|(key, value)| (key.clone(), value.clone().into()));
        described["metadata"] = serde_json::Value::Object(pairs.collect());
    }
    described
}

/// What is to be attached to the files: of each name what is said first. Checked before anything is written over.
fn metadata_of(headers: &HeaderMap) -> Result<Vec<(String, String)>, Refused> {
    let mut metadata = Vec::new();
    for name in headers.keys() {
        let key = name.as_str().strip_prefix(METADATA_HEADER);
        let (Some(key), Some(value)) = (key.filter(|key| !key.is_empty()), headers.get(name)) else {
            continue;
        };
        metadata.push((key.to_owned(), printable(name, value)?));
    }
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(Refused::bad(format!(
            "the metadata has {bytes} bytes: names and values have at most {MAX_METADATA_BYTES} together"
        )));
    }
    Ok(metadata)
}

fn printable(name: &HeaderName, value: &HeaderValue) -> Result<String, Refused> {
    let text = value.as_bytes();
    if text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Ok(String::from_utf8_lossy(text).into_owned());
    }
    Err(Refused::bad(format!(
        "the value of `{name}` has others than printable characters of ASCII"
    )))
}

/// An upload under way.
struct Writing {
    user: Identity,
    metadata: Vec<(String, String)>,
    is_packed: bool,
}

/// A file being written, in pieces big enough to be worth a helper thread.
struct Target {
    path: PathBuf,
    content: Option<Content>,
    pending: BytesMut,
}

impl Writing {
    async fn begin(&self, path: &str) -> Result<Target, Refused> {
        let path = path_in(&self.user, path)?;
        let (opened, owner) = (path.clone(), Owner::from(&self.user));
        let file = blocking(move || create(&opened, &owner)).await?;
        Ok(Target {
            path,
            content: Some(Content::new(file, self.is_packed)),
            pending: BytesMut::new(),
        })
    }

    async fn end(&self, mut target: Target) -> Result<PathBuf, Refused> {
        target.flush().await?;
        let (path, content, metadata) = (target.path, target.content, self.metadata.clone());
        blocking(move || {
            if let Some(content) = content {
                content.finish().map_err(|error| error.refused(&path))?;
            }
            entry::replace_metadata(&path, &metadata)
                .map(|()| path.clone())
                .map_err(|error| Refused::bad(format!("cannot keep the metadata of '{}': {error}", path.display())))
        })
        .await
    }

    async fn whole(&self, path: &str, mut body: Incoming) -> Result<PathBuf, Refused> {
        let mut target = self.begin(path).await?;
        while let Some(data) = next_data(&mut body).await? {
            target.write(&data).await?;
        }
        self.end(target).await
    }

    /// Each part named `file` goes to `path`, or else to its own file name.
    async fn multipart(
        &self,
        path: Option<String>,
        boundary: &str,
        mut body: Incoming,
    ) -> Result<Vec<PathBuf>, Refused> {
        let malformed = |error: crate::files::multipart::Malformed| Refused::bad(error.to_string());
        let mut parser = Multipart::new(boundary);
        let (mut written, mut target): (Vec<PathBuf>, Option<Target>) = (Vec::new(), None);
        while let Some(data) = next_data(&mut body).await? {
            parser.push(&data);
            while let Some(part) = parser.next().map_err(malformed)? {
                match (part, &mut target) {
                    (Part::Begin { name, filename }, _) if name == "file" => {
                        let wanted = path
                            .clone()
                            .or(filename)
                            .ok_or_else(|| Refused::bad("a part has no file name"))?;
                        target = Some(self.begin(&wanted).await?);
                    }
                    (Part::Data(data), Some(target)) => target.write(&data).await?,
                    (Part::End, _) => {
                        if let Some(complete) = target.take() {
                            written.push(self.end(complete).await?);
                        }
                    }
                    (Part::Done, _) => return Ok(written),
                    // Other fields of the form.
                    (Part::Begin { .. } | Part::Data(_), _) => {}
                }
            }
        }
        Err(Refused::bad("the multipart body is cut short"))
    }
}

impl Target {
    async fn write(&mut self, data: &[u8]) -> Result<(), Refused> {
        self.pending.extend_from_slice(data);
        if self.pending.len() >= PIECE_BYTES {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> Result<(), Refused> {
        let (Some(mut content), piece, path) = (self.content.take(), self.pending.split(), self.path.clone()) else {
            return Ok(());
        };
        let written = blocking(move || {
            content
                .write(&piece)
                .map(|()| content)
                .map_err(|error| error.refused(&path))
        })
        .await?;
        self.content = Some(written);
        Ok(())
    }
}

/// Opens a file to be written from its start. It belongs to the user from then on, and so do folders made for it.
fn create(path: &Path, owner: &Owner) -> Result<File, Refused> {
    let failed = |error: io::Error| Refused::io(path, &error);
    let was = std::fs::metadata(path);
    if let Ok(was) = &was {
        let kind = was.file_type();
        if kind.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        if kind.is_fifo() || kind.is_socket() {
            return Err(Refused::bad(format!("path '{}' is a pipe or socket", path.display())));
        }
    } else if let Some(parent) = path.parent() {
        make_folders(parent, owner).map_err(failed)?;
    }
    let file = without_waiting()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(failed)?;
    match (owner.take_open(&file), was) {
        (Err(error), Err(_)) => Err(failed(error)),
        // A device, or a file whose owner cannot be changed, can be written all the same.
        _ => Ok(file),
    }
}
