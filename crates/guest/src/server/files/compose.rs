//! `/files/compose`: one file of several, which are gone afterwards. The destination appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use super::super::body::{self, Body, Incoming, Response};
use super::super::named_user;
use super::upload::describe_written;
use super::{Refused, blocking, next_data, open_regular, path_in};
use crate::agent::Agent;
use crate::files::{Owner, make_folders};

const REQUEST_MAX_BYTES: usize = 1024 * 1024;
const SOURCES_MAX: usize = 4096;

pub(in crate::server) async fn serve(agent: Rc<Agent>, request: Request<Incoming>) -> Response {
    let served = compose(&agent, request).await;
    served.unwrap_or_else(|refused| body::json_error(refused.status, &refused.message))
}

async fn compose(agent: &Agent, request: Request<Incoming>) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    agent
        .check_access(&headers)
        .map_err(|error| Refused::new(StatusCode::UNAUTHORIZED, error.message))?;
    let wanted = read_request(request.into_body()).await?;
    let plan = plan(agent, &headers, &wanted)?;
    let destination = blocking(move || plan.carry_out()).await?;
    let answer = describe_written(&destination, &[]).to_string();
    Ok(body::with_type(StatusCode::OK, "application/json", Body::full(answer)))
}

async fn read_request(mut body: Incoming) -> Result<Value, Refused> {
    let mut bytes = Vec::new();
    while let Some(data) = next_data(&mut body).await? {
        if bytes.len() + data.len() > REQUEST_MAX_BYTES {
            return Err(Refused::bad(format!(
                "the request is longer than {REQUEST_MAX_BYTES} bytes"
            )));
        }
        bytes.extend_from_slice(&data);
    }
    serde_json::from_slice(&bytes).map_err(|error| Refused::bad(format!("the request is no JSON: {error}")))
}

struct Plan {
    sources: Vec<PathBuf>,
    destination: PathBuf,
    owner: Owner,
}

fn plan(agent: &Agent, headers: &HeaderMap, wanted: &Value) -> Result<Plan, Refused> {
    let named = wanted["username"].as_str().filter(|name| !name.is_empty());
    let named = named.map(str::to_owned).or_else(|| named_user(headers));
    let user = agent
        .identity(named.as_deref())
        .map_err(|error| Refused::new(StatusCode::UNAUTHORIZED, error.message))?;
    let path = |value: &Value, field: &str| match value.as_str() {
        Some(text) if !text.is_empty() => path_in(&user, text),
        _ => Err(Refused::bad(format!("`{field}` is missing or no path"))),
    };
    let sources = wanted["source_paths"].as_array().map_or(&[][..], Vec::as_slice);
    if sources.is_empty() || sources.len() > SOURCES_MAX {
        return Err(Refused::bad(format!(
            "`source_paths` has none, or more than {SOURCES_MAX}"
        )));
    }
    Ok(Plan {
        sources: sources
            .iter()
            .map(|source| path(source, "source_paths"))
            .collect::<Result<_, _>>()?,
        destination: path(&wanted["destination"], "destination")?,
        owner: Owner::from(&user),
    })
}

impl Plan {
    fn carry_out(self) -> Result<PathBuf, Refused> {
        let destination = &self.destination;
        if destination.is_dir() {
            return Err(Refused::bad(format!("path '{}' is a directory", destination.display())));
        }
        let failed = |error: io::Error| Refused::io(destination, &error);
        if let Some(parent) = destination.parent() {
            make_folders(parent, &self.owner).map_err(failed)?;
        }
        let draft = draft_of(destination);
        let made = self
            .write(&draft)
            .and_then(|()| fs::rename(&draft, destination).map_err(failed));
        if let Err(refused) = made {
            // It may not even have been made.
            let _ = fs::remove_file(&draft);
            return Err(refused);
        }
        for source in self.sources.iter().filter(|source| *source != destination) {
            match fs::remove_file(source) {
                // Named twice.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|error| Refused::io(source, &error))?,
            }
        }
        Ok(self.destination)
    }

    /// The kernel copies from file to file, where it can without moving a byte.
    fn write(&self, draft: &Path) -> Result<(), Refused> {
        let failed = |error: io::Error| Refused::io(&self.destination, &error);
        let mut target = new_file(draft).map_err(failed)?;
        self.owner.take(draft).map_err(failed)?;
        for source in &self.sources {
            let (mut file, _) = open_regular(source)?;
            io::copy(&mut file, &mut target).map_err(failed)?;
        }
        Ok(())
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Beside the destination, under a name of its own: several calls may be under way.
fn draft_of(destination: &Path) -> PathBuf {
    let name = format!(".hearth-compose-{:016x}", crate::clock::uptime_ns());
    destination.with_file_name(name)
}
