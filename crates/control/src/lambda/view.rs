//! Functions as AWS's clients see them.

use hearth_domain::VersionSpec;
use hearth_store::{FunctionRow, VersionRow};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    facts::{FunctionFacts, INITIALIZATION_VARIABLE, MEMORY_VARIABLE, VersionFacts, asked_memory, has_snap_start},
    name::arn,
};
use crate::time::timestamp;

/// The version that is meant when none is named.
pub(crate) const LATEST: &str = "$LATEST";
/// Functions that were deployed without a role have this.
const NO_ROLE: &str = "arn:aws:iam::000000000000:role/hearth";

/// All that an answer tells of a function.
pub(super) struct Shown<'a> {
    pub(super) region: &'a str,
    pub(super) function: &'a FunctionRow,
    pub(super) version: &'a VersionRow,
    pub(super) facts: &'a FunctionFacts,
    pub(super) version_facts: &'a VersionFacts,
    /// As the client asked for it: the ARN ends with it.
    pub(super) qualifier: Option<&'a str>,
}

impl Shown<'_> {
    /// `FunctionConfiguration`.
    pub(super) fn configuration(&self) -> Value {
        let (spec, facts) = (&self.version.spec, self.version_facts);
        let name = self.function.spec.name.as_str();
        let modified_ms = facts.modified_unix_ms.unwrap_or(self.version.created_unix_ms);
        let mut shown = json!({
            "FunctionName": name,
            "FunctionArn": arn(self.region, name, self.qualifier),
            "Role": self.facts.role.as_deref().unwrap_or(NO_ROLE),
            "CodeSize": facts.code_size,
            "CodeSha256": facts.code_sha256.clone().unwrap_or_else(|| own_sha256(spec)),
            "Description": facts.description.as_ref().unwrap_or(&spec.description),
            "Timeout": spec.timeout_ms.div_ceil(1000),
            "MemorySize": asked_memory(spec),
            "LastModified": last_modified(modified_ms),
            "Version": self.shown_version(),
            "RevisionId": self.revision(),
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": if spec.runtime.is_some() { "Zip" } else { "Image" },
            "Architectures": [if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }],
            "TracingConfig": { "Mode": "PassThrough" },
            "EphemeralStorage": { "Size": 512 },
            "SnapStart": self.snap_start(),
            "LoggingConfig": { "LogFormat": "Text", "LogGroup": format!("/aws/lambda/{name}") },
        });
        if let Some(fields) = shown.as_object_mut() {
            self.optional(fields);
        }
        shown
    }

    fn optional(&self, fields: &mut Map<String, Value>) {
        let spec = &self.version.spec;
        if let Some(runtime) = self.version_facts.shown_runtime(spec) {
            fields.insert("Runtime".into(), runtime.into());
        }
        if let Some(handler) = &spec.handler {
            fields.insert("Handler".into(), handler.as_str().into());
        }
        let own = [MEMORY_VARIABLE, INITIALIZATION_VARIABLE];
        let variables = spec
            .workload
            .env
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()));
        let variables: Map<String, Value> = variables
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        if !variables.is_empty() {
            fields.insert("Environment".into(), json!({ "Variables": variables }));
        }
        let (entrypoint, cmd) = (&spec.workload.entrypoint, &spec.workload.cmd);
        if spec.runtime.is_none() && (entrypoint.is_some() || !cmd.is_empty()) {
            let config = json!({ "EntryPoint": entrypoint.clone().unwrap_or_default(), "Command": cmd });
            fields.insert("ImageConfigResponse".into(), json!({ "ImageConfig": config }));
        }
    }

    /// `SnapStartResponse`. Its status is told of published versions alone, as AWS does.
    fn snap_start(&self) -> Value {
        let asked = has_snap_start(&self.version.spec);
        json!({
            "ApplyOn": if asked { "PublishedVersions" } else { "None" },
            "OptimizationStatus": if asked && self.is_published() { "On" } else { "Off" },
        })
    }

    /// `$LATEST`, unless a version was asked for, or an alias that leads to one.
    fn shown_version(&self) -> String {
        if self.is_published() {
            self.version.spec.number.to_string()
        } else {
            LATEST.to_owned()
        }
    }

    fn is_published(&self) -> bool {
        self.qualifier.is_some_and(|qualifier| qualifier != LATEST)
    }

    /// Another one after each change.
    pub(super) fn revision(&self) -> String {
        revision(self.function, self.version.spec.number)
    }

    /// `FunctionCodeLocation`. Code is not handed out again.
    pub(super) fn code(&self) -> Value {
        let spec = &self.version.spec;
        if spec.runtime.is_some() {
            return json!({ "RepositoryType": "Hearth" });
        }
        let uri = self.version_facts.image_uri.as_ref().unwrap_or(&spec.image);
        json!({ "RepositoryType": "Hearth", "ImageUri": uri, "ResolvedImageUri": spec.image_id })
    }
}

/// The revision of a function with this as its newest version, in the form of a UUID.
pub(super) fn revision(function: &FunctionRow, number: u32) -> String {
    let text = format!("{}/{}/{number}", function.spec.id, function.updated_unix_ms);
    uuid(&Sha256::digest(text))
}

/// A UUID (RFC 9562, version 8) of a hash.
pub(super) fn uuid(hash: &[u8]) -> String {
    let value = hash
        .iter()
        .take(16)
        .fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
    let value = (value & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        value >> 96,
        (value >> 80) & 0xffff,
        (value >> 64) & 0xffff,
        (value >> 48) & 0xffff,
        value & 0xffff_ffff_ffff
    )
}

/// What stands for a zip's hash where there was no zip: it changes with source and image.
fn own_sha256(spec: &VersionSpec) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut hash = Sha256::new();
    hash.update(&spec.image_id);
    for layer in &spec.layers {
        hash.update(layer);
    }
    STANDARD.encode(hash.finalize())
}

/// `2026-11-21T18:00:00.000+0000`.
pub(super) fn last_modified(unix_ms: u64) -> String {
    let time = timestamp(unix_ms).to_zoned(TimeZone::UTC);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}
