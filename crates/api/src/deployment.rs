//! Deploying functions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Driver, Function, FunctionVersion};

/// What a function shall be from now on: the function is made if there is none, and gets a new version unless its newest
/// is the same already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployFunction {
    /// Reference or ID of an image that the node has. Absent where a runtime is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "docker.io/library/hello:latest", max_length = 512)]
    pub image: Option<String>,
    /// What runs the source. Its contract is `lambda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Digest of the source, as the upload answered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What of the source is called, as `module.function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "main.handler", max_length = 128)]
    pub handler: Option<String>,
    /// How an instance is called; `http` if absent and no runtime is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    /// Port at which the program listens, for contract `http`; 8080 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    /// Replaces the image's entrypoint, and then its command, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Environment, each as `NAME=value`, added to the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Secrets of the project that the program gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// Virtual CPUs of an instance; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 32)]
    pub cpus: Option<u64>,
    /// Memory of an instance in MiB; 256 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 1_048_576)]
    pub memory_mib: Option<u64>,
    /// How long a call may take, in milliseconds; 30 s if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 900_000)]
    pub timeout_ms: Option<u64>,
    /// What starts instances; the node's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// What is to be remembered of this version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 256)]
    pub description: String,
    /// Leaves the calls where they are: the new version is reached by its number, or once an alias leads to it.
    #[serde(default)]
    pub no_traffic: bool,
    /// How many instances there are, and who may call. What is absent stays as it is.
    #[serde(default)]
    pub settings: FunctionSettings,
}

/// What may change of a function without a new version. What is absent stays as it is, or is as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionSettings {
    /// Whether it may be called without a key; no if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Instances at least; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub min: Option<u32>,
    /// Instances at most; 10 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub max: Option<u32>,
    /// Calls that an instance is given at a time; 1 for the contract `lambda` and 16 for `http` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub concurrency: Option<u32>,
    /// How long an instance without calls is kept, in milliseconds; a minute if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86_400_000)]
    pub idle_ms: Option<u64>,
}

/// A secret that a program gets: as a variable, or as a file below `/run/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    /// Its name in the project.
    pub name: String,
    /// The variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// How an instance is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// The program listens on `$PORT` and speaks HTTP.
    Http,
    /// The program asks for events by the Lambda Runtime API.
    Lambda,
}

/// What runs a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Python 3.
    Python3,
    /// Node.js.
    Node,
    /// The source's own `bootstrap`.
    Provided,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// The function as it is now.
    pub function: Function,
    /// The version that was asked for.
    pub version: FunctionVersion,
    /// Whether it is new: one that is the same as the newest is not made again.
    pub new: bool,
}

/// A source that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionSource {
    /// Its digest, for the deployment.
    pub source: String,
    /// Size of the image that it became, in bytes.
    pub size_bytes: u64,
}

impl From<Runtime> for hearth_domain::Runtime {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Python3 => Self::Python3,
            Runtime::Node => Self::Node,
            Runtime::Provided => Self::Provided,
        }
    }
}

impl From<hearth_domain::Runtime> for Runtime {
    fn from(runtime: hearth_domain::Runtime) -> Self {
        match runtime {
            hearth_domain::Runtime::Python3 => Self::Python3,
            hearth_domain::Runtime::Node => Self::Node,
            hearth_domain::Runtime::Provided => Self::Provided,
        }
    }
}

impl From<hearth_domain::Contract> for Contract {
    fn from(contract: hearth_domain::Contract) -> Self {
        match contract {
            hearth_domain::Contract::Http { .. } => Self::Http,
            hearth_domain::Contract::Lambda => Self::Lambda,
        }
    }
}

impl From<hearth_domain::SecretRef> for SecretUse {
    fn from(used: hearth_domain::SecretRef) -> Self {
        let (env, file) = match used.target {
            hearth_domain::SecretTarget::Env(env) => (Some(env), None),
            hearth_domain::SecretTarget::File(file) => (None, Some(file)),
        };
        Self {
            name: used.name,
            env,
            file,
        }
    }
}
