//! Kept calls that ran when the last process ended: nobody knows how they did, so they are tried again.
//!
//! A process that ends in order gives their tries back. One that died may have been killed by one of them, each time that
//! it runs: so their tries count, by [`plan_cut_off`], which lets none of them be dead for another's deed.

use hearth_domain::{CutOff, RetryRule, plan_cut_off};
use hearth_store::{InvocationRow, InvocationState, Resumed, StoreError};
use tracing::{info, warn};

use crate::{app::App, metrics, time::now_unix_ms};

const DIED: &str = "the daemon died while it ran";

/// Lets calls be tried again that ran when the last process died, or no more. To be done before any is taken.
pub(crate) async fn run(app: &App) -> Result<(), StoreError> {
    let now = now_unix_ms();
    let cut_off = app.store.running_invocations().await?;
    let resumed: Vec<Resumed> = cut_off.iter().map(|call| resumed(call, now)).collect();
    app.store.resume_invocations(&resumed).await?;
    for call in &resumed {
        metrics::attempted(call.state);
        if call.state == InvocationState::Dead {
            warn!(id = %call.id, error = call.error, "a kept call is given up");
        } else {
            info!(id = %call.id, alone = call.alone, "a kept call that was cut off is tried again");
        }
    }
    Ok(())
}

fn resumed(call: &InvocationRow, now_unix_ms: u64) -> Resumed {
    let again = Resumed {
        id: call.id,
        state: InvocationState::Queued,
        attempts: call.attempts,
        alone: call.alone,
        due_unix_ms: now_unix_ms,
        finished_unix_ms: None,
        error: DIED.into(),
    };
    match plan_cut_off(RetryRule::default(), call.attempts, call.alone) {
        CutOff::Again { attempts, alone } => Resumed {
            attempts,
            alone,
            ..again
        },
        CutOff::GiveUp(why) => Resumed {
            state: InvocationState::Dead,
            finished_unix_ms: Some(now_unix_ms),
            error: format!("{DIED}; {why}"),
            ..again
        },
    }
}
