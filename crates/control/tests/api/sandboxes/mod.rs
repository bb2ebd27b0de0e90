//! Sandboxes and templates, by Hearth's API and by E2B's, on a node in memory.

mod access;
mod aliases;
mod build_logs;
mod builds;
mod e2b;
mod ends;
mod errors;
mod forks;
mod healthy;
mod life;
mod list;
mod logs;
mod measures;
mod old;
mod pulled;
mod quotas;
mod secrets;
mod snapshots;
mod stages;
mod templates;
mod traffic;
mod uploads;
mod volumes;

use hearth_api::{BuildState, Sandbox, Template};
use hearth_ids::MachineId;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    fixture::{Answer, Fixture, IMAGE},
    tenancy::{Realm, asking},
};

/// A template `web`, built of the fixture's image.
pub(crate) async fn built(f: &Fixture) -> Template {
    let body = json!({ "name": "web", "image": IMAGE, "memory_mib": 256 });
    let begun = f.post_json("/v1/templates", &body).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    until_ready(f, "web").await
}

/// The template of a name once its newest build is ready.
async fn until_ready(f: &Fixture, name: &str) -> Template {
    let path = format!("/v1/templates/{name}");
    let ready = |answer: &Answer| answer.json::<Template>().last_build == Some(BuildState::Ready);
    f.until(&path, ready).await.json()
}

/// A fixture with that template.
async fn fixture() -> Fixture {
    let f = Fixture::new().await;
    built(&f).await;
    f
}

/// A sandbox of that template with these fields.
async fn made(f: &Fixture, mut fields: Value) -> Sandbox {
    fields["template"] = "web".into();
    let answer = f.post_json("/v1/sandboxes", &fields).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

fn path(sandbox: &Sandbox, rest: &str) -> String {
    format!("/v1/sandboxes/{}{rest}", sandbox.id)
}

async fn seen(f: &Fixture, sandbox: &Sandbox) -> Sandbox {
    let answer = f.get(&path(sandbox, "")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// Waits until a sandbox is gone, with its machine.
async fn until_gone(f: &Fixture, sandbox: &Sandbox) {
    f.until(&path(sandbox, ""), |answer| answer.status == StatusCode::NOT_FOUND)
        .await;
    crate::program::until(async || (!has_machine(f, sandbox.machine)).then_some(())).await;
}

fn has_machine(f: &Fixture, machine: MachineId) -> bool {
    use hearth_node_api::NodeService as _;
    f.node.spec(machine).is_some()
}

/// The store of a fixture, beside the server's own.
async fn store(f: &Fixture) -> hearth_store::Store {
    hearth_store::Store::open(&f.folder.path().join("hearth.db"))
        .await
        .unwrap()
}

/// The same template and a sandbox of it in a project.
pub(crate) async fn template_and_sandbox(r: &Realm, project: &str) {
    let ask = async |method, path: &str, body| {
        let mut request = asking(method, path, body);
        request
            .headers_mut()
            .insert("x-hearth-project", project.parse().unwrap());
        r.f.send(request).await
    };
    let body = json!({ "name": "web", "image": IMAGE, "memory_mib": 256 });
    let begun = ask(Method::POST, "/v1/templates", Some(body)).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    crate::program::until(async || {
        let seen: Template = ask(Method::GET, "/v1/templates/web", None).await.json();
        (seen.last_build == Some(BuildState::Ready)).then_some(())
    })
    .await;
    let made = ask(Method::POST, "/v1/sandboxes", Some(json!({ "template": "web" }))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
}
