//! What starts machines: the trait that every VMM's driver implements.
//!
//! A driver turns a [`StartPlan`] into a VMM process and gives back a [`VmmHandle`] that can be written to disk. From
//! the handle alone it can find the VMM again, after this process died and another took its place. Whatever a driver
//! makes on the host carries the machine's ID in its name or lies in the machine's folder, so that
//! [`Driver::clean`] finds it without a handle.
//!
//! Every driver passes the same conformance suite ([`conformance`]).

pub mod access;
pub mod conformance;
pub mod fake;
pub mod kvm;
pub mod launch;
pub mod memory;
mod plan;
pub mod process;
pub mod saved;
pub mod sparse;
pub mod tsc;

use std::path::Path;

use async_trait::async_trait;
use hearth_domain::DriverKind;
pub use hearth_domain::chain;
use hearth_ids::MachineId;
pub use plan::{
    Capabilities, Check, CheckOutcome, DriverError, KernelFiles, Liveness, NetAttachment, Saved, StartPlan, Unusable,
    VmmExit, VmmHandle, VmmUser,
};
pub use saved::{SavedState, VmmIdentity};

/// A kind of VMM.
///
/// Calls on one machine come from its one owner, never two at a time, with two exceptions: [`Driver::wait`] and
/// [`Driver::console_tail`] may run beside any other. A call that is dropped half-way must leave nothing that
/// [`Driver::clean`] does not find.
#[async_trait]
pub trait Driver: Send + Sync + std::fmt::Debug {
    /// Which driver this is.
    fn kind(&self) -> DriverKind;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether a machine can start here at all, as far as a look tells that costs next to nothing: it is asked before
    /// each start. [`Driver::probe`] looks at more.
    async fn usable(&self) -> Result<(), Unusable>;

    /// Tries, by use, whatever the driver needs of the host; the rows are what `hearth doctor` prints.
    async fn probe(&self) -> Vec<Check>;

    /// Launches the VMM and boots the guest. Returns as soon as the vCPUs run; whether the guest comes up is for its
    /// agent to say.
    async fn start(&self, plan: &StartPlan) -> Result<VmmHandle, DriverError>;

    /// What a VMM that is started now has to have in common with one that was saved.
    async fn identity(&self) -> Result<VmmIdentity, DriverError> {
        Err(self.unsupported("save machines"))
    }

    /// Writes what a VMM needs to go on from here, or another in its place, into a folder that is empty but for that:
    /// the files of [`SavedState::in_folder`], readable by nobody else. The vCPUs stand still, and stay so. What is half
    /// written when it fails is the caller's to remove.
    async fn save(&self, _handle: &VmmHandle, _folder: &Path) -> Result<Saved, DriverError> {
        Err(self.unsupported("save machines"))
    }

    /// Like [`start`](Self::start), but from where another VMM of the same plan was saved; the vCPUs stand still until
    /// [`resume`](Self::resume). Machine, folder, user, cgroups, tap and the disk's path may differ from then; the disk's
    /// content must be what it was. What was saved must come from a VMM of this [`identity`](Self::identity).
    async fn restore(&self, _plan: &StartPlan, _saved: &SavedState) -> Result<VmmHandle, DriverError> {
        Err(self.unsupported("restore machines"))
    }

    /// The error of a call that this kind of driver has no way to do.
    fn unsupported(&self, action: &'static str) -> DriverError {
        DriverError::Unsupported {
            driver: self.kind(),
            action,
        }
    }

    /// Looks whether the VMM of a handle still lives: the process with that pid *and* that start time.
    async fn recover(&self, handle: &VmmHandle) -> Result<Liveness, DriverError>;

    /// Resolves once the VMM is gone, whoever's child it is.
    async fn wait(&self, handle: &VmmHandle) -> VmmExit;

    /// Stops the vCPUs. Idempotent.
    async fn pause(&self, handle: &VmmHandle) -> Result<(), DriverError>;

    /// Lets the vCPUs go on. Idempotent.
    async fn resume(&self, handle: &VmmHandle) -> Result<(), DriverError>;

    /// Asks the guest to end by its power button, or by Ctrl-Alt-Del where there is none.
    async fn press_power_button(&self, handle: &VmmHandle) -> Result<(), DriverError>;

    /// Ends the VMM at once, and returns when it is gone. One that is gone already is no error.
    async fn kill(&self, handle: &VmmHandle) -> Result<(), DriverError>;

    /// The last bytes, at most `max_bytes`, that the guest wrote on its console.
    async fn console_tail(&self, folder: &Path, max_bytes: usize) -> Vec<u8>;

    /// Removes all that [`Driver::start`] made for a machine, at whatever step it was cut off, its process
    /// included. Idempotent, and needs no handle.
    async fn clean(&self, machine: MachineId, folder: &Path) -> Result<(), DriverError>;
}
