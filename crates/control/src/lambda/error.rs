//! Errors as AWS Lambda tells them: a header with the kind, a body with whose fault it is and what happened.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hearth_api::{ProblemCode, REQUEST_ID_HEADER};
use hearth_store::{FunctionError, StoreError};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tracing::{debug, warn};

use crate::error::ApiError;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:ident;)*) => {
        /// The kind of an error, by which SDKs know it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Its name on the wire.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
        }
    };
}

kinds! {
    /// There is no such function, version, alias, policy or URL.
    ResourceNotFound = "ResourceNotFoundException", NOT_FOUND;
    /// It is there already, or something else stands in the way.
    ResourceConflict = "ResourceConflictException", CONFLICT;
    /// A parameter is not valid, or means nothing here.
    InvalidParameterValue = "InvalidParameterValueException", BAD_REQUEST;
    /// A parameter is none of the words that it may be.
    Validation = "ValidationException", BAD_REQUEST;
    /// The body cannot be read.
    InvalidRequestContent = "InvalidRequestContentException", BAD_REQUEST;
    /// The function changed since the revision that the request names.
    PreconditionFailed = "PreconditionFailedException", PRECONDITION_FAILED;
    /// The body is too long.
    RequestTooLarge = "RequestTooLargeException", PAYLOAD_TOO_LARGE;
    /// Too much at once.
    TooManyRequests = "TooManyRequestsException", TOO_MANY_REQUESTS;
    /// No such operation.
    UnknownOperation = "UnknownOperationException", NOT_FOUND;
    /// The key's role may not.
    AccessDenied = "AccessDeniedException", FORBIDDEN;
    /// No such key.
    UnrecognizedClient = "UnrecognizedClientException", FORBIDDEN;
    /// The signature is not that of the request, or of another time.
    InvalidSignature = "InvalidSignatureException", FORBIDDEN;
    /// The signature lacks something.
    IncompleteSignature = "IncompleteSignatureException", FORBIDDEN;
    /// Neither a signature nor a key.
    MissingToken = "MissingAuthenticationTokenException", FORBIDDEN;
    /// A fault of the server's.
    Service = "ServiceException", INTERNAL_SERVER_ERROR;
}

/// An error on its way out.
#[derive(Debug, Clone)]
pub(crate) struct LambdaError {
    kind: Kind,
    message: String,
    retry_after_s: Option<u64>,
    /// For the log.
    cause: Option<String>,
}

/// What handlers give.
pub(crate) type LambdaResult<T> = Result<T, LambdaError>;

impl LambdaError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after_s: None,
            cause: None,
        }
    }

    /// A parameter that is not valid.
    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameterValue, message)
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// The same of another kind.
    pub(crate) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// It is worth another try after that time.
    pub(crate) fn retry_after_s(self, seconds: u64) -> Self {
        Self {
            retry_after_s: Some(seconds),
            ..self
        }
    }
}

impl From<ApiError> for LambdaError {
    fn from(error: ApiError) -> Self {
        Self {
            kind: kind(error.problem.code),
            cause: error.chain(),
            retry_after_s: error.retry_after_s,
            message: error.problem.detail,
        }
    }
}

impl From<StoreError> for LambdaError {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<FunctionError> for LambdaError {
    fn from(error: FunctionError) -> Self {
        ApiError::from(error).into()
    }
}

fn kind(code: ProblemCode) -> Kind {
    use ProblemCode as P;
    match code {
        P::InvalidRequest => Kind::InvalidRequestContent,
        // What a function is made of is named in its parameters, so these are at fault when it is not there.
        P::InvalidField
        | P::SourceInvalid
        | P::ImageNotFound
        | P::ImageDamaged
        | P::KernelNotFound
        | P::SecretNotFound
        | P::UnsupportedMediaType => Kind::InvalidParameterValue,
        P::Unauthorized => Kind::UnrecognizedClient,
        P::Forbidden => Kind::AccessDenied,
        P::NotFound | P::MethodNotAllowed => Kind::UnknownOperation,
        P::FunctionNotFound
        | P::MachineNotFound
        | P::SnapshotNotFound
        | P::SandboxNotFound
        | P::TemplateNotFound
        | P::ProjectNotFound
        | P::KeyNotFound
        | P::InvocationNotFound
        | P::VolumeNotFound
        | P::PathNotFound => Kind::ResourceNotFound,
        P::NameTaken
        | P::Ambiguous
        | P::StateConflict
        | P::InUse
        | P::NoCapacity
        | P::RequestInProgress
        | P::IdempotencyMismatch => Kind::ResourceConflict,
        P::BodyTooLarge => Kind::RequestTooLarge,
        P::TooManyRequests | P::QuotaExceeded => Kind::TooManyRequests,
        P::UpgradeRequired
        | P::Internal
        | P::FunctionFailed
        | P::RegistryFailed
        | P::Unavailable
        | P::Timeout
        | P::VolumeFull
        | P::DiskFull
        | P::Unknown => Kind::Service,
    }
}

impl IntoResponse for LambdaError {
    /// Only a note of the error: [`finish`] writes it out, with the errors of what is shared with the other API.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes out the error that an answer notes, whoever noted it.
pub(crate) fn finish(mut response: Response, id: &str) -> Response {
    let extensions = response.extensions_mut();
    let shared = extensions.remove::<ApiError>().map(LambdaError::from);
    if let Some(error) = extensions.remove::<LambdaError>().or(shared) {
        response = written(&error);
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static(REQUEST_ID_HEADER), id.clone());
        // A call that is kept has an ID of its own, by which it is found.
        headers.entry(super::REQUEST_ID).or_insert(id);
    }
    response
}

fn written(error: &LambdaError) -> Response {
    let status = error.kind.status();
    let (kind, message, cause) = (error.kind.name(), &error.message, error.cause.as_deref());
    if status.is_server_error() {
        warn!(kind, message, cause, "failed");
    } else {
        debug!(kind, message, cause, "refused");
    }
    let blame = if status.is_server_error() { "Service" } else { "User" };
    // AWS spells the key in one way or the other, by the kind; clients read the one that they expect.
    let body = serde_json::json!({ "Type": blame, "Message": message, "message": message });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_TYPE, HeaderValue::from_static(kind));
    if let Some(seconds) = error.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
