//! Templates of sandboxes, and their builds.

use hearth_ids::{BuildId, SnapshotId, TemplateId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Resources;

/// A build of a template, which is made if there is none of the name. It is started at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildTemplate {
    /// `NAME`, `NAME:TAG` or `PROJECT/NAME:TAG`, where the project is one's own.
    #[schema(example = "web", max_length = 256)]
    pub name: String,
    /// Reference or ID of an image that the node has, with which the build begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub image: Option<String>,
    /// Template with which it begins, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub template: Option<String>,
    /// Stages that steps copy from: each is built on a disk of its own, and nothing else of it is in the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub stages: Vec<TemplateStage>,
    /// What is done then, in this order. With those of stages, at most 500.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 500)]
    pub steps: Vec<TemplateStep>,
    /// Started when all is done, and left running in each sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_cmd: Option<String>,
    /// Tried every 2 s until it succeeds, before the snapshot is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_cmd: Option<String>,
    /// Virtual CPUs of its sandboxes; 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 32)]
    pub cpus: Option<u32>,
    /// Their memory in MiB; 512 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 1_048_576)]
    pub memory_mib: Option<u32>,
    /// Their disk in MiB; 4096 if absent. What is not written takes no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 16_777_216)]
    pub disk_mib: Option<u32>,
    /// Whether other projects may make sandboxes of the template; as it is if absent, and of a new one not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// What means this build once it is done, besides the tag in the name; `default` if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub tags: Vec<String>,
    /// Nothing that was made before is used.
    #[serde(default)]
    pub force: bool,
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateStep {
    /// What is done.
    pub kind: StepKind,
    /// With `run`: command, user. With `env`: names and values, one after the other. With `copy`: what, where to, owner, mode.
    /// With `workdir` and `user`: that. What is absent may be an empty text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// With `copy`: the hash under which the files were put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// With `copy`, instead: the stage whose files are copied, one of those before. What is copied then is a path or a pattern from
    /// the stage's root, and belongs to root unless an owner is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub stage: Option<String>,
}

/// A stage of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateStage {
    /// What steps after it call it by; no other stage is called so.
    #[schema(example = "build", max_length = 256)]
    pub name: String,
    /// Reference or ID of an image that the node has, with which it begins.
    #[schema(max_length = 512)]
    pub image: String,
    /// What is done then, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 500)]
    pub steps: Vec<TemplateStep>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// Copies files that were put before.
    Copy,
    /// Sets variables for all that follows, and for sandboxes.
    Env,
    /// Runs a command of a shell.
    Run,
    /// Sets the working folder.
    Workdir,
    /// Sets the user.
    User,
}

impl StepKind {
    /// The word that a Dockerfile has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "COPY",
            Self::Env => "ENV",
            Self::Run => "RUN",
            Self::Workdir => "WORKDIR",
            Self::User => "USER",
        }
    }
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Template {
    /// Identity.
    #[schema(value_type = String, example = "tpl01k9zs7m3q6ev2y8d4xw0abcde")]
    pub id: TemplateId,
    /// What it is called in its project.
    pub names: Vec<String>,
    /// Whether other projects may make sandboxes of it.
    pub public: bool,
    /// Which builds its tags mean.
    pub tags: Vec<TemplateTag>,
    /// What its sandboxes hold: those of the tag `default`, else of the newest build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// State of its newest build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_build: Option<BuildState>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last built or changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When a sandbox was last made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
    /// How many sandboxes were.
    pub sandboxes: u64,
    /// Its builds, the newest first; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<TemplateBuild>,
}

/// What a tag means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateTag {
    /// The tag.
    pub tag: String,
    /// Which build.
    #[schema(value_type = String)]
    pub build: BuildId,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// A page of templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateList {
    /// The templates.
    pub templates: Vec<Template>,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// It is not started.
    Waiting,
    /// It is under way.
    Building,
    /// Sandboxes can be made of it.
    Ready,
    /// It failed.
    Failed,
}

impl BuildState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more comes.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ready | Self::Failed)
    }
}

impl std::fmt::Display for BuildState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A build of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateBuild {
    /// Identity.
    #[schema(value_type = String, example = "bld01k9zs7m3q6ev2y8d4xw0abcde")]
    pub id: BuildId,
    /// ID of its template.
    #[schema(value_type = String)]
    pub template: TemplateId,
    /// How far it is.
    pub state: BuildState,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// At which step: its number from 1, or `base`, `finalize`; with `STAGE/` before it where it is a stage's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub snapshot: Option<SnapshotId>,
    /// What it said from `log_from` on; only where one build is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<BuildLogLine>,
}

/// A line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildLogLine {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// At which step; with `STAGE/` before it where it is a stage's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What.
    pub message: String,
}

/// What of a build's log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BuildQuery {
    /// Leaves out so many lines from the beginning: what was read before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_from: Option<u64>,
    /// At most so many lines; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// A change of a template. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTemplate {
    /// Whether other projects may make sandboxes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Tags that shall mean what the tag does that the path names, which is `default` where it names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub tag: Vec<String>,
    /// Tags that shall mean nothing any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub untag: Vec<String>,
}

/// Whether files are there that a build copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateFiles {
    /// They are, and stay for the next days.
    pub present: bool,
}

/// What became of the layers of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrunedLayers {
    /// How many were removed.
    pub removed: u64,
}
