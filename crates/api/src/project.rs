//! Projects, keys, secrets, and who changed what.

use hearth_domain::{Quotas as DomainQuotas, Role as DomainRole};
use hearth_ids::{KeyId, ProjectId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A new project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// Name: 1 to 40 lower-case letters, digits or dashes, beginning with a letter and not ending with a dash.
    #[schema(pattern = "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", example = "team-a")]
    pub name: String,
    /// What it may hold.
    #[serde(default)]
    pub quotas: Quotas,
}

/// What a project may hold. What is absent is without bound but the node's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Machines, at rest or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// Virtual CPUs of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory of all of them, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<u32>,
    /// Snapshots of machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<u32>,
    /// Requests by keys in a second, on average; bursts of twice as many pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub requests_per_second: Option<u32>,
}

/// Changes of a project. Quotas are replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProject {
    /// What it may hold from now on; what it holds already stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

/// A project: the tenant that owns machines, functions, keys and secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// Identity.
    #[schema(value_type = String)]
    pub id: ProjectId,
    /// Name.
    pub name: String,
    /// When it was made; absent for the one that was always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// What it may hold.
    pub quotas: Quotas,
    /// What it holds.
    pub holds: Holding,
}

/// What a project holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holding {
    /// Machines, at rest or not.
    pub machines: u64,
    /// Virtual CPUs of its machines.
    pub cpus: u64,
    /// Memory of its machines in MiB.
    pub memory_mib: u64,
    /// Snapshots.
    #[serde(default)]
    pub snapshots: u64,
}

/// Projects, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectList {
    /// The projects.
    pub projects: Vec<Project>,
}

/// What a key may do in its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything; in the project `default`, the whole host.
    Admin,
    /// Makes and changes machines, functions and secrets.
    Developer,
    /// Calls functions, and nothing else.
    Invoker,
    /// Looks on.
    Viewer,
}

/// A new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What it may do.
    pub role: Role,
    /// What people call it; unique in its project; made up if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    pub name: Option<String>,
    /// For how long it is one, in seconds; without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3_153_600_000_u64)]
    pub expires_in_s: Option<u64>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Identity; no secret.
    #[schema(value_type = String)]
    pub id: KeyId,
    /// Name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// In which project.
    pub project: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when on it is no key any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// A key just made. Its secrets are told this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    /// The key.
    pub key: Key,
    /// What to send as `Authorization: Bearer …`.
    pub token: String,
    /// For clients that sign as AWS does: their access key ID.
    pub access_key_id: String,
    /// And their secret access key.
    pub secret_access_key: String,
}

impl std::fmt::Debug for NewKey {
    /// Without the secrets: what is printed for looking into a fault ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Keys of a project, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys.
    pub keys: Vec<Key>,
}

/// The value of a secret, on its way in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// The value, in base 64; at most 64 KiB.
    #[schema(content_encoding = "base64", max_length = 87_384)]
    pub value: String,
}

impl std::fmt::Debug for SetSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetSecret").finish_non_exhaustive()
    }
}

/// A secret, without its value, which is never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// Name.
    pub name: String,
    /// How often it was set.
    pub version: u32,
    /// When it was first set.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last set.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Secrets of a project, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    /// The secrets.
    pub secrets: Vec<Secret>,
}

/// Which changes to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Those of all projects, which only the host's admins may see.
    #[serde(default)]
    pub all: bool,
    /// Only those since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only those by this key (ID or name) or user (`unix:UID`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(max_length = 128)]
    pub actor: Option<String>,
    /// Only those of this operation, by its ID in the OpenAPI document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(max_length = 64)]
    pub operation: Option<String>,
    /// At most so many; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// From where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(max_length = 64)]
    pub cursor: Option<String>,
}

/// A change, done or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its number; grows.
    pub sequence: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// In which project, by ID; absent where the caller was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectId>,
    /// Who: a key's ID, `unix:` and a user's number, or `none`.
    pub actor: String,
    /// The key's name.
    pub actor_name: String,
    /// From where: an address, or `unix`.
    pub origin: String,
    /// What: the operation's ID in the OpenAPI document.
    pub operation: String,
    /// On what, as the request named it.
    pub target: String,
    /// What it came to, as HTTP has it.
    pub status: u16,
    /// The request's ID.
    pub request_id: String,
}

/// A page of changes, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// The changes.
    pub entries: Vec<AuditEntry>,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl From<Quotas> for DomainQuotas {
    /// Without that of snapshots, which the store keeps beside the others.
    fn from(quotas: Quotas) -> Self {
        let Quotas {
            machines,
            cpus,
            memory_mib,
            functions,
            snapshots: _,
            requests_per_second,
        } = quotas;
        Self {
            machines,
            vcpus: cpus,
            memory_mib,
            functions,
            requests_per_second,
        }
    }
}

impl From<DomainQuotas> for Quotas {
    /// Without one of snapshots.
    fn from(quotas: DomainQuotas) -> Self {
        let DomainQuotas {
            machines,
            vcpus,
            memory_mib,
            functions,
            requests_per_second,
        } = quotas;
        Self {
            machines,
            cpus: vcpus,
            memory_mib,
            functions,
            snapshots: None,
            requests_per_second,
        }
    }
}

impl From<Role> for DomainRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Developer => Self::Developer,
            Role::Invoker => Self::Invoker,
            Role::Viewer => Self::Viewer,
        }
    }
}

impl From<DomainRole> for Role {
    fn from(role: DomainRole) -> Self {
        match role {
            DomainRole::Admin => Self::Admin,
            DomainRole::Developer => Self::Developer,
            DomainRole::Invoker => Self::Invoker,
            DomainRole::Viewer => Self::Viewer,
        }
    }
}
