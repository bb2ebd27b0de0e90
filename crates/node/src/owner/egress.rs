//! What a machine may reach. It is written down before it holds, and holds before a vCPU runs: whatever dies in between leaves a
//! machine that reaches no more than it may.

use hearth_domain::EgressRules;
use hearth_network::NetworkError;
use hearth_node_api::{ErrorKind, NodeError};

use super::{Life, save_error};
use crate::services::chain;

impl Life {
    /// What it may reach: as it was changed, else as its spec says.
    pub(super) fn egress(&self) -> &EgressRules {
        self.record().egress.as_ref().unwrap_or(&self.spec.egress)
    }

    /// Has the machine's slot go by its rules. Without a slot there is nothing to do.
    pub(super) async fn enforce_egress(&self) -> Result<(), NetworkError> {
        if self.slot().is_none() {
            return Ok(());
        }
        self.network().set_egress(self.spec.id, self.egress().clone()).await
    }

    /// The same for a machine that is taken up again: a predecessor may have died between the two records.
    pub(super) async fn heal_egress(&self) {
        if self.record().egress.is_none() && self.spec.egress.is_open() {
            return;
        }
        if let Err(error) = self.enforce_egress().await {
            tracing::error!(machine = %self.spec.id, error = %chain(&error), "cannot set anew what the machine may reach");
        }
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
