//! Waiting for a machine to run, by whoever made it for somebody.

use std::time::Duration;

use hearth_domain::StateWord;
use hearth_ids::MachineId;
use hearth_node_api::{ErrorKind, NodeError};
use tokio::time::timeout;

use crate::app::App;

/// How long a machine may take until it runs.
const RUNNING_TIMEOUT: Duration = Duration::from_mins(2);

/// Returns when the machine runs. What comes to rest instead, or takes too long, is an error.
pub(crate) async fn until_running(app: &App, id: MachineId) -> Result<(), NodeError> {
    let mut status = app.node.watch(id).ok_or_else(|| NodeError::no_machine(id))?;
    let settled = status.wait_for(|status| status.state.word() == StateWord::Running || status.state.is_at_rest());
    let settled = timeout(RUNNING_TIMEOUT, settled).await;
    let late = |_| NodeError::new(ErrorKind::Timeout, format!("machine {id} does not come up in time"));
    let Ok(seen) = settled.map_err(late)? else {
        return Err(NodeError::no_machine(id));
    };
    if seen.state.word() == StateWord::Running {
        return Ok(());
    }
    let reason = seen
        .history
        .last()
        .and_then(|step| step.reason.clone())
        .unwrap_or_default();
    let message = format!("machine {id} is {}: {reason}", seen.state.word());
    Err(NodeError::new(ErrorKind::Unavailable, message))
}
