//! Functions: programs that run when they are called.
//!
//! A function has numbered versions. A version never changes; what changes is which of them is called.

use std::{fmt, str::FromStr};

use hearth_ids::{FunctionId, ProjectId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{DriverKind, Resources, SecretTarget, Workload};

/// The port of a program that is not told another one.
pub const DEFAULT_PORT: u16 = 8080;
/// A call's time at most, in milliseconds: Lambda's fifteen minutes.
pub const TIMEOUT_MAX_MS: u64 = 15 * 60 * 1000;
/// Calls at a time that an instance may be given at most.
pub const CONCURRENCY_MAX: u32 = 1000;
/// Instances of a function at most.
pub const INSTANCES_MAX: u32 = 1000;
/// How long an instance may be kept idle at most, in milliseconds: a day.
pub const IDLE_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// A function's name: 1 to 63 letters, digits, `-` and `_`, the first and the last a letter or digit.
///
/// Lambda's rule, cut to the length of a DNS label. Two names with the same [label](Self::label) cannot be in one project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(String);

/// What a function cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidFunction {
    /// Not a name.
    #[error(
        "name {0:?} is not valid: use 1 to 63 letters, digits, '-' or '_', beginning and ending with a letter or digit"
    )]
    Name(String),
    /// Not a handler.
    #[error("handler {0:?} is not valid: write MODULE.FUNCTION, such as main.handler")]
    Handler(String),
    /// Not a runtime.
    #[error("runtime {0:?} is not valid: use python3, node or provided")]
    Runtime(String),
    /// A number out of its bounds.
    #[error("{field} {value} is not valid: it goes from {min} to {max}")]
    Bounds {
        /// Which.
        field: &'static str,
        /// What was given.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
}

impl FunctionName {
    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a DNS label: lower case, with `_` turned into `-`.
    pub fn label(&self) -> String {
        self.0.to_ascii_lowercase().replace('_', "-")
    }
}

impl FromStr for FunctionName {
    type Err = InvalidFunction;

    fn from_str(value: &str) -> Result<Self, InvalidFunction> {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let valid = (1..=63).contains(&value.len())
            && ends(value.chars().next())
            && ends(value.chars().next_back())
            && value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            Err(InvalidFunction::Name(value.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for FunctionName {
    type Error = InvalidFunction;

    fn try_from(value: String) -> Result<Self, InvalidFunction> {
        value.parse()
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> Self {
        name.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How an instance is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Contract {
    /// The program listens on this port, which `$PORT` tells it, and speaks HTTP.
    Http {
        /// The port.
        port: u16,
    },
    /// The program asks the agent for events by the Lambda Runtime API.
    Lambda,
}

/// What runs a function that was given as source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Python 3.
    Python3,
    /// Node.js.
    Node,
    /// The source brings its own program, `bootstrap`.
    Provided,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Python3, Self::Node, Self::Provided];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python3 => "python3",
            Self::Node => "node",
            Self::Provided => "provided",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Runtime {
    type Err = InvalidFunction;

    fn from_str(value: &str) -> Result<Self, InvalidFunction> {
        Self::ALL
            .into_iter()
            .find(|runtime| runtime.as_str() == value)
            .ok_or_else(|| InvalidFunction::Runtime(value.chars().take(80).collect()))
    }
}

/// What of the source is called: a module, by its path, and a function in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handler(String);

impl Handler {
    /// As given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Handler {
    type Err = InvalidFunction;

    fn from_str(value: &str) -> Result<Self, InvalidFunction> {
        let refused = || InvalidFunction::Handler(value.chars().take(80).collect());
        let (module, function) = value.rsplit_once('.').ok_or_else(refused)?;
        let word =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-$".contains(c));
        let path = module.split(['/', '.']).all(word);
        if value.len() <= 128 && path && word(function) {
            Ok(Self(value.to_owned()))
        } else {
            Err(refused())
        }
    }
}

impl TryFrom<String> for Handler {
    type Error = InvalidFunction;

    fn try_from(value: String) -> Result<Self, InvalidFunction> {
        value.parse()
    }
}

impl From<Handler> for String {
    fn from(handler: Handler) -> Self {
        handler.0
    }
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How many instances a function has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScaleRule {
    /// At least, even when nobody calls.
    pub min: u32,
    /// At most.
    pub max: u32,
    /// Calls that one instance is given at a time.
    pub concurrency: u32,
    /// How long an instance without calls is kept, in milliseconds.
    pub idle_ms: u64,
}

impl ScaleRule {
    /// Checks the bounds of each number.
    pub fn check(&self) -> Result<(), InvalidFunction> {
        let bounds = |field, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(InvalidFunction::Bounds { field, value, min, max })
            }
        };
        bounds("max", self.max.into(), 1, INSTANCES_MAX.into())?;
        bounds("min", self.min.into(), 0, self.max.into())?;
        bounds("concurrency", self.concurrency.into(), 1, CONCURRENCY_MAX.into())?;
        bounds("idle_ms", self.idle_ms, 0, IDLE_MAX_MS)
    }
}

/// What stays the same for all versions of a function, and may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSpec {
    /// Its identity.
    pub id: FunctionId,
    /// Whose it is.
    pub project: ProjectId,
    /// What people call it.
    pub name: FunctionName,
    /// Whether whoever reaches the gateway may call it, without a key.
    pub public: bool,
    /// How many instances each of its versions has.
    pub scale: ScaleRule,
}

/// One version of a function. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSpec {
    /// Of which function.
    pub function: FunctionId,
    /// Counts from 1.
    pub number: u32,
    /// The reference that the user gave, or the runtime's.
    pub image: String,
    /// The image's digest.
    pub image_id: String,
    /// Digests of what lies over it: the source.
    pub layers: Vec<String>,
    /// What runs the source, if it is one.
    pub runtime: Option<Runtime>,
    /// What of the source is called.
    pub handler: Option<Handler>,
    /// How it is called.
    pub contract: Contract,
    /// What runs in the machine; without secrets.
    pub workload: Workload,
    /// Secrets that the program gets, as they are when an instance is made.
    #[serde(default)]
    pub secrets: Vec<SecretRef>,
    /// What it holds.
    pub resources: Resources,
    /// What runs it; the node's default if absent.
    pub driver: Option<DriverKind>,
    /// How long a call may take, in milliseconds.
    pub timeout_ms: u64,
    /// What the deployer noted of it.
    pub description: String,
}

/// A secret of the project, by name, and where the program finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Its name.
    pub name: String,
    /// Where the program finds it.
    pub target: SecretTarget,
}

impl VersionSpec {
    /// Whether both would make the same instances.
    pub fn makes_the_same(&self, other: &Self) -> bool {
        let plain = |spec: &Self| Self {
            number: 0,
            description: String::new(),
            image: String::new(),
            ..spec.clone()
        };
        plain(self) == plain(other)
    }

    /// Checks the bounds of the call's time.
    pub fn check(&self) -> Result<(), InvalidFunction> {
        if (1..=TIMEOUT_MAX_MS).contains(&self.timeout_ms) {
            return Ok(());
        }
        Err(InvalidFunction::Bounds {
            field: "timeout_ms",
            value: self.timeout_ms,
            min: 1,
            max: TIMEOUT_MAX_MS,
        })
    }

    /// The port at which an instance is called.
    pub fn port(&self) -> u16 {
        match self.contract {
            Contract::Http { port } => port,
            Contract::Lambda => DEFAULT_PORT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lambdas_and_make_a_host_name() {
        for good in ["a", "hello-world", "My_Func2", &"x".repeat(63)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "_a",
            "a.b",
            "a/b",
            "a b",
            "ä",
            "$LATEST",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
        assert_eq!("My_Func2".parse::<FunctionName>().unwrap().label(), "my-func2");
    }

    #[test]
    fn handlers_are_a_module_and_a_function() {
        for good in ["main.handler", "src/app.lambda_handler", "pkg.mod.h", "index.$handler"] {
            assert!(good.parse::<Handler>().is_ok(), "{good}");
        }
        for bad in ["", "main", ".h", "main.", "../x.h", "a b.h", "a//b.h", "/a.h", "a;b.h"] {
            assert!(bad.parse::<Handler>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_out_of_bounds_are_refused_by_name() {
        let rule = ScaleRule {
            min: 0,
            max: 4,
            concurrency: 1,
            idle_ms: 0,
        };
        assert_eq!(rule.check(), Ok(()));
        for (wrong, field) in [
            (ScaleRule { max: 0, ..rule }, "max"),
            (ScaleRule { min: 5, ..rule }, "min"),
            (ScaleRule { concurrency: 0, ..rule }, "concurrency"),
            (
                ScaleRule {
                    idle_ms: u64::MAX,
                    ..rule
                },
                "idle_ms",
            ),
        ] {
            assert!(matches!(wrong.check(), Err(InvalidFunction::Bounds { field: named, .. }) if named == field));
        }
    }
}
