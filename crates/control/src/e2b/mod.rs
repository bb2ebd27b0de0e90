//! E2B's API, for clients that speak it: its SDKs for Python and JavaScript, its CLI.
//!
//! ```text
//!  X-API-KEY ──► layers ──► handler ──► sandboxes, templates
//!                             │ wire      │
//!                             └ view ◄────┘
//! ```
//! - A sandbox here is one of Hearth's, whichever way it was made.
//! - What means nothing here is refused where its caller would rely on it, and not read where not.
//! - Errors leave in E2B's form ([`error`]), those of shared code too.
//!
//! The wire contract is that of the packages `e2b` 2.63.0 for Python and `e2b` 2.51.0 for JavaScript.

mod build_logs;
pub(crate) mod error;
pub(crate) mod files;
mod life;
mod list;
mod logs;
mod mask;
mod metrics;
mod sandbox;
mod secret;
mod snapshot;
mod tag;
mod team;
mod template;
mod view;
mod volume;
mod volume_content;
mod wire;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, patch, post, put},
};
use http::{Method, Uri, request::Parts};

use crate::app::App;

/// The version of the agent's contract, by which SDKs know what it can do.
pub(crate) const ENVD_VERSION: &str = "0.6.4";
/// The header with the key, as E2B's clients send it.
pub(crate) const KEY_HEADER: &str = "x-api-key";

/// Method, path and name of each operation, for the audit log, the metrics and tests.
pub const OPERATIONS: &[(&str, &str, &str)] = &[
    ("POST", "/sandboxes", "e2b_create_sandbox"),
    ("POST", "/v2/sandboxes", "e2b_create_sandbox_v2"),
    ("GET", "/sandboxes", "e2b_list_sandboxes"),
    ("GET", "/v2/sandboxes", "e2b_list_sandboxes_v2"),
    ("GET", "/sandboxes/{sandbox}", "e2b_get_sandbox"),
    ("DELETE", "/sandboxes/{sandbox}", "e2b_kill_sandbox"),
    ("POST", "/sandboxes/{sandbox}/connect", "e2b_connect_sandbox"),
    ("POST", "/v2/sandboxes/{sandbox}/connect", "e2b_connect_sandbox_v2"),
    ("POST", "/sandboxes/{sandbox}/timeout", "e2b_set_sandbox_timeout"),
    ("POST", "/sandboxes/{sandbox}/refreshes", "e2b_refresh_sandbox"),
    ("POST", "/sandboxes/{sandbox}/pause", "e2b_pause_sandbox"),
    ("POST", "/sandboxes/{sandbox}/resume", "e2b_resume_sandbox"),
    ("POST", "/sandboxes/{sandbox}/fork", "e2b_fork_sandbox"),
    ("POST", "/sandboxes/{sandbox}/snapshots", "e2b_create_snapshot"),
    ("PUT", "/sandboxes/{sandbox}/network", "e2b_set_sandbox_network"),
    ("GET", "/snapshots", "e2b_list_snapshots"),
    ("GET", "/sandboxes/{sandbox}/logs", "e2b_list_sandbox_logs"),
    ("GET", "/v2/sandboxes/{sandbox}/logs", "e2b_list_sandbox_logs_v2"),
    ("GET", "/sandboxes/metrics", "e2b_list_sandboxes_metrics"),
    ("GET", "/sandboxes/{sandbox}/metrics", "e2b_get_sandbox_metrics"),
    ("GET", "/secrets", "e2b_list_secrets"),
    ("POST", "/secrets", "e2b_create_secret"),
    ("GET", "/secrets/{secret}", "e2b_get_secret"),
    ("POST", "/secrets/{secret}", "e2b_update_secret"),
    ("DELETE", "/secrets/{secret}", "e2b_remove_secret"),
    ("GET", "/teams", "e2b_list_teams"),
    ("POST", "/templates/tags", "e2b_assign_template_tags"),
    ("DELETE", "/templates/tags", "e2b_delete_template_tags"),
    ("GET", "/templates/{template}/tags", "e2b_list_template_tags"),
    ("GET", "/templates/{template}", "e2b_get_template"),
    ("PATCH", "/templates/{template}", "e2b_update_template"),
    ("PATCH", "/v2/templates/{template}", "e2b_update_template_v2"),
    ("GET", "/v2/templates", "e2b_list_templates_v2"),
    ("POST", "/v3/templates", "e2b_create_template"),
    ("GET", "/templates", "e2b_list_templates"),
    ("GET", "/templates/aliases/{alias}", "e2b_get_template_alias"),
    ("DELETE", "/templates/{template}", "e2b_delete_template"),
    ("GET", "/templates/{template}/files/{hash}", "e2b_get_template_files"),
    ("PUT", "/templates/{template}/files/{hash}", "e2b_put_template_files"),
    (
        "POST",
        "/v2/templates/{template}/builds/{build}",
        "e2b_start_template_build",
    ),
    (
        "GET",
        "/templates/{template}/builds/{build}/status",
        "e2b_get_template_build_status",
    ),
    (
        "GET",
        "/templates/{template}/builds/{build}/logs",
        "e2b_list_template_build_logs",
    ),
    ("POST", "/volumes", "e2b_create_volume"),
    ("GET", "/volumes", "e2b_list_volumes"),
    ("GET", "/volumes/{volume}", "e2b_get_volume"),
    ("DELETE", "/volumes/{volume}", "e2b_delete_volume"),
    ("GET", "/volumecontent/{volume}/path", "e2b_get_volume_path"),
    ("PATCH", "/volumecontent/{volume}/path", "e2b_update_volume_path"),
    ("DELETE", "/volumecontent/{volume}/path", "e2b_delete_volume_path"),
    ("GET", "/volumecontent/{volume}/dir", "e2b_list_volume_dir"),
    ("POST", "/volumecontent/{volume}/dir", "e2b_create_volume_dir"),
    ("GET", "/volumecontent/{volume}/file", "e2b_get_volume_file"),
    ("PUT", "/volumecontent/{volume}/file", "e2b_put_volume_file"),
];

/// Whether a request brings a token of its own, for what it is about alone, instead of a key.
pub(crate) fn has_own_token(request: &Parts) -> bool {
    files::is_upload(request) || volume_content::is_meant(request)
}

/// The name of each operation, by method and path as a route has it.
pub(crate) fn operations() -> impl Iterator<Item = ((Method, String), String)> {
    OPERATIONS.iter().filter_map(|(method, path, name)| {
        let method = method.parse().ok()?;
        Some(((method, (*path).to_owned()), (*name).to_owned()))
    })
}

/// Whether a request is one of this API, by how its path begins. Hearth's own begin with `/v1`, but for a few.
pub(crate) fn is_meant(uri: &Uri) -> bool {
    const FIRST: [&str; 9] = [
        "sandboxes",
        "templates",
        "snapshots",
        "secrets",
        "volumes",
        "volumecontent",
        "teams",
        "v2",
        "v3",
    ];
    let first = uri.path().trim_start_matches('/').split('/').next();
    first.is_some_and(|first| FIRST.contains(&first))
}

/// The routes, beside those of Hearth's own API.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/sandboxes", get(list::list).post(sandbox::create))
        .route("/v2/sandboxes", get(list::list_v2).post(sandbox::create_v2))
        .route("/sandboxes/{sandbox}", get(sandbox::get).delete(sandbox::kill))
        .route("/sandboxes/{sandbox}/connect", post(life::connect))
        .route("/v2/sandboxes/{sandbox}/connect", post(life::connect))
        .route("/sandboxes/{sandbox}/timeout", post(life::set_timeout))
        .route("/sandboxes/{sandbox}/refreshes", post(life::refresh))
        .route("/sandboxes/{sandbox}/pause", post(life::pause))
        .route("/sandboxes/{sandbox}/resume", post(life::resume))
        .route("/v3/templates", post(template::create))
        .route("/templates", get(template::list))
        .route("/templates/aliases/{alias}", get(template::alias))
        .route(
            "/templates/{template}",
            get(tag::get).patch(tag::update).delete(template::remove),
        )
        .route("/v2/templates", get(template::list))
        .route("/v2/templates/{template}", patch(tag::update))
        .route("/templates/{template}/tags", get(tag::list))
        .route("/templates/tags", post(tag::assign).delete(tag::remove))
        .route("/sandboxes/{sandbox}/network", put(sandbox::set_network))
        .route("/snapshots", get(snapshot::list))
        .route("/secrets", get(secret::list).post(secret::create))
        .route(
            "/secrets/{secret}",
            get(secret::get).post(secret::update).delete(secret::remove),
        )
        .route("/teams", get(team::list))
        .route("/sandboxes/{sandbox}/logs", get(logs::list))
        .route("/v2/sandboxes/{sandbox}/logs", get(logs::list_v2))
        .route("/sandboxes/metrics", get(metrics::of_many))
        .route("/sandboxes/{sandbox}/metrics", get(metrics::of_one))
        .route("/sandboxes/{sandbox}/fork", post(snapshot::fork))
        .route("/sandboxes/{sandbox}/snapshots", post(snapshot::create))
        .route(
            "/templates/{template}/files/{hash}",
            get(files::place)
                .merge(put(files::put))
                .layer(DefaultBodyLimit::disable()),
        )
        .route("/v2/templates/{template}/builds/{build}", post(template::start))
        .route("/templates/{template}/builds/{build}/status", get(template::status))
        .route("/templates/{template}/builds/{build}/logs", get(build_logs::list))
        .route("/volumes", get(volume::list).post(volume::create))
        .route("/volumes/{volume}", get(volume::get).delete(volume::remove))
        .route(
            "/volumecontent/{volume}/path",
            get(volume_content::stat)
                .patch(volume_content::change)
                .delete(volume_content::remove),
        )
        .route(
            "/volumecontent/{volume}/dir",
            get(volume_content::list).post(volume_content::make_dir),
        )
        .route(
            "/volumecontent/{volume}/file",
            get(volume_content::read).put(volume_content::write),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_api_begin_so() {
        for (path, meant) in [
            ("/sandboxes", true),
            ("/v2/sandboxes/x", true),
            ("/templates/aliases/a%2Fb", true),
            ("/v1/sandboxes", false),
            ("/metrics", false),
            ("/", false),
        ] {
            assert_eq!(is_meant(&Uri::from_static(path)), meant, "{path}");
        }
    }
}
