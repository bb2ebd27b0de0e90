//! Requests as AWS's clients write them. Fields that mean nothing here and change nothing are not read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `CreateFunction`, without what [`Settings`] has.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateFunction {
    pub(super) function_name: Option<String>,
    pub(super) package_type: Option<String>,
    pub(super) code: Option<Code>,
    pub(super) publish: bool,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) architectures: Vec<String>,
    pub(super) code_signing_config_arn: Option<String>,
}

/// `UpdateFunctionCode`, without what [`Code`] has.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UpdateCode {
    pub(super) publish: bool,
    pub(super) dry_run: bool,
    pub(super) revision_id: Option<String>,
    pub(super) architectures: Vec<String>,
}

/// Where the code is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Code {
    /// In base 64.
    pub(super) zip_file: Option<String>,
    pub(super) image_uri: Option<String>,
    pub(super) s3_bucket: Option<String>,
    pub(super) s3_key: Option<String>,
}

/// What of a function is set when it is made, and may be changed later.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Settings {
    pub(super) runtime: Option<String>,
    pub(super) role: Option<String>,
    pub(super) handler: Option<String>,
    pub(super) description: Option<String>,
    /// In seconds.
    pub(super) timeout: Option<u64>,
    /// In MiB.
    pub(super) memory_size: Option<u64>,
    pub(super) environment: Option<Environment>,
    pub(super) image_config: Option<ImageConfig>,
    pub(super) layers: Vec<Value>,
    pub(super) file_system_configs: Vec<Value>,
    pub(super) vpc_config: Option<VpcConfig>,
    pub(super) dead_letter_config: Option<DeadLetterConfig>,
    pub(super) snap_start: Option<SnapStart>,
    #[serde(rename = "KMSKeyArn")]
    pub(super) kms_key_arn: Option<String>,
    pub(super) revision_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Environment {
    pub(super) variables: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageConfig {
    pub(super) entry_point: Option<Vec<String>>,
    pub(super) command: Option<Vec<String>>,
    pub(super) working_directory: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct VpcConfig {
    pub(super) subnet_ids: Vec<String>,
    pub(super) security_group_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeadLetterConfig {
    pub(super) target_arn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct SnapStart {
    /// `PublishedVersions` or `None`.
    pub(super) apply_on: Option<String>,
}

/// Which version or alias.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Qualified {
    pub(super) qualifier: Option<String>,
}

/// Which page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Page {
    pub(super) marker: Option<String>,
    pub(super) max_items: Option<u32>,
    pub(super) function_version: Option<String>,
}
