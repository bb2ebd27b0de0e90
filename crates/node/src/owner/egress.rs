//! What a machine may reach. It is written down before it holds, and holds before a vCPU runs: whatever dies in between leaves a
//! machine that reaches no more than it may.

use hearth_domain::EgressRules;
use hearth_network::NetworkError;
use hearth_node_api::{ErrorKind, NodeError};

use super::{Life, save_error};
use crate::services::chain;

impl Life {
    /// Has the machine's slot go by its rules. Without a slot there is nothing to do.
    pub(super) async fn enforce_egress(&self) -> Result<(), NetworkError> {
        if self.slot().is_none() {
            return Ok(());
        }
        let rules = self.record().egress.as_ref().unwrap_or(&self.spec.egress).clone();
        self.network().set_egress(self.spec.id, rules).await
    }

    /// Changes what the machine may reach, now and at each start.
    pub(super) async fn set_egress(&mut self, rules: EgressRules) -> Result<(), NodeError> {
        let before = self.record().egress.clone();
        self.commit(None, |record| record.egress = Some(rules))
            .map_err(save_error)?;
        let Err(error) = self.enforce_egress().await else {
            return Ok(());
        };
        let message = format!(
            "cannot set what machine {} may reach: {}",
            self.spec.name,
            chain(&error)
        );
        let kind = match error {
            NetworkError::EgressOnBridge { .. } => ErrorKind::InvalidInput,
            _ => ErrorKind::Internal,
        };
        self.change(|record| record.egress = before);
        Err(NodeError::new(kind, message).caused_by(error))
    }
}
