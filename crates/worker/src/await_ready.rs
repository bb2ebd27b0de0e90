//! Waiting until an instance can be called, and what to say of one that cannot.

use std::{net::SocketAddr, time::Duration};

use futures::StreamExt as _;
use hearth_coord::Instance;
use hearth_domain::{Contract, MachineState};
use hearth_ids::MachineId;
use hearth_node_api::{LogQuery, MachineStatus};
use tokio::time::timeout;

use crate::{
    ProvisionFailure,
    provision::{Plan, Turn},
    ready::{Refusal, WaitsFor, ready},
    worker::Inner,
};

/// How much of what a program wrote is told when it failed to start.
const LAST_WORDS_LINES: u64 = 8;
const LAST_WORDS_CHARS: usize = 1000;
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

impl Inner {
    /// Waits until an instance can be called. The turn in which it is made is over once its machine runs.
    pub(crate) async fn await_ready(
        &self,
        plan: &Plan,
        turn: Option<Turn>,
    ) -> Result<(Instance, WaitsFor), ProvisionFailure> {
        let outcome = self.watch_it_come(plan, turn).await;
        match outcome {
            // However it looks from here: its machine was told to end.
            Err(ProvisionFailure::Broken(_)) if !self.is_starting(plan.key.machine) => {
                Err(ProvisionFailure::Hindered("it was ended before it was ready".into()))
            }
            outcome => outcome,
        }
    }

    async fn watch_it_come(&self, plan: &Plan, turn: Option<Turn>) -> Result<(Instance, WaitsFor), ProvisionFailure> {
        let id = plan.key.machine;
        let broken = |reason: String| ProvisionFailure::Broken(reason);
        let removed = || ProvisionFailure::Hindered("its machine was removed".into());
        let mut status = self.parts.node.watch(id).ok_or_else(removed)?;
        let up = status
            .wait_for(|status| status.state == MachineState::Running || status.state.is_at_rest())
            .await
            .map_err(|_| removed())?
            .clone();
        // A turn is for what costs the host something. The program may be as slow as it likes to be ready, and has no part in
        // how long its machine takes to boot.
        drop(turn);
        if up.state != MachineState::Running {
            return Err(self.ending(id, &up.state).await);
        }
        let instance = self.instance_of(plan, &up)?;
        let ended = async {
            let ended = status.wait_for(|status| status.state.is_at_rest()).await;
            ended.map_or(MachineState::Destroyed, |status| status.state.clone())
        };
        let address = SocketAddr::new(instance.internal_vm_ip, plan.port);
        let asked = tokio::select! {
            asked = timeout(self.config.ready_timeout, ready(address, plan.contract)) => Ok(asked),
            state = ended => Err(state),
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(state) => return Err(self.ending(id, &state).await),
        };
        match asked {
            Ok(Ok(waits_for)) => Ok((instance, waits_for)),
            Ok(Err(Refusal { reason, ended: false })) => Err(broken(reason)),
            Ok(Err(Refusal { reason, ended: true })) => {
                // All that it wrote has been read when its machine is at rest.
                let _ = timeout(LAST_WORDS_TIMEOUT, status.wait_for(|status| status.state.is_at_rest())).await;
                Err(broken(format!("{reason}{}", self.last_words(id).await)))
            }
            Err(_) => Err(broken(self.silent(plan).await)),
        }
    }

    /// Where an instance is called whose machine is up.
    pub(crate) fn instance_of(&self, plan: &Plan, up: &MachineStatus) -> Result<Instance, ProvisionFailure> {
        let address = up.address.as_deref().and_then(|address| address.parse().ok());
        let ip = address.ok_or_else(|| ProvisionFailure::Broken("its machine has no address".into()))?;
        Ok(Instance {
            key: plan.key.clone(),
            worker_ip: self.config.ip.unwrap_or(ip),
            proxy_port: plan.port,
            internal_vm_ip: ip,
            version: plan.version,
            worker_id: self.config.id.clone(),
        })
    }

    async fn silent(&self, plan: &Plan) -> String {
        let seconds = self.config.ready_timeout.as_secs();
        let what = match plan.contract {
            Contract::Http { port } => format!("nothing listens on its port {port} (the one that $PORT names)"),
            Contract::Lambda => "its runtime has not asked for an event".into(),
        };
        format!(
            "{what} {seconds} s after its start{}",
            self.last_words(plan.key.machine).await
        )
    }

    /// How a machine ended that was to serve, for the function's owner.
    async fn ending(&self, id: MachineId, state: &MachineState) -> ProvisionFailure {
        let what = match state {
            MachineState::Stopped { exit } if exit.oom_killed => {
                "its program ran out of memory before it was ready".into()
            }
            MachineState::Stopped { exit } => format!("its program ended with code {} before it was ready", exit.code),
            MachineState::Failed { reason } => {
                return ProvisionFailure::Broken(format!("its machine failed: {reason}"));
            }
            // Also by a node that closes.
            _ => return ProvisionFailure::Hindered("its machine was removed before it was ready".into()),
        };
        ProvisionFailure::Broken(format!("{what}{}", self.last_words(id).await))
    }

    async fn last_words(&self, id: MachineId) -> String {
        let query = LogQuery {
            tail: Some(LAST_WORDS_LINES),
            ..LogQuery::default()
        };
        let read = async {
            let mut log = self.parts.node.logs(id, query).await.ok()?;
            let mut text = String::new();
            while let Some(Ok(chunk)) = log.next().await {
                text.push_str(&String::from_utf8_lossy(&chunk.bytes));
            }
            Some(text)
        };
        let text = timeout(LAST_WORDS_TIMEOUT, read)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let text = text.trim();
        if text.is_empty() {
            return "; it wrote nothing".into();
        }
        let skip = text.chars().count().saturating_sub(LAST_WORDS_CHARS);
        format!("; its last words:\n{}", text.chars().skip(skip).collect::<String>())
    }
}
