//! AWS Lambda's API, for clients that speak it: boto3, the aws-cli, SDKs.
//!
//! ```text
//!  signed request ──► layers ──► guard (sigv4) ──► handler ──► functions::deploy, gateway
//!                                                    │ plan      │
//!                                                    └ view ◄── store (functions, and facts that only this API knows)
//! ```
//!
//! - A function here is a function of Hearth, whichever way it was made. Each change of code or configuration makes a version;
//!   `$LATEST` is the newest, `PublishVersion` tells its number, and calls without a qualifier go where `live` leads.
//! - What means nothing here is refused if its caller would rely on it, and not read if not.
//! - Errors leave in AWS's form ([`error`]), those of shared code too.
//!
//! The wire contract is AWS's: <https://docs.aws.amazon.com/lambda/latest/api/>.

mod alias;
mod body;
mod change;
mod code;
pub(crate) mod error;
mod eventstream;
mod facts;
mod find;
pub(crate) mod guard;
mod invoke;
mod name;
mod plan;
mod policy;
mod read;
mod settings;
mod sigv4;
mod stream;
mod url;
mod view;
mod wire;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post, put},
};
use http::{Method, Uri};

use crate::app::App;

/// The header with the ID of a request, or of the call that it made.
pub(crate) const REQUEST_ID: &str = "x-amzn-requestid";

/// Method, path and name of each operation, for the audit log, the metrics and tests.
pub const OPERATIONS: &[(&str, &str, &str)] = &[
    ("POST", "/2015-03-31/functions", "lambda_create_function"),
    ("POST", "/2015-03-31/functions/", "lambda_create_function"),
    ("GET", "/2015-03-31/functions", "lambda_list_functions"),
    ("GET", "/2015-03-31/functions/", "lambda_list_functions"),
    ("GET", "/2015-03-31/functions/{function}", "lambda_get_function"),
    ("DELETE", "/2015-03-31/functions/{function}", "lambda_delete_function"),
    (
        "PUT",
        "/2015-03-31/functions/{function}/code",
        "lambda_update_function_code",
    ),
    (
        "GET",
        "/2015-03-31/functions/{function}/configuration",
        "lambda_get_function_configuration",
    ),
    (
        "PUT",
        "/2015-03-31/functions/{function}/configuration",
        "lambda_update_function_configuration",
    ),
    (
        "POST",
        "/2015-03-31/functions/{function}/versions",
        "lambda_publish_version",
    ),
    (
        "GET",
        "/2015-03-31/functions/{function}/versions",
        "lambda_list_versions_by_function",
    ),
    (
        "POST",
        "/2015-03-31/functions/{function}/aliases",
        "lambda_create_alias",
    ),
    ("GET", "/2015-03-31/functions/{function}/aliases", "lambda_list_aliases"),
    (
        "GET",
        "/2015-03-31/functions/{function}/aliases/{alias}",
        "lambda_get_alias",
    ),
    (
        "PUT",
        "/2015-03-31/functions/{function}/aliases/{alias}",
        "lambda_update_alias",
    ),
    (
        "DELETE",
        "/2015-03-31/functions/{function}/aliases/{alias}",
        "lambda_delete_alias",
    ),
    (
        "POST",
        "/2015-03-31/functions/{function}/policy",
        "lambda_add_permission",
    ),
    ("GET", "/2015-03-31/functions/{function}/policy", "lambda_get_policy"),
    (
        "DELETE",
        "/2015-03-31/functions/{function}/policy/{statement}",
        "lambda_remove_permission",
    ),
    ("POST", "/2015-03-31/functions/{function}/invocations", "invoke_lambda"),
    (
        "POST",
        "/2021-11-15/functions/{function}/response-streaming-invocations",
        "invoke_lambda_with_response_stream",
    ),
    (
        "POST",
        "/2021-10-31/functions/{function}/url",
        "lambda_create_function_url_config",
    ),
    (
        "GET",
        "/2021-10-31/functions/{function}/url",
        "lambda_get_function_url_config",
    ),
    (
        "PUT",
        "/2021-10-31/functions/{function}/url",
        "lambda_update_function_url_config",
    ),
    (
        "DELETE",
        "/2021-10-31/functions/{function}/url",
        "lambda_delete_function_url_config",
    ),
    (
        "GET",
        "/2021-10-31/functions/{function}/urls",
        "lambda_list_function_url_configs",
    ),
    (
        "PUT",
        "/2017-10-31/functions/{function}/concurrency",
        "lambda_put_function_concurrency",
    ),
    (
        "DELETE",
        "/2017-10-31/functions/{function}/concurrency",
        "lambda_delete_function_concurrency",
    ),
    (
        "GET",
        "/2019-09-30/functions/{function}/concurrency",
        "lambda_get_function_concurrency",
    ),
    ("GET", "/2017-03-31/tags/{function}", "lambda_list_tags"),
    ("POST", "/2017-03-31/tags/{function}", "lambda_tag_resource"),
    ("DELETE", "/2017-03-31/tags/{function}", "lambda_untag_resource"),
    ("GET", "/2016-08-19/account-settings", "lambda_get_account_settings"),
    ("GET", "/2016-08-19/account-settings/", "lambda_get_account_settings"),
];

/// The name of each operation, by method and path as a route has it.
pub(crate) fn operations() -> impl Iterator<Item = ((Method, String), String)> {
    OPERATIONS.iter().filter_map(|(method, path, name)| {
        let method = method.parse().ok()?;
        Some(((method, (*path).to_owned()), (*name).to_owned()))
    })
}

/// Whether a request is one of this API: its paths begin with a date.
pub(crate) fn is_meant(uri: &Uri) -> bool {
    let date = uri.path().strip_prefix('/').and_then(|path| path.split_once('/'));
    date.is_some_and(|(date, _)| {
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        let mut parts = date.splitn(3, '-');
        [4, 2, 2]
            .iter()
            .all(|count| parts.next().is_some_and(|part| digits(part, *count)))
    })
}

/// The routes, beside those of Hearth's own API.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/2015-03-31/functions", get(read::list).post(change::create))
        .route("/2015-03-31/functions/", get(read::list).post(change::create))
        .route(
            "/2015-03-31/functions/{function}",
            get(read::get).delete(change::remove),
        )
        .route("/2015-03-31/functions/{function}/code", put(change::update_code))
        .route(
            "/2015-03-31/functions/{function}/configuration",
            get(read::configuration).put(change::update_configuration),
        )
        .route(
            "/2015-03-31/functions/{function}/versions",
            get(read::versions).post(change::publish),
        )
        .route(
            "/2015-03-31/functions/{function}/aliases",
            get(alias::list).post(alias::create),
        )
        .route(
            "/2015-03-31/functions/{function}/aliases/{alias}",
            get(alias::get).put(alias::update).delete(alias::remove),
        )
        .route(
            "/2015-03-31/functions/{function}/policy",
            get(policy::get).post(policy::add),
        )
        .route(
            "/2015-03-31/functions/{function}/policy/{statement}",
            delete(policy::remove),
        )
        .route("/2015-03-31/functions/{function}/invocations", post(invoke::invoke))
        .route(
            "/2021-11-15/functions/{function}/response-streaming-invocations",
            post(stream::invoke),
        )
        .route(
            "/2021-10-31/functions/{function}/url",
            get(url::get).post(url::create).put(url::update).delete(url::remove),
        )
        .route("/2021-10-31/functions/{function}/urls", get(url::list))
        .route(
            "/2017-10-31/functions/{function}/concurrency",
            put(settings::put_concurrency).delete(settings::remove_concurrency),
        )
        .route(
            "/2019-09-30/functions/{function}/concurrency",
            get(settings::get_concurrency),
        )
        .route(
            "/2017-03-31/tags/{function}",
            get(settings::tags).post(settings::tag).delete(settings::untag),
        )
        .route("/2016-08-19/account-settings", get(settings::account))
        .route("/2016-08-19/account-settings/", get(settings::account))
        .layer(DefaultBodyLimit::disable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_api_begin_with_a_date() {
        for (path, meant) in [
            ("/2015-03-31/functions", true),
            ("/2031-01-01/whatever", true),
            ("/v1/functions", false),
            ("/2015-03/functions", false),
            ("/2015-03-31", false),
            ("/", false),
        ] {
            assert_eq!(is_meant(&Uri::from_static(path)), meant, "{path}");
        }
    }
}
