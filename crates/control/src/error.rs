//! From what went wrong inside to the problem that a client sees: the only place where domain errors meet HTTP.

use std::{error::Error, sync::Arc};

use axum::response::{IntoResponse, Response};
use hearth_api::{Problem, ProblemCode};
use hearth_domain::QuotaExceeded;
use hearth_node_api::{ErrorKind, NodeError};
use hearth_store::{Hindrance, InsertError, StoreError, TemplateError};
use http::StatusCode;

/// When a full quota is worth another look: somebody has to remove something first.
const QUOTA_RETRY_MS: u64 = 30_000;

/// A problem on its way out, with its cause for the log.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) problem: Box<Problem>,
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
    /// For the `Retry-After` header: in how many seconds it is worth another try.
    pub(crate) retry_after_s: Option<u64>,
}

/// What handlers give.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    pub(crate) fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Problem::field(field, detail).into()
    }

    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    /// It is worth another try after that time.
    pub(crate) fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_s = Some(ms.div_ceil(1000).max(1));
        self
    }

    /// A node's error; what is not there, if that is what is wrong, is given.
    pub(crate) fn of_node(error: NodeError, not_found: ProblemCode) -> Self {
        let code = match error.kind {
            ErrorKind::NotFound => not_found,
            ErrorKind::Conflict => ProblemCode::StateConflict,
            ErrorKind::InvalidInput => ProblemCode::InvalidRequest,
            ErrorKind::NoCapacity => ProblemCode::NoCapacity,
            ErrorKind::Unavailable => ProblemCode::Unavailable,
            ErrorKind::Timeout => ProblemCode::Timeout,
            ErrorKind::Internal => ProblemCode::Internal,
        };
        Self::new(code, error.message.clone()).caused_by(error)
    }

    /// For a task of ours that panicked or was cut off.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::Internal, detail)
    }

    /// The cause with its causes, on one line.
    pub(crate) fn chain(&self) -> Option<String> {
        let cause = self.cause.as_deref()?;
        Some(hearth_domain::chain(cause))
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            cause: None,
            retry_after_s: None,
        }
    }
}

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        Self::of_node(error, ProblemCode::MachineNotFound)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (code, detail) = match error.hindrance() {
            Some(why @ Hindrance::DiskFull) => (ProblemCode::DiskFull, format!("{error}: {why}")),
            Some(why) => (ProblemCode::Unavailable, format!("{error}: {why}")),
            None => (ProblemCode::Internal, error.to_string()),
        };
        Self::new(code, detail).caused_by(error)
    }
}

impl From<QuotaExceeded> for ApiError {
    fn from(quota: QuotaExceeded) -> Self {
        let problem = Problem {
            field: Some(quota.field.into()),
            ..Problem::new(ProblemCode::QuotaExceeded, quota.to_string())
        };
        Self::from(problem).retry_after_ms(QUOTA_RETRY_MS)
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::TooMany | TemplateError::TooManyTags => {
                Self::new(ProblemCode::QuotaExceeded, error.to_string())
            }
            TemplateError::TooManyBuilds => {
                Self::new(ProblemCode::QuotaExceeded, error.to_string()).retry_after_ms(QUOTA_RETRY_MS)
            }
            TemplateError::OtherKind { .. } => Self::new(ProblemCode::NameTaken, error.to_string()),
            TemplateError::Store(error) => error.into(),
        }
    }
}

impl From<InsertError> for ApiError {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::NameTaken { .. } => {
                let problem = Problem::new(ProblemCode::NameTaken, error.to_string());
                Problem {
                    field: Some("name".into()),
                    ..problem
                }
                .into()
            }
            InsertError::Quota(quota) => quota.into(),
            InsertError::KeyUsed(_) => Self::new(ProblemCode::RequestInProgress, error.to_string()),
            InsertError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    /// Only a note of the problem: [`crate::layers`] writes it out, since it knows the request.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
