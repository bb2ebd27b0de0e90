//! What is kept of a function beside what Hearth itself knows of it.

use std::collections::BTreeMap;

use hearth_domain::{Contract, Runtime, VersionSpec};
use hearth_ids::FunctionId;
use hearth_store::{OF_FUNCTION, StoreError, VersionRow};
use serde::{Deserialize, Serialize};

pub(super) use crate::functions::blueprint::{INITIALIZATION_VARIABLE, MEMORY_VARIABLE, SNAP_START};
use crate::{app::App, time::now_unix_ms};

/// Facts of the function itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionFacts {
    pub(crate) role: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) url: Option<UrlFacts>,
    /// Statements of its policy, by their IDs.
    pub(crate) policy: BTreeMap<String, serde_json::Value>,
    /// Whether the most instances were set by this API.
    pub(crate) reserved: bool,
}

/// A function URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlFacts {
    /// `NONE` or `AWS_IAM`.
    pub(crate) auth_type: String,
    /// `BUFFERED` or `RESPONSE_STREAM`.
    pub(crate) invoke_mode: String,
    pub(crate) created_unix_ms: u64,
    pub(crate) modified_unix_ms: u64,
}

/// Facts of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VersionFacts {
    /// The runtime as it was asked for, such as `python3.12`.
    pub(crate) runtime: Option<String>,
    pub(crate) image_uri: Option<String>,
    /// SHA-256 of the zip, in base 64.
    pub(crate) code_sha256: Option<String>,
    /// Bytes of the zip.
    pub(crate) code_size: u64,
    pub(crate) description: Option<String>,
    pub(crate) modified_unix_ms: Option<u64>,
}

impl VersionFacts {
    /// The runtime as AWS would name it.
    pub(crate) fn shown_runtime(&self, spec: &VersionSpec) -> Option<String> {
        let own = spec.runtime.map(|runtime| match runtime {
            Runtime::Python3 => "python3",
            Runtime::Node => "nodejs",
            Runtime::Provided => "provided",
        });
        self.runtime.clone().or_else(|| own.map(str::to_owned))
    }
}

/// The memory that was asked for, in MiB.
pub(crate) fn asked_memory(spec: &VersionSpec) -> u64 {
    let told = spec.workload.env.get(MEMORY_VARIABLE);
    let told = told.and_then(|text| text.parse().ok());
    told.unwrap_or_else(|| spec.resources.memory_mib.get().into())
}

/// Whether a version's runtime has its hooks run around the snapshot that further instances go on from (Lambda's `SnapStart`).
/// Its environment says so, whoever wrote that.
pub(crate) fn has_snap_start(spec: &VersionSpec) -> bool {
    let asked = spec.workload.env.get(INITIALIZATION_VARIABLE);
    spec.contract == Contract::Lambda && asked.is_some_and(|kind| kind == SNAP_START)
}

impl App {
    /// What is known of a function.
    pub(super) async fn function_facts(&self, function: FunctionId) -> Result<FunctionFacts, StoreError> {
        let facts = self.store.lambda_facts(function, OF_FUNCTION).await?;
        Ok(facts.unwrap_or_default())
    }

    /// What is known of a version.
    pub(super) async fn version_facts(&self, version: &VersionRow) -> Result<VersionFacts, StoreError> {
        let spec = &version.spec;
        let facts = self.store.lambda_facts(spec.function, spec.number).await?;
        Ok(facts.unwrap_or_default())
    }

    /// Keeps what is known of a function.
    pub(super) async fn keep_function_facts(
        &self,
        function: FunctionId,
        facts: &FunctionFacts,
    ) -> Result<(), StoreError> {
        self.store
            .set_lambda_facts(function, OF_FUNCTION, facts, now_unix_ms())
            .await
    }
}
