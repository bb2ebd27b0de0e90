//! What the gateway asks of sandboxes: where one is. One that is paused is resumed first, where its maker wished so.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use futures::FutureExt as _;
use hearth_domain::{SandboxState, StateWord};
use hearth_gateway::{Knock, NoSandbox, SandboxPlace, Sandboxes};
use hearth_ids::SandboxId;
use tracing::debug;

use super::{Sandbox, Using, act};
use crate::app::App;

/// Held loosely: the application holds the gateway.
pub(crate) struct Door(pub(crate) Weak<App>);

#[async_trait]
impl Sandboxes for Door {
    async fn find(&self, id: SandboxId, knock: Knock<'_>) -> Result<SandboxPlace, NoSandbox> {
        let app = self.0.upgrade().ok_or(NoSandbox::NotFound)?;
        let sandbox = app.sandboxes.get(id).ok_or(NoSandbox::NotFound)?;
        if sandbox.private_traffic && !is_welcome(&app, &sandbox, &knock) {
            // A stranger is told so by the gateway or by the agent, and neither wakes it nor keeps it awake.
            return place(&app, &sandbox).ok_or(NoSandbox::NotFound);
        }
        let using = Using::begin(&sandbox);
        if let Some(place) = place(&app, &sandbox) {
            return Ok(using.place(place));
        }
        // Whoever changes it now is waited for: a resume, or a pause that is followed by one.
        drop(sandbox.turn.lock().await);
        if let Some(place) = place(&app, &sandbox) {
            return Ok(using.place(place));
        }
        if !sandbox.auto_resume || !keeps_memory(&app, &sandbox).await? {
            return Err(NoSandbox::NotFound);
        }
        // A client that goes away must not leave it half done.
        let resuming = tokio::spawn({
            let (app, sandbox) = (Arc::clone(&app), Arc::clone(&sandbox));
            async move { act::resume(&app, &sandbox, act::Resume::lasting(sandbox.timeout_ms)).await }
        });
        let resumed = resuming
            .await
            .map_err(|error| NoSandbox::Unavailable(error.to_string()))?;
        if let Err(error) = resumed {
            debug!(%id, error = error.problem.detail, "cannot resume a sandbox for a request");
            return Err(match error.problem.status {
                404 => NoSandbox::NotFound,
                _ => NoSandbox::Unavailable(error.problem.detail),
            });
        }
        let place = place(&app, &sandbox).ok_or(NoSandbox::NotFound)?;
        Ok(using.place(place))
    }
}

/// Whether who asks for a private sandbox is one whom its maker let in. The agent asks for a token of its own, and lets some in by
/// signed addresses, which are good while the sandbox runs.
fn is_welcome(app: &App, sandbox: &Sandbox, knock: &Knock<'_>) -> bool {
    if knock.is_for_agent() {
        let token = app.node.access_token(sandbox.machine);
        return token.is_some_and(|token| knock.shows_access(&token));
    }
    knock.shows(&app.traffic_token(sandbox.id))
}

/// Whether it would go on where it was. One that would boot does so for nobody who just passes by.
async fn keeps_memory(app: &App, sandbox: &Sandbox) -> Result<bool, NoSandbox> {
    match act::read(app, sandbox).await {
        Ok(row) => Ok(row.state != SandboxState::Stopped),
        Err(error) if error.problem.status == 404 => Err(NoSandbox::NotFound),
        Err(error) => Err(NoSandbox::Unavailable(error.problem.detail)),
    }
}

impl Using {
    fn place(self, place: SandboxPlace) -> SandboxPlace {
        let held: Option<Box<dyn Send + Sync>> = Some(Box::new(self));
        SandboxPlace { held, ..place }
    }
}

/// Where it is, if it runs.
fn place(app: &Arc<App>, sandbox: &Sandbox) -> Option<SandboxPlace> {
    let mut status = app.node.watch(sandbox.machine)?;
    let address: IpAddr = {
        let seen = status.borrow_and_update();
        let runs = seen.state.word() == StateWord::Running;
        seen.address.as_deref().filter(|_| runs)?.parse().ok()?
    };
    let gone = async move {
        // An error says that the machine is destroyed.
        let _ = status
            .wait_for(|status| status.state.word() != StateWord::Running)
            .await;
    };
    Some(SandboxPlace {
        address,
        traffic_token: sandbox.private_traffic.then(|| app.traffic_token(sandbox.id).into()),
        mask_host: sandbox.mask_host.clone(),
        gone: gone.boxed(),
        held: None,
    })
}
