//! Calling a function through the API: with a key of the API, by name, at once or later.

use std::sync::Arc;

use axum::{
    body::Body as ApiBody,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use hearth_api::{InvocationAccepted, InvokeQuery, ProblemCode};
use hearth_domain::Action;
use hearth_gateway::{Body, CallError, CallOptions, NotAccepted, Qualifier, Target};
use hearth_ids::RequestId;
use hearth_store::{FunctionRow, InvocationSource, RequestHead};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, idempotency_key, read_body},
    invocations::accept::{Wanted, new_invocation, readable},
};

/// Calls a function: an event for the contract `lambda`, a request with this body for `http`. The answer is the
/// function's own, with its status; what Hearth says of a call that failed is a problem.
#[utoipa::path(post, path = "/v1/functions/{function}/invoke", tag = "functions", operation_id = "invoke_function",
    params(("function" = String, Path, description = "Name"), InvokeQuery,
        ("idempotency-key" = Option<String>, Header, description = "Makes it safe to send an asynchronous call again", max_length = 255)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The function's answer", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 202, description = "The call is kept", body = InvocationAccepted), Problems))]
pub(crate) async fn invoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
    ApiQuery(query): ApiQuery<InvokeQuery>,
    request: Request,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::FunctionInvoke).await?;
    let row = app.find_function(&tenant, &name).await?;
    let qualifier = qualifier(query.qualifier.as_deref())?;
    let path = path(query.path.as_deref())?;
    let (parts, body) = request.into_parts();
    if query.r#async == Some(true) {
        return accept(&app, &row, qualifier, path, parts.headers, body).await;
    }
    let mut request = http::Request::new(Body::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path;
    let request_id = parts.extensions.get::<RequestId>().copied();
    *request.headers_mut() = for_function(parts.headers);
    let target = Target {
        function: row.spec.id,
        qualifier,
    };
    let options = CallOptions {
        request: request_id,
        raw_event: true,
        ..CallOptions::default()
    };
    let answer = app.plane().gateway.call(target, request, options).await;
    let mut response = answer.map_err(ApiError::from)?.map(ApiBody::new);
    set_apart(response.headers_mut());
    Ok(response)
}

/// What a function answers is no page of ours, though it comes from our address: a browser is to run none of it there.
pub(crate) fn set_apart(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

async fn accept(
    app: &App,
    row: &FunctionRow,
    qualifier: Qualifier,
    path: http::Uri,
    headers: HeaderMap,
    body: ApiBody,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    // As long as it may be that comes by the gateway.
    let body = read_body(body, app.config.functions.gateway.client.async_bytes).await?;
    let qualifier = qualifier.to_string();
    let headers = for_function(headers);
    let new = new_invocation(Wanted {
        project: row.spec.project,
        function: row.spec.id,
        qualifier: Some(qualifier).filter(|qualifier| !qualifier.is_empty()),
        key: key.map(|key| format!("api:{key}")),
        source: InvocationSource::Lambda,
        head: RequestHead {
            method: Method::POST.to_string(),
            path: path.to_string(),
            headers: readable(&headers),
        },
        body: body.into(),
    });
    let invocation_id = app.plane().keeper.accept(new).await.map_err(CallError::from)?;
    Ok((StatusCode::ACCEPTED, axum::Json(InvocationAccepted { invocation_id })).into_response())
}

/// What the function may see of the caller's headers: not its key, and nothing of the connection.
fn for_function(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::AUTHORIZATION,
        header::HOST,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::EXPECT,
    ] {
        headers.remove(name);
    }
    headers.remove(hearth_api::PROJECT_HEADER);
    headers
}

/// Alias or version, as a client writes it.
pub(crate) fn qualifier(text: Option<&str>) -> ApiResult<Qualifier> {
    let text = text.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$');
    let parsed = text.parse().ok().filter(|_| text.chars().all(plain));
    parsed.ok_or_else(|| {
        ApiError::field(
            "qualifier",
            "qualifier is not valid: name an alias, or a version by its number",
        )
    })
}

fn path(text: Option<&str>) -> ApiResult<http::Uri> {
    let text = text.unwrap_or("/");
    let uri = text
        .parse::<http::uri::PathAndQuery>()
        .ok()
        .filter(|_| text.starts_with('/'));
    uri.map(http::Uri::from)
        .ok_or_else(|| ApiError::field("path", "path is not valid: it begins with / and is percent-encoded"))
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        let code = match &error {
            CallError::NoRoute => ProblemCode::FunctionNotFound,
            CallError::Unauthorized => ProblemCode::Unauthorized,
            CallError::Forbidden => ProblemCode::Forbidden,
            CallError::RateLimited { .. } => ProblemCode::TooManyRequests,
            CallError::BadRequest(_)
            | CallError::UriTooLong { .. }
            | CallError::ClientGone
            | CallError::BodyTimeout => ProblemCode::InvalidRequest,
            CallError::BodyTooLarge { .. } => ProblemCode::BodyTooLarge,
            CallError::NotAccepted(NotAccepted::Conflict) => ProblemCode::IdempotencyMismatch,
            CallError::NotAccepted(_)
            | CallError::KeysUnavailable
            | CallError::BodiesFull
            | CallError::QueueFull { .. }
            | CallError::NoInstance { .. }
            | CallError::NoRoom
            | CallError::ShuttingDown => ProblemCode::Unavailable,
            CallError::StartFailed(_)
            | CallError::Unreachable(_)
            | CallError::Crashed(_)
            | CallError::BadAnswer(_)
            | CallError::FunctionError(_) => ProblemCode::FunctionFailed,
            CallError::Timeout { .. } => ProblemCode::Timeout,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_says_of_its_page_does_not_stand() {
        let mut headers = HeaderMap::new();
        for policy in ["default-src *", "script-src *"] {
            headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        set_apart(&mut headers);
        let policies: Vec<_> = headers.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["sandbox; default-src 'none'"]);
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
