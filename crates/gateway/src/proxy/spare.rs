//! Requests that may be sent twice.

use http::{Method, Request, Uri, request::Parts};
use hyper::body::Body as HttpBody;

/// What is needed to send a request again that may be sent twice: one without body, and of a method that says so.
pub(crate) struct Spare(Parts);

impl Spare {
    pub(crate) fn of<B: HttpBody>(request: &Request<B>) -> Option<Self> {
        let idempotent = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        );
        if !idempotent || !request.body().is_end_stream() {
            return None;
        }
        let mut spare = Request::new(());
        spare.method_mut().clone_from(request.method());
        *spare.uri_mut() = Uri::clone(request.uri());
        spare.headers_mut().clone_from(request.headers());
        Some(Self(spare.into_parts().0))
    }

    pub(crate) fn request<B: Default>(self) -> Request<B> {
        Request::from_parts(self.0, B::default())
    }
}
