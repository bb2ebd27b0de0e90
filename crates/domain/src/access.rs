//! Who may do what: roles, actions, and the one table between them.
//!
//! A role is held in a project. What belongs to the host rather than to a project (kernels, images, projects, the
//! node) is changed by admins of the project `default` alone.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a key may do in its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything in its project, keys and audit included.
    Admin,
    /// Makes and changes machines, functions and secrets.
    Developer,
    /// Calls functions, and nothing else.
    Invoker,
    /// Looks on.
    Viewer,
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("role {0:?} is not valid: use admin, developer, invoker or viewer")]
pub struct InvalidRole(String);

/// One kind of thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Looks at machines, their output, their events and what they use.
    MachineRead,
    /// Makes, starts, stops and removes machines.
    MachineWrite,
    /// Goes into machines: runs commands, joins programs, copies files.
    MachineExec,
    /// Lists images, and runs them.
    ImageRead,
    /// Pulls and imports images under names that are free.
    ImageWrite,
    /// Removes images, and gives their names to others.
    ImageRemove,
    /// Lists kernels.
    KernelRead,
    /// Imports, chooses and removes kernels.
    KernelWrite,
    /// Looks at the node.
    NodeRead,
    /// Lists functions, their versions and logs.
    FunctionRead,
    /// Deploys, changes and removes functions.
    FunctionWrite,
    /// Calls functions.
    FunctionInvoke,
    /// Lists the names of secrets.
    SecretRead,
    /// Sets and removes secrets.
    SecretWrite,
    /// Lists keys.
    KeyRead,
    /// Makes and revokes keys.
    KeyWrite,
    /// Looks at the own project.
    ProjectRead,
    /// Makes, changes and removes projects.
    ProjectWrite,
    /// Reads who changed what.
    AuditRead,
    /// Whatever else concerns the whole host.
    HostAdmin,
}

impl Role {
    /// All of them, mightiest first.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Developer, Self::Invoker, Self::Viewer];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Invoker => "invoker",
            Self::Viewer => "viewer",
        }
    }

    /// Whether the role does this in its project. What [`Action::is_of_host`] also needs that project to be `default`.
    pub fn may(self, action: Action) -> bool {
        use Action as A;
        match action {
            A::MachineRead | A::ImageRead | A::KernelRead | A::NodeRead | A::FunctionRead | A::SecretRead => {
                matches!(self, Self::Admin | Self::Developer | Self::Viewer)
            }
            A::MachineWrite | A::MachineExec | A::ImageWrite | A::FunctionWrite | A::SecretWrite => {
                matches!(self, Self::Admin | Self::Developer)
            }
            A::FunctionInvoke => matches!(self, Self::Admin | Self::Developer | Self::Invoker),
            A::ProjectRead => true,
            A::KeyRead
            | A::KeyWrite
            | A::AuditRead
            | A::ImageRemove
            | A::KernelWrite
            | A::ProjectWrite
            | A::HostAdmin => self == Self::Admin,
        }
    }
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::MachineRead,
        Self::MachineWrite,
        Self::MachineExec,
        Self::ImageRead,
        Self::ImageWrite,
        Self::ImageRemove,
        Self::KernelRead,
        Self::KernelWrite,
        Self::NodeRead,
        Self::FunctionRead,
        Self::FunctionWrite,
        Self::FunctionInvoke,
        Self::SecretRead,
        Self::SecretWrite,
        Self::KeyRead,
        Self::KeyWrite,
        Self::ProjectRead,
        Self::ProjectWrite,
        Self::AuditRead,
        Self::HostAdmin,
    ];

    /// Whether it changes what all projects share.
    pub fn is_of_host(self) -> bool {
        matches!(
            self,
            Self::ImageRemove | Self::KernelWrite | Self::ProjectWrite | Self::HostAdmin
        )
    }

    /// What is done, to be read after "may not".
    pub fn words(self) -> &'static str {
        match self {
            Self::MachineRead => "look at machines",
            Self::MachineWrite => "change machines",
            Self::MachineExec => "go into machines",
            Self::ImageRead => "look at images",
            Self::ImageWrite => "bring in images",
            Self::ImageRemove => "remove or replace images",
            Self::KernelRead => "look at kernels",
            Self::KernelWrite => "change kernels",
            Self::NodeRead => "look at the node",
            Self::FunctionRead => "look at functions",
            Self::FunctionWrite => "change functions",
            Self::FunctionInvoke => "call functions",
            Self::SecretRead => "list secrets",
            Self::SecretWrite => "change secrets",
            Self::KeyRead => "list keys",
            Self::KeyWrite => "make or revoke keys",
            Self::ProjectRead => "look at projects",
            Self::ProjectWrite => "change projects",
            Self::AuditRead => "read the audit log",
            Self::HostAdmin => "administer the host",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(value: &str) -> Result<Self, InvalidRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == value);
        found.ok_or_else(|| InvalidRole(value.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Admin, developer, invoker, viewer.
    const TABLE: [(Action, [bool; 4]); 20] = {
        use Action as A;
        let (yes, no) = (true, false);
        [
            (A::MachineRead, [yes, yes, no, yes]),
            (A::MachineWrite, [yes, yes, no, no]),
            (A::MachineExec, [yes, yes, no, no]),
            (A::ImageRead, [yes, yes, no, yes]),
            (A::ImageWrite, [yes, yes, no, no]),
            (A::ImageRemove, [yes, no, no, no]),
            (A::KernelRead, [yes, yes, no, yes]),
            (A::KernelWrite, [yes, no, no, no]),
            (A::NodeRead, [yes, yes, no, yes]),
            (A::FunctionRead, [yes, yes, no, yes]),
            (A::FunctionWrite, [yes, yes, no, no]),
            (A::FunctionInvoke, [yes, yes, yes, no]),
            (A::SecretRead, [yes, yes, no, yes]),
            (A::SecretWrite, [yes, yes, no, no]),
            (A::KeyRead, [yes, no, no, no]),
            (A::KeyWrite, [yes, no, no, no]),
            (A::ProjectRead, [yes, yes, yes, yes]),
            (A::ProjectWrite, [yes, no, no, no]),
            (A::AuditRead, [yes, no, no, no]),
            (A::HostAdmin, [yes, no, no, no]),
        ]
    };

    #[test]
    fn each_role_may_what_the_table_says() {
        assert_eq!(TABLE.map(|(action, _)| action), Action::ALL);
        for (action, allowed) in TABLE {
            assert_eq!(Role::ALL.map(|role| role.may(action)), allowed, "{action:?}");
        }
    }

    #[test]
    fn only_admins_touch_the_host() {
        for action in Action::ALL.into_iter().filter(|action| action.is_of_host()) {
            let may: Vec<_> = Role::ALL.into_iter().filter(|role| role.may(action)).collect();
            assert_eq!(may, [Role::Admin], "{action:?}");
        }
    }

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
