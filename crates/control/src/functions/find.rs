//! Finding functions, and telling of them.

use std::collections::HashMap;

use hearth_api::{Function, ProblemCode};
use hearth_domain::FunctionName;
use hearth_store::{FunctionError, FunctionRow, VersionRow};

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
        let shown = self.shown_functions(tenant, vec![row]).await?.pop();
        shown.ok_or_else(|| ApiError::internal("a function is not shown"))
    }

    /// A page of functions as clients see them, in its order. How many they are does not change how often the store is
    /// asked.
    pub(crate) async fn shown_functions(&self, tenant: &Tenant, rows: Vec<FunctionRow>) -> ApiResult<Vec<Function>> {
        let ids: Vec<_> = rows.iter().map(|row| row.spec.id).collect();
        let live = self.store.live_aliases(&ids).await?;
        let mut live: HashMap<_, _> = live.into_iter().map(|alias| (alias.function, alias)).collect();
        let newest = self.store.newest_versions(&ids).await?;
        let mut newest: HashMap<_, _> = newest.into_iter().map(|row| (row.spec.function, row)).collect();
        let plane = self.plane();
        let shown = rows.into_iter().map(|row| {
            let id = row.spec.id;
            let around = Around {
                live: live.remove(&id),
                // If the latest was removed, none is shown.
                latest: newest.remove(&id).filter(|newest| newest.spec.number >= row.latest),
                urls: plane.urls(&tenant.name, &row.spec),
                instances: plane.serving(id),
            };
            view::function(row, around)
        });
        Ok(shown.collect())
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
