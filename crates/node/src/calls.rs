//! The calls that control makes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use hearth_domain::{EgressRules, MachineSpec, MachineState};
use hearth_driver::Driver;
use hearth_ids::{MachineId, SnapshotId};
use hearth_node_api::{
    Attachment, Check, DriverInfo, ExecRequest, ExecSession, FileStat, LogChunk, LogQuery, MachineStats, MachineStatus,
    NodeBooks, NodeError, NodeEvent, NodeInfo, NodeService, PauseMode, SnapshotInfo, SnapshotRequest,
};
use tokio::sync::{broadcast, watch};

use crate::{Node, doctor, owner::Command, session};

/// How long a machine that is on its way out may take.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

async fn driver_info(driver: &dyn Driver) -> DriverInfo {
    // Asked first: what the driver can do may hang on what it finds, and finding may take a moment.
    let unusable = driver.usable().await.err();
    let can = driver.capabilities();
    DriverInfo {
        kind: driver.kind(),
        guest: can.guest,
        outlives: can.outlives,
        pause: can.pause,
        snapshot: can.snapshot,
        accelerated: can.accelerated,
        unusable: unusable.map(|unusable| unusable.reason),
    }
}

#[async_trait]
impl NodeService for Node {
    async fn create(&self, spec: MachineSpec) -> Result<(), NodeError> {
        self.check_usable(spec.driver).await?;
        self.check_ports(&spec).await?;
        let staged = match spec.snapshot {
            Some(snapshot) if self.owner(spec.id).is_err() => Some(self.stage(snapshot, &spec).await?),
            _ => None,
        };
        self.make(spec, staged)
    }

    async fn start(&self, id: MachineId) -> Result<(), NodeError> {
        let owner = self.owner(id)?;
        let state = owner.status.borrow().state.clone();
        if state.is_at_rest() || state == MachineState::Pending {
            self.check_usable(owner.spec.driver).await?;
        }
        self.command(id, Command::Start).await
    }

    async fn stop(&self, id: MachineId, timeout_ms: Option<u64>) -> Result<(), NodeError> {
        self.command(id, |reply| Command::Stop { timeout_ms, reply }).await
    }

    async fn restart(&self, id: MachineId, timeout_ms: Option<u64>) -> Result<(), NodeError> {
        self.check_usable(self.owner(id)?.spec.driver).await?;
        self.command(id, |reply| Command::Restart { timeout_ms, reply }).await
    }

    async fn pause(&self, id: MachineId, mode: PauseMode) -> Result<(), NodeError> {
        self.pause_machine(id, mode).await
    }

    async fn set_egress(&self, id: MachineId, rules: EgressRules) -> Result<(), NodeError> {
        self.command(id, |reply| Command::SetEgress {
            rules: rules.clone(),
            reply,
        })
        .await
    }

    async fn claim(&self, spec: MachineSpec) -> Result<(), NodeError> {
        self.claim_warm(spec).await
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<SnapshotInfo, NodeError> {
        self.make_snapshot(request).await
    }

    async fn snapshots(&self) -> Result<Vec<SnapshotInfo>, NodeError> {
        Ok(self.services.snapshots.all())
    }

    async fn remove_snapshot(&self, id: SnapshotId) -> Result<(), NodeError> {
        self.forget_snapshot(id).await
    }

    async fn rollback(&self, id: MachineId, snapshot: SnapshotId) -> Result<(), NodeError> {
        let owner = self.owner(id)?;
        self.check_usable(owner.spec.driver).await?;
        let staged = self.stage_rollback(snapshot, &owner.spec).await?;
        self.command(id, |reply| Command::Rollback { staged, reply }).await
    }

    async fn resume(&self, id: MachineId) -> Result<(), NodeError> {
        self.command(id, Command::Resume).await
    }

    async fn kill(&self, id: MachineId, signal: i32) -> Result<(), NodeError> {
        self.command(id, |reply| Command::Kill { signal, reply }).await
    }

    async fn remove(&self, id: MachineId, force: bool) -> Result<(), NodeError> {
        let Ok(mut owner) = self.owner(id) else { return Ok(()) };
        let outcome = self.command(id, |reply| Command::Remove { force, reply }).await;
        if outcome.is_ok() {
            // Where it was on its way out already, till it is gone.
            let gone = async { while owner.status.changed().await.is_ok() {} };
            let _ = tokio::time::timeout(REMOVAL_TIMEOUT, gone).await;
        }
        // Its owner may have removed it by itself in between.
        let destroyed = owner.status.borrow().state == MachineState::Destroyed;
        if destroyed { Ok(()) } else { outcome }
    }

    fn machines(&self) -> Vec<MachineSpec> {
        self.owners().into_iter().map(|owner| (*owner.spec).clone()).collect()
    }

    fn spec(&self, id: MachineId) -> Option<MachineSpec> {
        Some((*self.owner(id).ok()?.spec).clone())
    }

    fn status(&self, id: MachineId) -> Option<MachineStatus> {
        Some(self.owner(id).ok()?.status.borrow().clone())
    }

    fn access_token(&self, id: MachineId) -> Option<String> {
        Some(self.owner(id).ok()?.access_token.to_string())
    }

    fn watch(&self, id: MachineId) -> Option<watch::Receiver<MachineStatus>> {
        Some(self.owner(id).ok()?.status)
    }

    fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.listen()
    }

    fn books(&self) -> watch::Receiver<NodeBooks> {
        self.services.ledger.watch()
    }

    async fn logs(
        &self,
        id: MachineId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, NodeError>>, NodeError> {
        session::logs(self.owner(id)?, query).await
    }

    async fn attach(&self, id: MachineId) -> Result<Attachment, NodeError> {
        Ok(session::attach(self.owner(id)?))
    }

    async fn exec(&self, id: MachineId, request: ExecRequest) -> Result<ExecSession, NodeError> {
        session::exec(&self.owner(id)?, request).await
    }

    async fn stats(&self, id: MachineId) -> Result<MachineStats, NodeError> {
        session::stats(&self.services, &self.owner(id)?).await
    }

    async fn archive_get(
        &self,
        id: MachineId,
        path: String,
    ) -> Result<(FileStat, BoxStream<'static, Result<Bytes, NodeError>>), NodeError> {
        session::archive_get(&self.owner(id)?, &path).await
    }

    async fn archive_put(
        &self,
        id: MachineId,
        path: String,
        archive: BoxStream<'static, Result<Bytes, NodeError>>,
    ) -> Result<(), NodeError> {
        session::archive_put(&self.owner(id)?, &path, archive).await
    }

    async fn info(&self) -> Result<NodeInfo, NodeError> {
        let owners = self.owners();
        let active = owners
            .iter()
            .filter(|owner| !owner.status.borrow().state.is_at_rest())
            .count();
        let host = rustix::system::uname();
        let books = *self.services.ledger.watch().borrow();
        let mut drivers = Vec::new();
        for driver in self.services.drivers.values() {
            drivers.push(driver_info(&**driver).await);
        }
        Ok(NodeInfo {
            id: self.id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host_name: host.nodename().to_string_lossy().into_owned(),
            host_kernel: host.release().to_string_lossy().into_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            capacity: books.capacity,
            overcommit: books.overcommit,
            allocation: books.allocation,
            machines: owners.len() as u64,
            machines_active: active as u64,
            default_driver: self.default_driver,
            drivers,
            agent_version: self.services.kernels.agent_version().to_owned(),
        })
    }

    async fn doctor(&self) -> Vec<Check> {
        let drivers = self.services.drivers.values().cloned().collect();
        doctor::examine(&self.services.config.state_dir, drivers, Some(self.default_driver)).await
    }
}
