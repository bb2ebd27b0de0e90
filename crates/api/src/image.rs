//! Images.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::ProblemLine;

/// An image that the node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Digest, such as `sha256:…`.
    pub id: String,
    /// Names that lead to it.
    pub references: Vec<String>,
    /// Size of its root on the node's disk.
    pub size_bytes: u64,
    /// When it came to the node.
    #[schema(value_type = String, format = DateTime)]
    pub added_at: Timestamp,
    /// When it was built, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// Where it came from.
    #[serde(default)]
    pub source: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture, as OCI calls it.
    pub architecture: String,
    /// Number of layers it was made of.
    pub layers: u64,
    /// What it runs, and how.
    pub config: ImageConfig,
    /// IDs of the machines that use it.
    #[serde(default)]
    pub used_by: Vec<String>,
}

/// What an image runs, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImageConfig {
    /// Program, and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that follow, or the program.
    pub cmd: Vec<String>,
    /// Environment, each as `NAME=value`.
    pub env: Vec<String>,
    /// Working folder.
    pub working_dir: String,
    /// User.
    pub user: String,
    /// Signal that asks the program to end.
    pub stop_signal: String,
    /// Ports that it listens on, such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// All images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageList {
    /// The images, newest first.
    pub images: Vec<Image>,
}

/// Which image to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    /// Reference, such as `alpine:3.20` or `registry.example:5000/team/app@sha256:…`.
    #[schema(max_length = 512)]
    pub reference: String,
    /// Whether the registry is asked if the node has the image already.
    #[serde(default)]
    pub policy: PullPolicy,
    /// What to show to the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<RegistryAuth>,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Always; what has not changed is not fetched again.
    #[default]
    Always,
    /// Only if the node does not have it.
    Missing,
}

/// What to show to a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum RegistryAuth {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// An `OAuth2` refresh token.
    IdentityToken {
        /// The token.
        token: String,
    },
    /// A token that the registry accepts as it is.
    Bearer {
        /// The token.
        token: String,
    },
}

impl fmt::Debug for RegistryAuth {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "RegistryAuth::Basic(…)",
            Self::IdentityToken { .. } => "RegistryAuth::IdentityToken(…)",
            Self::Bearer { .. } => "RegistryAuth::Bearer(…)",
        })
    }
}

/// How far a pull or import is, for one item of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageProgress {
    /// What is being done.
    pub phase: ImagePhase,
    /// To what: a layer's short digest, or the image's name.
    pub item: String,
    /// Bytes done.
    pub current_bytes: u64,
    /// Bytes in all, 0 where unknown.
    pub total_bytes: u64,
}

/// What a pull or import is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImagePhase {
    /// Finding out what the image is made of.
    Resolving,
    /// Fetching a layer.
    Downloading,
    /// Checking bytes that were there already.
    Verifying,
    /// Turning a layer into the read-only root.
    Converting,
    /// The image is there.
    Done,
    /// Something that only a newer server does.
    #[serde(other)]
    Unknown,
}

/// A line of the stream of a pull or import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ImageLine {
    /// How far it is.
    Progress(ImageProgress),
    /// It is done; nothing follows.
    Result {
        /// The image.
        image: Box<Image>,
    },
    /// It failed; nothing follows.
    Problem(ProblemLine),
}

/// What a prune or a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneResult {
    /// IDs of the images that are gone.
    pub removed: Vec<String>,
    /// Names that are gone.
    #[serde(default)]
    pub untagged: Vec<String>,
    /// Bytes of the node's disk that are free now.
    pub reclaimed_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let auth = RegistryAuth::Basic {
            username: "u".into(),
            password: "hunter2".into(),
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
        let text = r#"{"reference":"a","auth":{"kind":"basic","username":"u","password":"hunter2"}}"#;
        assert_eq!(serde_json::from_str::<PullImage>(text).unwrap().auth, Some(auth));
    }
}
