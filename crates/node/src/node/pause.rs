//! Pauses, and what a guest does before one.

use std::time::Duration;

use hearth_domain::StateWord;
use hearth_guest_api::{GuestClient, GuestError};
use hearth_ids::MachineId;
use hearth_node_api::{NodeError, PauseMode};
use tokio::time::timeout;

use super::Node;
use crate::{guest_link, held::Held, owner::Command};

/// How long a guest may take for a rehearsal.
const REHEARSAL: Duration = Duration::from_secs(2);

/// Has a guest told the time, as it is when it goes on: one that is emulated takes ten times as long at first. Twice, for the
/// second goes by a connection that is there, as that one will. Whatever is in its way is told when it goes on.
async fn rehearse(guest: &GuestClient) {
    let twice = async {
        for _ in 0..2 {
            guest.set_clock(guest_link::clock_unix_ns()).await?;
        }
        Ok::<_, GuestError>(())
    };
    let _ = timeout(REHEARSAL, twice).await;
}

impl Node {
    /// Pauses a machine, whose programs stand still first if they are somebody's: it may be copied as it is then. The guest of one
    /// that waits for somebody to need it soon does before what it is to do when it goes on.
    pub(crate) async fn pause_machine(&self, id: MachineId, mode: PauseMode) -> Result<(), NodeError> {
        let owner = self.owner(id)?;
        let running = owner.status.borrow().state.word() == StateWord::Running;
        let guest = owner.guest.borrow().clone().filter(|_| running);
        let guest = match guest {
            Some(guest) if owner.spec.owner.is_some() => {
                rehearse(&guest).await;
                None
            }
            guest => guest,
        };
        let held = Held::for_pause(guest, owner.holds.clone(), self.services.finishing.clone()).await;
        let stand_still = held.is_held();
        self.command(id, |reply| Command::Pause {
            mode,
            held: stand_still,
            reply,
        })
        .await?;
        held.stay();
        Ok(())
    }
}
