//! Finding functions, and telling of them.

use hearth_api::{Function, ProblemCode};
use hearth_domain::FunctionName;
use hearth_store::{AliasRow, FunctionError, FunctionRow, VersionRow};

use super::view::{self, Around};
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
};

impl App {
    /// The tenant's function that a path names.
    pub(crate) async fn find_function(&self, tenant: &Tenant, text: &str) -> ApiResult<FunctionRow> {
        let name: Option<FunctionName> = text.parse().ok();
        let row = match &name {
            Some(name) => self.store.function_by_label(tenant.project, &name.label()).await?,
            None => None,
        };
        row.ok_or_else(|| no_function(text))
    }

    /// A version of a function.
    pub(crate) async fn find_version(&self, function: &FunctionRow, text: &str) -> ApiResult<VersionRow> {
        let row = match text.parse() {
            Ok(number) => self.store.version(function.spec.id, number).await?,
            Err(_) => None,
        };
        row.ok_or_else(|| no_version(function, text))
    }

    /// A function as clients see it.
    pub(crate) async fn shown_function(&self, tenant: &Tenant, row: FunctionRow) -> ApiResult<Function> {
        let aliases: Vec<AliasRow> = self.store.aliases(Some(row.spec.id)).await?;
        let latest = self.store.version(row.spec.id, row.latest).await?;
        let plane = self.plane();
        let around = Around {
            aliases,
            latest,
            urls: plane.urls(&tenant.name, &row.spec),
            instances: plane.serving(row.spec.id),
        };
        Ok(view::function(row, around))
    }
}

pub(crate) fn no_function(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    ApiError::new(
        ProblemCode::FunctionNotFound,
        format!("there is no function {text:?}; `hearth fn ls` lists those there are"),
    )
}

pub(crate) fn no_version(function: &FunctionRow, text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    let name = &function.spec.name;
    ApiError::new(
        ProblemCode::FunctionNotFound,
        format!("function {name} has no version {text:?}; `hearth fn versions {name}` lists those it has"),
    )
}

impl From<FunctionError> for ApiError {
    fn from(error: FunctionError) -> Self {
        let code = match error {
            FunctionError::Store(error) => return error.into(),
            FunctionError::Quota(quota) => return quota.into(),
            FunctionError::NameTaken { .. } => ProblemCode::NameTaken,
            FunctionError::Gone | FunctionError::NoVersion(_) => ProblemCode::FunctionNotFound,
            FunctionError::InUse { .. } => ProblemCode::InUse,
            FunctionError::TooMany => ProblemCode::StateConflict,
        };
        Self::new(code, error.to_string())
    }
}
