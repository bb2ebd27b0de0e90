//! Functions, their versions and aliases.

use hearth_ids::{FunctionId, MachineId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Contract, Driver, MachineState, Resources, Runtime, SecretUse};

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Function {
    /// Identity.
    #[schema(value_type = String, example = "fnc01k9zs7m3q6ev2y8d4xw0abcde")]
    pub id: FunctionId,
    /// Name.
    pub name: String,
    /// Whether it may be called without a key.
    pub public: bool,
    /// How many instances each version has.
    pub scale: Scale,
    /// Where the calls go that name no alias and no version.
    pub traffic: Vec<TrafficShare>,
    /// Its newest version, whether it is called or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<FunctionVersion>,
    /// Where it is called.
    pub urls: Vec<String>,
    /// Instances that serve now, of all versions.
    pub instances: u32,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// How many instances there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scale {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
    /// Calls that an instance is given at a time.
    pub concurrency: u32,
    /// How long an instance without calls is kept, in milliseconds.
    pub idle_ms: u64,
}

/// A share of the calls that a version gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficShare {
    /// Which version.
    pub version: u32,
    /// In hundredths; all shares are 100 together.
    #[schema(maximum = 100)]
    pub percent: u32,
}

/// A version of a function. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionVersion {
    /// Its number, from 1.
    pub version: u32,
    /// The image as it was asked for.
    pub image: String,
    /// Digest of the image.
    pub image_id: String,
    /// Digest of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What runs the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// What of the source is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// How an instance is called.
    pub contract: Contract,
    /// At which port.
    pub port: u16,
    /// What an instance holds.
    pub resources: Resources,
    /// Environment that is added to the image's.
    pub env: Vec<String>,
    /// Secrets that the program gets.
    pub secrets: Vec<SecretUse>,
    /// How long a call may take, in milliseconds.
    pub timeout_ms: u64,
    /// What starts instances, if not the node's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// What is to be remembered of it.
    pub description: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A page of functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    /// By name.
    pub functions: Vec<Function>,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which functions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListFunctionsQuery {
    /// How many at most; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The versions of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionList {
    /// Newest first.
    pub versions: Vec<FunctionVersion>,
}

/// A name for a version, or for several by weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    /// Its name; `live` is the one that is called when nobody says which.
    pub name: String,
    /// Where it leads.
    pub traffic: Vec<TrafficShare>,
    /// What is to be remembered of it.
    pub description: String,
    /// When it changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// The aliases of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasList {
    /// By name.
    pub aliases: Vec<Alias>,
}

/// Where an alias shall lead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAlias {
    /// The versions and their shares.
    #[schema(min_items = 1, max_items = 8)]
    pub traffic: Vec<TrafficShare>,
    /// What is to be remembered of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub description: Option<String>,
}

/// Back to where the calls went before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// To this version; to what was called before the last change, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// An instance of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionInstance {
    /// Its machine.
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// Which version it is.
    pub version: u32,
    /// What the machine is doing.
    pub state: MachineState,
    /// Whether calls reach it.
    pub serving: bool,
    /// When its machine started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
}

/// The instances of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceList {
    /// Oldest first.
    pub instances: Vec<FunctionInstance>,
}
