//! The OpenAPI document, and the routes that it describes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    http::{Method, header},
    response::IntoResponse,
    routing::{delete, get, post, put},
};
use hearth_api::{PROBLEM_JSON, Problem, frame::Control, frame::SessionEnd};
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder},
};

use crate::{
    app::App,
    events,
    functions::{change, deploy, invoke, logs as function_logs, read as functions, source},
    images,
    invocations::read as invocations,
    kernels,
    machines::{act, archive, create, log, read, session, stats, wait},
    metrics, node, ready,
    sandboxes::api as sandboxes,
    snapshots::{change as snapshot_changes, fork, read as snapshots},
    templates::api as templates,
    tenancy::{audit, keys, projects, secrets},
    triggers::change as triggers,
};

/// Any problem: each endpoint may answer one.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description("A problem")
            .content(PROBLEM_JSON, content)
            .build();
        BTreeMap::from([("default".to_owned(), RefOr::T(response))])
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hearth",
        version = "1",
        description = "Machines, images and kernels of one node. Errors are problems as RFC 9457 has them.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        create::create, read::list, read::get, act::remove, act::start, act::stop, act::restart, act::kill,
        act::pause, act::resume, act::rollback, fork::fork, snapshots::list, snapshots::get,
        snapshot_changes::create, snapshot_changes::remove, wait::wait, log::logs, session::attach, session::exec, archive::get, archive::put,
        stats::stats, events::events, images::list, images::get, images::remove, images::pull, images::import,
        images::prune, kernels::list, kernels::get, kernels::remove, kernels::set_default, kernels::import,
        projects::list, projects::create, projects::get, projects::update, projects::remove,
        keys::list, keys::create, keys::get, keys::revoke, secrets::list, secrets::set, secrets::remove, audit::list,
        functions::list, functions::get, functions::versions, functions::version, functions::aliases,
        functions::instances, deploy::deploy, change::settings, change::remove, change::remove_version,
        change::put_alias, change::remove_alias, change::rollback, source::upload, invoke::invoke, function_logs::logs,
        triggers::list, triggers::put, triggers::remove,
        sandboxes::create::create, sandboxes::read::list, sandboxes::read::get, sandboxes::change::kill,
        sandboxes::change::pause, sandboxes::change::resume, sandboxes::change::set_timeout,
        sandboxes::copy::fork, sandboxes::copy::snapshot, sandboxes::copy::set_network,
        templates::build::build, templates::read::list, templates::read::get, templates::change::update,
        templates::change::remove, templates::change::prune, templates::read::build, templates::files::get, templates::files::put,
        invocations::list, invocations::get, invocations::result, invocations::replay,
        node::info, node::doctor, node::version, node::health, ready::ready, metrics::metrics
    ),
    components(schemas(Problem, Control, SessionEnd, hearth_api::ExecRequest, hearth_api::PathStat, hearth_api::PauseMode)),
    tags(
        (name = "machines", description = "Isolated guests"),
        (name = "snapshots", description = "Machines at one moment, which others go on from"),
        (name = "sandboxes", description = "Machines that somebody runs commands in, for a time"),
        (name = "templates", description = "What sandboxes are made of"),
        (name = "functions", description = "Programs that run when they are called"),
        (name = "images", description = "What machines run"),
        (name = "kernels", description = "What machines boot"),
        (name = "projects", description = "Tenants, which own everything"),
        (name = "keys", description = "What proves who calls"),
        (name = "secrets", description = "What programs are given and nobody is shown"),
        (name = "audit", description = "Who changed what"),
        (name = "events", description = "What happened"),
        (name = "node", description = "The node and the server")
    )
)]
struct Document;

static JSON: LazyLock<String> = LazyLock::new(|| {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// The OpenAPI document.
pub fn openapi_json() -> &'static str {
    &JSON
}

/// The ID of each operation, by method and path as a route has it.
pub(crate) fn operations() -> HashMap<(Method, String), String> {
    let mut operations = HashMap::new();
    for (path, item) in Document::openapi().paths.paths {
        let of_methods = [
            (Method::GET, item.get),
            (Method::PUT, item.put),
            (Method::POST, item.post),
            (Method::DELETE, item.delete),
            (Method::PATCH, item.patch),
        ];
        for (method, operation) in of_methods {
            if let Some(id) = operation.and_then(|operation| operation.operation_id) {
                operations.insert((method, path.clone()), id);
            }
        }
    }
    operations
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json())
}

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/machines", get(read::list).post(create::create))
        .route("/v1/machines/{machine}", get(read::get).delete(act::remove))
        .route("/v1/machines/{machine}/start", post(act::start))
        .route("/v1/machines/{machine}/stop", post(act::stop))
        .route("/v1/machines/{machine}/restart", post(act::restart))
        .route("/v1/machines/{machine}/kill", post(act::kill))
        .route("/v1/machines/{machine}/pause", post(act::pause))
        .route("/v1/machines/{machine}/resume", post(act::resume))
        .route("/v1/machines/{machine}/rollback", post(act::rollback))
        .route("/v1/machines/{machine}/fork", post(fork::fork))
        .route("/v1/machines/{machine}/wait", get(wait::wait))
        .route("/v1/machines/{machine}/logs", get(log::logs))
        .route("/v1/machines/{machine}/attach", get(session::attach))
        .route("/v1/machines/{machine}/exec", get(session::exec))
        .route(
            "/v1/machines/{machine}/archive",
            get(archive::get).merge(put(archive::put)),
        )
        .route("/v1/machines/{machine}/stats", get(stats::stats))
        .route("/v1/snapshots", get(snapshots::list).post(snapshot_changes::create))
        .route(
            "/v1/snapshots/{snapshot}",
            get(snapshots::get).delete(snapshot_changes::remove),
        )
        .route("/v1/events", get(events::events))
        .route("/v1/images", get(images::list))
        .route("/v1/images/pull", post(images::pull))
        .route("/v1/images/import", post(images::import))
        .route("/v1/images/prune", post(images::prune))
        .route("/v1/images/{image}", get(images::get).delete(images::remove))
        .route("/v1/kernels", get(kernels::list))
        .route("/v1/kernels/import", post(kernels::import))
        .route("/v1/kernels/{kernel}", get(kernels::get).delete(kernels::remove))
        .route("/v1/kernels/{kernel}/default", post(kernels::set_default))
        .merge(sandbox_routes())
        .merge(function_routes())
        .route("/v1/projects", get(projects::list).post(projects::create))
        .route(
            "/v1/projects/{project}",
            get(projects::get).patch(projects::update).delete(projects::remove),
        )
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{key}", get(keys::get).delete(keys::revoke))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/{name}", put(secrets::set).delete(secrets::remove))
        .route("/v1/audit", get(audit::list))
        .route("/v1/node", get(node::info))
        .route("/v1/doctor", get(node::doctor))
        .route("/v1/version", get(node::version))
        .route("/healthz", get(node::health))
        .route("/readyz", get(ready::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(document))
}

fn sandbox_routes() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/v1/sandboxes",
            get(sandboxes::read::list).post(sandboxes::create::create),
        )
        .route(
            "/v1/sandboxes/{sandbox}",
            get(sandboxes::read::get).delete(sandboxes::change::kill),
        )
        .route("/v1/sandboxes/{sandbox}/pause", post(sandboxes::change::pause))
        .route("/v1/sandboxes/{sandbox}/resume", post(sandboxes::change::resume))
        .route("/v1/sandboxes/{sandbox}/timeout", post(sandboxes::change::set_timeout))
        .route("/v1/sandboxes/{sandbox}/fork", post(sandboxes::copy::fork))
        .route("/v1/sandboxes/{sandbox}/snapshot", post(sandboxes::copy::snapshot))
        .route("/v1/sandboxes/{sandbox}/network", put(sandboxes::copy::set_network))
        .route(
            "/v1/templates",
            get(templates::read::list).post(templates::build::build),
        )
        .route(
            "/v1/templates/{template}",
            get(templates::read::get)
                .patch(templates::change::update)
                .delete(templates::change::remove),
        )
        .route("/v1/templates/{template}/builds/{build}", get(templates::read::build))
        .route("/v1/template-layers", delete(templates::change::prune))
        .route(
            "/v1/template-files/{hash}",
            get(templates::files::get).merge(put(templates::files::put)),
        )
}

fn function_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/functions", get(functions::list))
        .route(
            "/v1/functions/{function}",
            get(functions::get)
                .put(deploy::deploy)
                .patch(change::settings)
                .delete(change::remove),
        )
        .route("/v1/functions/{function}/source", post(source::upload))
        .route("/v1/functions/{function}/invoke", post(invoke::invoke))
        .route("/v1/functions/{function}/logs", get(function_logs::logs))
        .route("/v1/functions/{function}/instances", get(functions::instances))
        .route("/v1/functions/{function}/versions", get(functions::versions))
        .route(
            "/v1/functions/{function}/versions/{version}",
            get(functions::version).delete(change::remove_version),
        )
        .route("/v1/functions/{function}/aliases", get(functions::aliases))
        .route(
            "/v1/functions/{function}/aliases/{alias}",
            put(change::put_alias).delete(change::remove_alias),
        )
        .route("/v1/functions/{function}/rollback", post(change::rollback))
        .route("/v1/functions/{function}/triggers", get(triggers::list))
        .route(
            "/v1/functions/{function}/triggers/{trigger}",
            put(triggers::put).delete(triggers::remove),
        )
        .route("/v1/invocations", get(invocations::list))
        .route("/v1/invocations/{invocation}", get(invocations::get))
        .route("/v1/invocations/{invocation}/result", get(invocations::result))
        .route("/v1/invocations/{invocation}/replay", post(invocations::replay))
}

/// What a listener for Prometheus alone serves, without keys.
pub(crate) fn watching_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(node::health))
        .route("/readyz", get(ready::ready))
        .route("/metrics", get(metrics::metrics_without_key))
}
