//! Finding what a request names, and telling of it.

use hearth_domain::Traffic;
use hearth_store::{FunctionRow, VersionRow};
use serde_json::Value;

use super::{
    error::{Kind, LambdaError, LambdaResult},
    facts::{FunctionFacts, VersionFacts},
    name::{Named, arn, clip},
    view::{LATEST, Shown},
};
use crate::{app::App, caller::Tenant};

impl App {
    /// What stands for a region.
    pub(super) fn region(&self) -> &str {
        &self.config.functions.gateway.region
    }

    /// The tenant's function that a request names.
    pub(super) async fn named_function(&self, tenant: &Tenant, named: &Named) -> LambdaResult<FunctionRow> {
        let name: Option<hearth_domain::FunctionName> = named.name.parse().ok();
        let row = match &name {
            Some(name) => self.store.function_by_label(tenant.project, &name.label()).await?,
            None => None,
        };
        row.ok_or_else(|| not_found(self, &named.name, None))
    }

    /// The newest version of a function.
    pub(super) async fn newest(&self, row: &FunctionRow) -> LambdaResult<VersionRow> {
        let id = row.spec.id;
        if let Some(version) = self.store.version(id, row.latest).await? {
            return Ok(version);
        }
        // It was removed.
        let versions = self.store.versions(Some(id)).await?;
        let newest = versions.into_iter().next();
        newest.ok_or_else(|| not_found(self, row.spec.name.as_str(), Some(LATEST)))
    }

    /// The version that a qualifier means: of an alias, the one that gets most calls.
    pub(super) async fn qualified(&self, row: &FunctionRow, qualifier: Option<&str>) -> LambdaResult<VersionRow> {
        let id = row.spec.id;
        let found = match qualifier {
            None | Some(LATEST) => return self.newest(row).await,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => match text.parse() {
                Ok(number) => self.store.version(id, number).await?,
                Err(_) => None,
            },
            Some(text) => {
                let aliases = self.store.aliases(Some(id)).await?;
                match aliases.into_iter().find(|alias| alias.name == text) {
                    Some(alias) => self.store.version(id, foremost(&alias.traffic)).await?,
                    None => None,
                }
            }
        };
        found.ok_or_else(|| not_found(self, row.spec.name.as_str(), qualifier))
    }

    /// `FunctionConfiguration` of a version, with what changed a moment ago.
    pub(super) async fn shown_configuration(
        &self,
        row: &FunctionRow,
        version: &VersionRow,
        qualifier: Option<&str>,
    ) -> LambdaResult<Value> {
        let found = self.store.function(row.spec.id).await?;
        let function = found.ok_or_else(|| not_found(self, row.spec.name.as_str(), None))?;
        let (facts, version_facts): (FunctionFacts, VersionFacts) = (
            self.function_facts(row.spec.id).await?,
            self.version_facts(version).await?,
        );
        let shown = Shown {
            region: self.region(),
            function: &function,
            version,
            facts: &facts,
            version_facts: &version_facts,
            qualifier,
        };
        Ok(shown.configuration())
    }
}

/// The version that gets most calls; of two alike the first.
pub(super) fn foremost(traffic: &Traffic) -> u32 {
    let shares = traffic.shares().iter().rev();
    shares
        .max_by_key(|share| share.percent)
        .map_or(0, |share| share.version)
}

/// There is no such function, or it has no such version or alias.
pub(super) fn not_found(app: &App, name: &str, qualifier: Option<&str>) -> LambdaError {
    let (name, qualifier) = (clip(name), qualifier.map(clip));
    let arn = arn(app.region(), &name, qualifier.as_deref());
    LambdaError::new(Kind::ResourceNotFound, format!("Function not found: {arn}"))
}
