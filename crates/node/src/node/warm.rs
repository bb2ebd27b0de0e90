//! Machines that wait, and are claimed.

use std::sync::{Arc, PoisonError};

use hearth_domain::MachineSpec;
use hearth_node_api::{ErrorKind, NodeError};

use super::Node;
use crate::{owner::Command, services::chain, snapshot::check_shape};

impl Node {
    /// Makes a machine that waits the one that this spec of its ID says.
    pub(crate) async fn claim_warm(&self, spec: MachineSpec) -> Result<(), NodeError> {
        let id = spec.id;
        let waits = self.owner(id)?.spec;
        let refused = |message: String| NodeError::new(ErrorKind::InvalidInput, message);
        check_shape(&waits, &spec).map_err(|error| refused(chain(&error)))?;
        // They are the slot's, which it has already.
        if waits.ports != spec.ports || waits.network != spec.network {
            return Err(refused(format!(
                "machine {} has its network and its ports since it waits",
                spec.name
            )));
        }
        self.command(id, |reply| Command::Claim {
            spec: Box::new(spec.clone()),
            reply,
        })
        .await?;
        let mut machines = self.machines.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = machines.get_mut(&id) {
            owner.spec = Arc::new(spec);
        }
        Ok(())
    }
}
