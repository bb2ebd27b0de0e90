//! What goes over the wire, by E2B's names.
#![expect(clippy::struct_field_names, reason = "they are the wire's")]

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A sandbox that is wanted. What is not named here is not read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NewSandbox {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    pub(super) timeout: Option<i64>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    #[serde(rename = "envVars")]
    pub(super) env_vars: Option<BTreeMap<String, String>>,
    #[serde(rename = "autoPause")]
    pub(super) auto_pause: Option<bool>,
    #[serde(rename = "autoPauseMemory")]
    pub(super) auto_pause_memory: Option<bool>,
    #[serde(rename = "autoResume")]
    pub(super) auto_resume: Option<AutoResume>,
    pub(super) allow_internet_access: Option<bool>,
    pub(super) network: Option<Network>,
    pub(super) mcp: Option<serde_json::Value>,
    pub(super) iam: Option<serde_json::Value>,
    #[serde(rename = "volumeMounts")]
    pub(super) volume_mounts: Option<Vec<VolumeMount>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AutoResume {
    pub(super) enabled: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Network {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allow_out: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deny_out: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allow_public_traffic: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mask_request_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) egress_proxy: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rules: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) https_ports: Option<serde_json::Value>,
    /// What this server does not know.
    #[serde(flatten)]
    pub(super) other: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NetworkUpdate {
    #[serde(rename = "allow_internet_access")]
    pub(super) allow_internet_access: Option<bool>,
    pub(super) allow_out: Option<Vec<String>>,
    pub(super) deny_out: Option<Vec<String>>,
    pub(super) egress_proxy: Option<serde_json::Value>,
    pub(super) rules: Option<serde_json::Value>,
    /// What this server does not know.
    #[serde(flatten)]
    pub(super) other: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) path: String,
}

/// A sandbox for whoever is to go into it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sandbox {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    #[serde(rename = "sandboxID")]
    pub(super) sandbox_id: String,
    #[serde(rename = "clientID")]
    pub(super) client_id: &'static str,
    pub(super) envd_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) envd_access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traffic_access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
}

/// A sandbox in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedSandbox {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    #[serde(rename = "sandboxID")]
    pub(super) sandbox_id: String,
    #[serde(rename = "clientID")]
    pub(super) client_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<String>,
    pub(super) started_at: String,
    pub(super) end_at: String,
    pub(super) cpu_count: u32,
    #[serde(rename = "memoryMB")]
    pub(super) memory_mb: u32,
    #[serde(rename = "diskSizeMB")]
    pub(super) disk_size_mb: u32,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) state: &'static str,
    pub(super) envd_version: &'static str,
    pub(super) volume_mounts: Vec<VolumeMount>,
}

/// All about a sandbox.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SandboxDetail {
    #[serde(flatten)]
    pub(super) listed: ListedSandbox,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) envd_access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    pub(super) allow_internet_access: Option<bool>,
    pub(super) network: Network,
    pub(super) lifecycle: Lifecycle,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lifecycle {
    pub(super) auto_resume: bool,
    pub(super) on_timeout: &'static str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Timeout {
    pub(super) timeout: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refresh {
    pub(super) duration: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connect {
    pub(super) timeout: Option<i64>,
    pub(super) memory: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Resume {
    pub(super) timeout: Option<i64>,
    pub(super) memory: Option<bool>,
    pub(super) auto_pause: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Pause {
    pub(super) memory: Option<bool>,
    pub(super) require_healthy_guest: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewTemplate {
    pub(super) name: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    #[serde(rename = "cpuCount")]
    pub(super) cpu_count: Option<u32>,
    #[serde(rename = "memoryMB")]
    pub(super) memory_mb: Option<u32>,
    #[serde(rename = "minFreeDiskMb")]
    pub(super) min_free_disk_mb: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StartBuild {
    pub(super) from_image: Option<String>,
    pub(super) from_template: Option<String>,
    pub(super) from_image_registry: Option<Registry>,
    pub(super) force: Option<bool>,
    pub(super) steps: Option<Vec<Step>>,
    pub(super) start_cmd: Option<String>,
    pub(super) ready_cmd: Option<String>,
}

/// Who to be for the registry of an image.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Registry {
    #[serde(rename = "registry")]
    General { username: String, password: String },
    Gcp {
        #[serde(rename = "serviceAccountJson")]
        service_account_json: String,
    },
    /// With keys for an API that gives out tokens for the registry, for some hours.
    Aws {},
}

impl fmt::Debug for Registry {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::General { .. } => "Registry::General(…)",
            Self::Gcp { .. } => "Registry::Gcp(…)",
            Self::Aws {} => "Registry::Aws(…)",
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) force: bool,
    #[serde(default)]
    pub(super) files_hash: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct RequestedTemplate {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    #[serde(rename = "buildID")]
    pub(super) build_id: String,
    pub(super) public: bool,
    pub(super) names: Vec<String>,
    pub(super) aliases: Vec<String>,
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BuildStatus {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    #[serde(rename = "buildID")]
    pub(super) build_id: String,
    pub(super) status: &'static str,
    pub(super) logs: Vec<String>,
    pub(super) log_entries: Vec<LogEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Reason>,
}

#[derive(Debug, Serialize)]
pub(super) struct BuildLogs {
    pub(super) logs: Vec<LogEntry>,
}

#[derive(Debug, Serialize)]
pub(super) struct LogEntry {
    pub(super) timestamp: String,
    pub(super) level: String,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reason {
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<String>,
    pub(super) log_entries: Vec<LogEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Template {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    #[serde(rename = "buildID")]
    pub(super) build_id: String,
    pub(super) build_status: &'static str,
    pub(super) build_count: usize,
    pub(super) cpu_count: u32,
    #[serde(rename = "memoryMB")]
    pub(super) memory_mb: u32,
    #[serde(rename = "diskSizeMB")]
    pub(super) disk_size_mb: u32,
    pub(super) public: bool,
    pub(super) aliases: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) created_by: Option<()>,
    pub(super) last_spawned_at: Option<String>,
    pub(super) spawn_count: u64,
    pub(super) envd_version: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Alias {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    pub(super) public: bool,
}
