//! What is done with machines here, by the API.

use std::time::{Duration, Instant};

use hearth_api::{
    CreateMachine, CreateSnapshot, Fork, ForkMachine, Machine, MachineState, PauseMode, PauseQuery, RemoveQuery,
    Snapshot,
};
use hearth_client::{ApiPath, Client};
use http::Method;
use tokio::time::sleep;

use crate::daemon::Daemon;

pub(super) const IMAGE: &str = "bench/python";
/// The small machine of which there are many.
pub(super) const MEMORY_MIB: u64 = 128;
const START_TIMEOUT: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(2);

/// The machines of a daemon.
pub(in crate::benchmarks) struct Machines(Client);

impl Machines {
    pub(in crate::benchmarks) fn of(daemon: &Daemon) -> Self {
        Self(daemon.client())
    }

    /// The machine that is asked for where nothing else is said. It sleeps.
    pub(super) fn sleeper() -> CreateMachine {
        CreateMachine {
            image: IMAGE.to_owned(),
            cmd: ["sleep", "1000000"].map(str::to_owned).to_vec(),
            memory_mib: Some(MEMORY_MIB),
            ..CreateMachine::default()
        }
    }

    /// A machine like the one that the snapshot is of.
    pub(in crate::benchmarks) fn from(snapshot: &Snapshot) -> CreateMachine {
        CreateMachine {
            snapshot: Some(snapshot.id.to_string()),
            ..CreateMachine::default()
        }
    }

    /// Makes and starts one. It runs; its ID.
    pub(in crate::benchmarks) async fn start(&self, request: CreateMachine) -> anyhow::Result<String> {
        let request = CreateMachine { start: true, ..request };
        let made: Machine = self.0.post_json(&ApiPath::v1(&["machines"]), &request).await?;
        let id = made.id.to_string();
        self.until_running(&id).await?;
        Ok(id)
    }

    /// Waits until it runs.
    pub(super) async fn until_running(&self, id: &str) -> anyhow::Result<()> {
        let (path, deadline) = (ApiPath::v1(&["machines", id]), Instant::now() + START_TIMEOUT);
        loop {
            let machine: Machine = self.0.get(&path).await?;
            if machine.state == MachineState::Running {
                return Ok(());
            }
            let fails = machine.state.is_at_rest() || Instant::now() > deadline;
            anyhow::ensure!(!fails, "machine {id} is {:?}: {:?}", machine.state, machine.reason);
            sleep(POLL).await;
        }
    }

    /// As it is now.
    pub(in crate::benchmarks) async fn get(&self, id: &str) -> anyhow::Result<Machine> {
        Ok(self.0.get(&ApiPath::v1(&["machines", id])).await?)
    }

    pub(in crate::benchmarks) async fn remove(&self, id: &str) -> anyhow::Result<()> {
        let path = ApiPath::v1(&["machines", id]).query(&RemoveQuery { force: true });
        Ok(self.0.act(Method::DELETE, &path).await?)
    }

    pub(in crate::benchmarks) async fn snapshot(&self, id: &str) -> anyhow::Result<Snapshot> {
        let request = CreateSnapshot {
            machine: id.to_owned(),
            name: None,
            memory: None,
        };
        Ok(self.0.post_json(&ApiPath::v1(&["snapshots"]), &request).await?)
    }

    /// Asks for forks, which start.
    pub(super) async fn fork(&self, id: &str, count: u32) -> anyhow::Result<Fork> {
        let request = ForkMachine {
            count: Some(count),
            ..ForkMachine::default()
        };
        Ok(self
            .0
            .post_json(&ApiPath::v1(&["machines", id, "fork"]), &request)
            .await?)
    }

    /// Pauses it to disk; it is there when this returns.
    pub(super) async fn pause_to_disk(&self, id: &str) -> anyhow::Result<()> {
        let query = PauseQuery {
            mode: Some(PauseMode::Disk),
        };
        let path = ApiPath::v1(&["machines", id, "pause"]).query(&query);
        let machine: Machine = self.0.post(&path).await?;
        anyhow::ensure!(machine.on_disk, "machine {id} is {:?}, and not on disk", machine.state);
        Ok(())
    }

    /// Resumes it; it runs when this returns.
    pub(super) async fn resume(&self, id: &str) -> anyhow::Result<()> {
        let _: Machine = self.0.post(&ApiPath::v1(&["machines", id, "resume"])).await?;
        self.until_running(id).await
    }
}

/// What of a snapshot's memory was ever written, in bytes.
#[expect(clippy::cast_precision_loss, reason = "a memory's size")]
pub(super) fn memory_bytes(snapshot: &Snapshot) -> f64 {
    let memory = snapshot.parts.iter().find(|part| part.name == "memory");
    memory.map_or(0, |part| part.data_bytes) as f64
}
