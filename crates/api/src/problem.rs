//! What went wrong, as RFC 9457 has it.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error, as each endpoint tells it (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// URI of the kind of problem; stands for the same as `code`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// What kind of problem it is, in a few words; the same for each of its code.
    pub title: String,
    /// HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time, and the way out.
    pub detail: String,
    /// URI of this occurrence; it holds the request's ID, by which it is found in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The kind of problem, for programs.
    pub code: ProblemCode,
    /// Field of the request that is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

macro_rules! problem_codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:literal, $title:literal;)*) => {
        /// The kind of a problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ProblemCode {
            $($(#[$doc])* $variant,)*
            /// One that a newer server knows and this client does not.
            #[serde(other)]
            Unknown,
        }

        impl ProblemCode {
            /// All that this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unknown => "unknown",
                }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                    Self::Unknown => 500,
                }
            }

            /// The kind in a few words.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                    Self::Unknown => "Unknown problem",
                }
            }
        }
    };
}

problem_codes! {
    /// The request cannot be read.
    InvalidRequest = "invalid_request", 400, "The request cannot be read";
    /// A field has a value that is not allowed; `field` names it.
    InvalidField = "invalid_field", 400, "A field is not valid";
    /// There is no key, or it is none any more.
    Unauthorized = "unauthorized", 401, "A key is needed";
    /// The peer may not use this API, or its role may not do this.
    Forbidden = "forbidden", 403, "Not allowed";
    /// There is no such path in this API.
    NotFound = "not_found", 404, "There is nothing here";
    /// There is no such machine.
    MachineNotFound = "machine_not_found", 404, "No such machine";
    /// There is no such snapshot.
    SnapshotNotFound = "snapshot_not_found", 404, "No such snapshot";
    /// There is no such sandbox, or none that the caller may know of.
    SandboxNotFound = "sandbox_not_found", 404, "No such sandbox";
    /// There is no such template, or none that the caller may know of.
    TemplateNotFound = "template_not_found", 404, "No such template";
    /// There is no such volume, or none that the caller may know of.
    VolumeNotFound = "volume_not_found", 404, "No such volume";
    /// There is no such project, or none that the caller may know of.
    ProjectNotFound = "project_not_found", 404, "No such project";
    /// There is no such key.
    KeyNotFound = "key_not_found", 404, "No such key";
    /// There is no such secret.
    SecretNotFound = "secret_not_found", 404, "No such secret";
    /// There is no such image on the node; pull it first.
    ImageNotFound = "image_not_found", 404, "No such image";
    /// There is no such kernel, or none is set.
    KernelNotFound = "kernel_not_found", 404, "No such kernel";
    /// There is no such function, or it has no such version, alias or trigger.
    FunctionNotFound = "function_not_found", 404, "No such function";
    /// There is no such call; it may have been kept for its time.
    InvocationNotFound = "invocation_not_found", 404, "No such call";
    /// There is no such file in the machine or the volume.
    PathNotFound = "path_not_found", 404, "No such path";
    /// The path exists but not for this method.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// Another one has the name.
    NameTaken = "name_taken", 409, "The name is taken";
    /// More than one thing goes by that beginning of an ID.
    Ambiguous = "ambiguous", 409, "The name is ambiguous";
    /// The machine is in no state for this.
    StateConflict = "state_conflict", 409, "Not in this state";
    /// A machine uses it.
    InUse = "in_use", 409, "In use";
    /// The node has no room.
    NoCapacity = "no_capacity", 409, "No room on the node";
    /// A request with the same idempotency key is being handled.
    RequestInProgress = "request_in_progress", 409, "The same request is being handled";
    /// The body is larger than allowed.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is of a type that is not read here.
    UnsupportedMediaType = "unsupported_media_type", 415, "Unsupported media type";
    /// The idempotency key was used for another request.
    IdempotencyMismatch = "idempotency_mismatch", 422, "The idempotency key was used for another request";
    /// The source of a function cannot be used.
    SourceInvalid = "source_invalid", 422, "The source cannot be used";
    /// An image's bytes are not those that they should be.
    ImageDamaged = "image_damaged", 422, "The image is damaged";
    /// The endpoint speaks web sockets only.
    UpgradeRequired = "upgrade_required", 426, "Web socket required";
    /// Too much at once.
    TooManyRequests = "too_many_requests", 429, "Too many requests";
    /// The project may not hold so much.
    QuotaExceeded = "quota_exceeded", 429, "The project's quota is reached";
    /// A fault of the server's.
    Internal = "internal", 500, "Internal error";
    /// The function's program failed.
    FunctionFailed = "function_failed", 502, "The function failed";
    /// The registry refused, or sent something wrong.
    RegistryFailed = "registry_failed", 502, "The registry failed";
    /// The node, its driver or the guest cannot do this, or not now.
    Unavailable = "unavailable", 503, "Unavailable";
    /// It took too long.
    Timeout = "timeout", 504, "It took too long";
    /// A volume holds as much as it may.
    VolumeFull = "volume_full", 507, "The volume is full";
    /// The node's disk is full.
    DiskFull = "disk_full", 507, "The disk is full";
}

impl Problem {
    /// A problem of this kind; `detail` says what happened and the way out.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:hearth:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            instance: None,
            code,
            field: None,
        }
    }

    /// A field of the request is at fault.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(ProblemCode::InvalidField, detail)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_serde() {
        for code in ProblemCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn a_newer_servers_code_can_be_read() {
        let mut json = serde_json::to_value(Problem::field("cpus", "cpus 0 is not valid")).unwrap();
        json["code"] = "from_the_future".into();
        json["more"] = 1.into();
        let problem: Problem = serde_json::from_value(json).unwrap();
        assert_eq!(problem.code, ProblemCode::Unknown);
        assert_eq!(problem.status, 400);
    }
}
