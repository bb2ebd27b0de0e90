//! Machines that wait, warm: they went on from a snapshot, their guests know all but who they are, and their programs stand
//! still within. One that is claimed becomes another machine by one more call to its guest.
//!
//! ```text
//! created, owned by the pool ──► started: restored, greeted, held ──► paused in memory ──claimed──► running
//! ```

use std::sync::Arc;

use hearth_domain::{MachineEvent, MachineSpec, StateWord};
use hearth_driver::VmmHandle;
use hearth_node_api::NodeError;
use tracing::{Span, field::display};

use super::{Life, command::conflict, save_error};
use crate::{
    fault, guest_link,
    record::Greeting,
    services::{chain, now_ms},
};

impl Life {
    /// Makes the machine, which waits, the one of this spec, and lets it go on. Where that fails it is good for nothing.
    pub(super) async fn claim(&mut self, spec: MachineSpec, handle: &VmmHandle) -> Result<(), NodeError> {
        if !self.spec.is_warm() || self.record().state.word() != StateWord::Paused {
            return Err(conflict("the machine does not wait for anybody"));
        }
        let greeting = Greeting {
            copy: true,
            host_token: self.record().host_token.clone(),
        };
        // From here on whoever finds it asleep completes this, or removes it, by whose it is then.
        self.commit(None, |record| record.greeting = Some(greeting))
            .map_err(save_error)?;
        self.folder.save_spec(&spec).map_err(save_error)?;
        fault::point("claim.recorded");
        Span::current().record("project", display(spec.project));
        self.spec = Arc::new(spec);
        self.complete_claim(handle).await
    }

    /// Whether a predecessor died while the machine was claimed.
    pub(super) fn is_claimed(&self) -> bool {
        self.record().state.word() == StateWord::Paused && self.record().greeting.is_some() && !self.spec.is_warm()
    }

    /// Lets a claimed machine go on, and tells it who it is.
    pub(super) async fn complete_claim(&mut self, handle: &VmmHandle) -> Result<(), NodeError> {
        // It has its slot since it waits, by the rules of whoever waits.
        self.enforce_egress()
            .await
            .map_err(|error| conflict(format!("cannot set what the machine may reach: {}", chain(&error))))?;
        let resumed = self.driver.resume(handle).await;
        resumed.map_err(|error| guest_link::driver_error("let the machine go on", error))?;
        fault::point("claim.resumed");
        let config = self.hold_root().map_err(conflict)?.config;
        self.greet(&config).await.map_err(conflict)?;
        // What ran before ran for nobody.
        self.enter_with(MachineEvent::Resume, |record| record.started_ms = Some(now_ms()));
        Ok(())
    }
}
