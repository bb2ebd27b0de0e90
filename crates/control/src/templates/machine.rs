//! The machine in which a template is made. It has no row, and nobody sees it: one that a daemon leaves goes with the next start.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use hearth_domain::{
    BuildPlan, DriverKind, EgressRules, MachineName, MachineOwner, MachineSpec, NetworkMode, RecoverPolicy, Resources,
    RestartPolicy, Workload,
};
use hearth_ids::{BuildId, MachineId, ProjectId};
use hearth_node_api::{ErrorKind, ExecEvent, ExecRequest, ExecSession, NodeError};
use hearth_store::SnapshotRow;
use tokio::time::timeout;
use tracing::warn;

use super::steps::Reason;
use crate::{app::App, machines::create::Facts, machines::run, snapshots::warm};

/// How long the guest has to stop; nothing of it is kept but its snapshot.
const STOP_TIMEOUT_MS: u64 = 5_000;

/// What of a script's last words is told, in bytes.
const SAID_MAX: usize = 2_000;

/// A machine that is removed when its build is over.
pub(super) struct Builder {
    app: Arc<App>,
    pub(super) spec: MachineSpec,
}

impl Builder {
    /// Boots a machine of an image.
    pub(super) async fn boot(
        app: &Arc<App>,
        project: ProjectId,
        build: BuildId,
        plan: &BuildPlan,
        image: &str,
        facts: Facts,
        driver: DriverKind,
    ) -> Result<Self, NodeError> {
        let id = MachineId::new();
        let spec = MachineSpec {
            id,
            project,
            owner: Some(MachineOwner::Build { build }),
            name: name(id),
            image: image.to_owned(),
            image_id: facts.image_id,
            layers: Vec::new(),
            kernel_id: facts.kernel_id,
            resources: Resources {
                vcpus: plan.vcpus,
                memory_mib: plan.memory_mib,
                disk_mib: Some(plan.disk_mib),
            },
            workload: Workload {
                idle: true,
                ..Workload::default()
            },
            network: NetworkMode::Default,
            egress: EgressRules::default(),
            ports: Vec::new(),
            driver,
            restart: RestartPolicy::No,
            recover: RecoverPolicy::No,
            stop_timeout_ms: STOP_TIMEOUT_MS,
            auto_remove: false,
            snapshot: None,
        };
        Self::started(app, spec).await
    }

    /// Goes on from a template's snapshot.
    pub(super) async fn restore(
        app: &Arc<App>,
        project: ProjectId,
        build: BuildId,
        snapshot: &SnapshotRow,
    ) -> Result<Self, NodeError> {
        let id = MachineId::new();
        let spec = MachineSpec {
            id,
            project,
            owner: Some(MachineOwner::Build { build }),
            name: name(id),
            egress: EgressRules::default(),
            ports: Vec::new(),
            restart: RestartPolicy::No,
            recover: RecoverPolicy::No,
            auto_remove: false,
            snapshot: Some(snapshot.id),
            ..snapshot.spec.clone()
        };
        Self::started(app, spec).await
    }

    async fn started(app: &Arc<App>, spec: MachineSpec) -> Result<Self, NodeError> {
        let builder = Self {
            app: Arc::clone(app),
            spec,
        };
        let booted = builder.start().await;
        if booted.is_err() {
            builder.remove().await;
        }
        booted.map(|()| builder)
    }

    async fn start(&self) -> Result<(), NodeError> {
        let (app, id) = (&*self.app, self.spec.id);
        let make = || async {
            app.node.create(self.spec.clone()).await?;
            app.node.start(id).await
        };
        warm::with_room(app, &self.spec.resources, make).await?;
        run::until_running(app, id).await
    }

    /// Runs a command, gives each line that it writes to `line`, and returns its exit code.
    pub(super) async fn run(
        &self,
        request: ExecRequest,
        limit: Duration,
        mut line: impl FnMut(bool, &str),
    ) -> Result<i32, NodeError> {
        let ExecSession { output, input } = self.app.node.exec(self.spec.id, request).await?;
        // Nothing is written to it.
        drop(input);
        let mut events = output;
        let mut partial = [Vec::new(), Vec::new()];
        let running = async {
            while let Some(event) = events.next().await {
                match event? {
                    ExecEvent::Stdout(bytes) => lines(&mut partial[0], &bytes, |text| line(false, text)),
                    ExecEvent::Stderr(bytes) => lines(&mut partial[1], &bytes, |text| line(true, text)),
                    ExecEvent::Exited(status) => {
                        for (at, rest) in partial.iter_mut().enumerate() {
                            if !rest.is_empty() {
                                line(at == 1, &String::from_utf8_lossy(rest));
                            }
                        }
                        return Ok(status.code);
                    }
                }
            }
            Err(NodeError::new(
                ErrorKind::Unavailable,
                "the command's machine has ended",
            ))
        };
        let late = |_| {
            NodeError::new(
                ErrorKind::Timeout,
                format!("the command took longer than {} s", limit.as_secs()),
            )
        };
        timeout(limit, running).await.map_err(late)?
    }

    /// Runs a script of ours as root. What it says on its standard error is why it failed.
    pub(super) async fn script(&self, script: &str, limit: Duration) -> Result<(), Reason> {
        let request = ExecRequest {
            cmd: ["/bin/bash", "-c", script].map(ToOwned::to_owned).to_vec(),
            working_dir: Some("/".to_owned()),
            user: Some("root".to_owned()),
            ..ExecRequest::default()
        };
        let mut said = String::new();
        let ended = self.run(request, limit, |is_error, line| {
            if is_error && said.len() < SAID_MAX {
                said.push_str(line);
                said.push('\n');
            }
        });
        match ended.await.map_err(|error| error.to_string())? {
            0 => Ok(()),
            code => Err(format!("{} (exit code {code})", said.trim())),
        }
    }

    /// Unpacks a tar stream into a folder of the guest.
    pub(super) async fn unpack(
        &self,
        folder: &str,
        archive: BoxStream<'static, Result<Bytes, NodeError>>,
    ) -> Result<(), Reason> {
        let unpacked = self.app.node.archive_put(self.spec.id, folder.to_owned(), archive);
        unpacked.await.map_err(|error| error.to_string())
    }

    /// Starts a command that goes on when the build is over.
    pub(super) async fn launch(&self, request: ExecRequest) -> Result<ExecSession, NodeError> {
        let request = ExecRequest { keep: true, ..request };
        self.app.node.exec(self.spec.id, request).await
    }

    /// Removes the machine. What cannot be removed now goes with the next start.
    pub(super) async fn remove(&self) {
        if let Err(error) = self.app.node.remove(self.spec.id, true).await {
            warn!(id = %self.spec.id, %error, "cannot remove a builder machine; it is tried again at the next start");
        }
    }
}

/// The longest line that is passed on whole, in bytes.
const LINE_MAX: usize = 16 * 1024;

fn name(id: MachineId) -> MachineName {
    #[expect(clippy::expect_used, reason = "an ID is 29 characters of a-z and 0-9")]
    id.to_string().parse().expect("an ID is a machine's name")
}

fn lines(partial: &mut Vec<u8>, bytes: &[u8], mut line: impl FnMut(&str)) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        partial.extend_from_slice(piece);
        if piece.ends_with(b"\n") || partial.len() >= LINE_MAX {
            line(String::from_utf8_lossy(partial).trim_end());
            partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_long_ones_in_pieces() {
        let (mut partial, mut seen) = (Vec::new(), Vec::new());
        for bytes in [&b"a"[..], b"b\nc\n", b"d"] {
            lines(&mut partial, bytes, |text| seen.push(text.to_owned()));
        }
        assert_eq!(
            (seen.as_slice(), partial.as_slice()),
            (&["ab".to_owned(), "c".to_owned()][..], &b"d"[..])
        );
        lines(&mut partial, &vec![b'x'; LINE_MAX], |text| seen.push(text.to_owned()));
        assert_eq!((seen.len(), partial.len()), (3, 0));
    }
}
