//! How the guest's instructions are executed.

use std::str::FromStr;

use hearth_driver::kvm;
use thiserror::Error;

/// What the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccelChoice {
    /// KVM if it works, found out by use; else software.
    #[default]
    Auto,
    /// KVM, whatever the trial says.
    Kvm,
    /// Software.
    Tcg,
}

/// What is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualisation.
    Kvm,
    /// Software emulation, QEMU's "tiny code generator".
    Tcg,
}

/// A text that is no choice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{value:?} is no accelerator: expected auto, kvm or tcg")]
pub struct InvalidAccelChoice {
    value: String,
}

impl FromStr for AccelChoice {
    type Err = InvalidAccelChoice;

    fn from_str(value: &str) -> Result<Self, InvalidAccelChoice> {
        match value {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(InvalidAccelChoice { value: value.into() }),
        }
    }
}

impl AccelChoice {
    /// Decides. `Auto` may try KVM, which takes up to 100 ms once.
    pub fn resolve(self) -> Accel {
        match self {
            Self::Kvm => Accel::Kvm,
            Self::Tcg => Accel::Tcg,
            Self::Auto => match kvm::usable() {
                Ok(()) => Accel::Kvm,
                Err(_) => Accel::Tcg,
            },
        }
    }
}

impl Accel {
    /// QEMU's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}
