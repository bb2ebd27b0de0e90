//! Where clients put what COPY copies, before they start a build. The place is told with a token of its own, since they send their
//! key with everything but this.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use hearth_api::ProblemCode;
use hearth_domain::Action;
use hearth_ids::TemplateId;
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::ApiQuery,
    peer::Peer,
    templates::{
        self,
        files::{StepFiles, UPLOAD_S},
    },
    time::now_unix_ms,
};

/// What the tokens open.
const PURPOSE: &str = "template-files";

/// Whether a request brings files, and so a token of its own instead of a key.
pub(crate) fn is_upload(request: &Parts) -> bool {
    let mut parts = request.uri.path().trim_start_matches('/').split('/');
    request.method == Method::PUT
        && parts.next() == Some("templates")
        && parts.next().is_some()
        && parts.next() == Some("files")
        && parts.next().is_some()
        && parts.next().is_none()
}

/// `GET /templates/{template}/files/{hash}`: whether they are there, and where they are put.
pub(super) async fn place(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((template, hash)): Path<(String, String)>,
    peer: Option<axum::Extension<Peer>>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let template = templates::owned(&app, &tenant, &template).await?;
    let present = StepFiles::of(&app, template.project).has(&hash).await?;
    let expires = now_unix_ms() / 1000 + UPLOAD_S;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| ApiError::field("host", "the request names no host"))?;
    let scheme = match peer {
        Some(axum::Extension(Peer::Tls(_))) => "https",
        _ => "http",
    };
    let token = token(&app, template.id, &hash, expires);
    let id = template.id;
    let url = format!("{scheme}://{host}/templates/{id}/files/{hash}?expires={expires}&token={token}");
    let answer = serde_json::json!({ "present": present, "url": url });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

fn token(app: &App, template: TemplateId, hash: &str, expires: u64) -> String {
    let what = format!("{template}/{hash}/{expires}");
    app.config.seal.token(PURPOSE, &what).to_string()
}

#[derive(Debug, Deserialize)]
pub(super) struct UploadQuery {
    expires: u64,
    token: String,
}

/// `PUT` to that place.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path((template, hash)): Path<(String, String)>,
    ApiQuery(query): ApiQuery<UploadQuery>,
    body: Body,
) -> ApiResult<StatusCode> {
    let refused = |why: &str| {
        ApiError::new(
            ProblemCode::Forbidden,
            format!("{why}; ask where to put the files anew"),
        )
    };
    let id: TemplateId = template.parse().map_err(|_| refused("the address is not valid"))?;
    let expected = token(&app, id, &hash, query.expires);
    if !bool::from(expected.as_bytes().ct_eq(query.token.as_bytes())) {
        return Err(refused("the address is not valid"));
    }
    if query.expires < now_unix_ms() / 1000 {
        return Err(refused("the address has expired"));
    }
    let row = app
        .store
        .template(id)
        .await?
        .ok_or_else(|| refused("the template is gone"))?;
    StepFiles::of(&app, row.project).put(&hash, body).await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_brought_without_a_key() {
        for (method, path, is) in [
            ("PUT", "/templates/tpl1/files/ab", true),
            ("GET", "/templates/tpl1/files/ab", false),
            ("PUT", "/templates/tpl1/files/ab/c", false),
            ("PUT", "/sandboxes/x/network", false),
        ] {
            let mut request = http::Request::new(());
            *request.method_mut() = method.parse().unwrap();
            *request.uri_mut() = http::Uri::from_static(path);
            assert_eq!(is_upload(&request.into_parts().0), is, "{method} {path}");
        }
    }
}
