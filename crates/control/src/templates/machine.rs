//! The machine in which a template is made. It has no row, and nobody sees it: one that a daemon leaves goes with the next start.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::BoxStream;
use hearth_domain::{
    BuildPlan, BuildReason, DriverKind, EgressRules, MachineName, MachineOwner, MachineSpec, NetworkMode,
    RecoverPolicy, Resources, RestartPolicy, Workload,
};
use hearth_ids::{BuildId, MachineId, ProjectId, SnapshotId};
use hearth_node_api::{ExecRequest, ExecSession, NodeError};
use hearth_store::SnapshotRow;
use tracing::{debug, warn};

use super::{
    build::{CUT_OFF, reason},
    command,
    steps::Reason,
    stop::Stop,
};
use crate::{app::App, machines::create::Facts, machines::run, snapshots::warm};

/// How long the guest has to stop; nothing of it is kept but its snapshot.
const STOP_TIMEOUT_MS: u64 = 5_000;

/// Makes a user, if there is none of the name, and says so by [`USER_MADE`]. Debian's way, else busybox's, else by hand.
const USER_SCRIPT: &str = r#"id -u USER >/dev/null 2>&1 && exit 0
if command -v useradd >/dev/null; then
    useradd --create-home --shell /bin/bash --uid 1000 USER 2>/dev/null || useradd --create-home --shell /bin/bash USER || exit 1
elif command -v adduser >/dev/null; then
    adduser -D -s /bin/bash USER || exit 1
else
    if grep -qs '^USER:' /etc/passwd; then exit 0; fi
    # A file may lack the end of its last line.
    for file in /etc/passwd /etc/group /etc/shadow; do
        [ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo >>"$file" || exit 1
    done
    id=1000
    while grep -qs "^[^:]*:[^:]*:$id:" /etc/passwd /etc/group; do id=$((id + 1)); done
    echo "USER:x:$id:$id::/home/USER:/bin/bash" >>/etc/passwd || exit 1
    echo "USER:x:$id:" >>/etc/group || exit 1
    [ ! -f /etc/shadow ] || echo 'USER:!:19000:0:99999:7:::' >>/etc/shadow || exit 1
    mkdir -p /home/USER && chown "$id:$id" /home/USER || exit 1
    grep -qs "^USER:x:$id:" /etc/passwd || exit 1
fi
if [ -d /etc/sudoers.d ]; then
    echo "USER ALL=(ALL:ALL) NOPASSWD: ALL" >/etc/sudoers.d/template-user && chmod 440 /etc/sudoers.d/template-user || exit 1
fi
exit 10
"#;
/// The exit code of [`USER_SCRIPT`] when there is a user who was not there before.
const USER_MADE: i32 = 10;
const USER_TIMEOUT: Duration = Duration::from_mins(1);

/// What of a script's last words is told, in bytes.
const SAID_MAX: usize = 2_000;

/// A machine that is removed when its part of a build is over.
pub(super) struct Builder {
    pub(super) app: Arc<App>,
    pub(super) spec: MachineSpec,
    stop: Arc<Stop>,
}

/// The machine of a build that begins with an image, in the template's size.
pub(super) fn of_image(
    project: ProjectId,
    build: BuildId,
    plan: &BuildPlan,
    image: &str,
    facts: Facts,
    driver: DriverKind,
) -> MachineSpec {
    let id = MachineId::new();
    MachineSpec {
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
        boots: false,
        volumes: Vec::new(),
    }
}

/// The machine of a build that begins with a template's snapshot, in that one's size.
pub(super) fn of_snapshot(project: ProjectId, build: BuildId, snapshot: &SnapshotRow) -> MachineSpec {
    let id = MachineId::new();
    MachineSpec {
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
        boots: true,
        ..snapshot.spec.clone()
    }
}

/// Another machine like this one, of another size, that boots with a disk or with its image alone. What a template starts with
/// each boot is not started while one is built.
pub(super) fn booting(like: &MachineSpec, resources: Resources, disk: Option<SnapshotId>) -> MachineSpec {
    let mut spec = another(like);
    spec.resources = resources;
    spec.snapshot = disk.or(like.snapshot);
    spec.boots = spec.snapshot.is_some();
    spec.workload.cmd = Vec::new();
    spec
}

/// Another machine like this one, that goes on from what a snapshot holds in memory.
pub(super) fn going_on(like: &MachineSpec, snapshot: SnapshotId) -> MachineSpec {
    MachineSpec {
        snapshot: Some(snapshot),
        boots: false,
        ..another(like)
    }
}

fn another(like: &MachineSpec) -> MachineSpec {
    let id = MachineId::new();
    MachineSpec {
        id,
        name: name(id),
        ..like.clone()
    }
}

impl Builder {
    /// Has a machine run.
    pub(super) async fn start(app: &Arc<App>, stop: &Arc<Stop>, spec: MachineSpec) -> Result<Self, NodeError> {
        let builder = Self {
            app: Arc::clone(app),
            spec,
            stop: Arc::clone(stop),
        };
        let booted = builder.boot().await;
        if booted.is_err() {
            builder.remove().await;
        }
        booted.map(|()| builder)
    }

    /// Does something with it, unless the build is to end before that is done, and removes it.
    pub(super) async fn during<T>(&self, work: impl Future<Output = Result<T, BuildReason>>) -> Result<T, BuildReason> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            why = self.stop.asked() => Err(why),
            // This cannot wait for anything.
            () = self.app.shutdown.cancelled() => Err(reason(None, CUT_OFF)),
        };
        self.remove().await;
        outcome
    }

    /// Runs a command for what the guest has in memory after it. Whether it ends well is of no interest.
    pub(super) async fn rehearse(&self, request: ExecRequest) {
        if let Err(error) = self.run(request, USER_TIMEOUT, |_, _| {}).await {
            debug!(id = %self.spec.id, %error, "a template's machine does not run what sandboxes run first");
        }
    }

    /// Has the guest write out to its disk what it has in memory. Where it cannot, it does so by itself within half a minute.
    pub(super) async fn sync(&self) {
        let request = ExecRequest {
            cmd: vec!["sync".to_owned()],
            working_dir: Some("/".to_owned()),
            user: Some("root".to_owned()),
            ..ExecRequest::default()
        };
        if let Err(error) = self.run(request, USER_TIMEOUT, |_, _| {}).await {
            warn!(id = %self.spec.id, %error, "a template's machine does not write out what it has in memory");
        }
    }

    async fn boot(&self) -> Result<(), NodeError> {
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
        line: impl FnMut(bool, &str),
    ) -> Result<i32, NodeError> {
        command::run(&self.app, self.spec.id, request, limit, line).await
    }

    /// Runs a script of ours as root. What it says on its standard error is why it failed.
    pub(super) async fn script(&self, script: &str, limit: Duration) -> Result<(), Reason> {
        match self.try_script(script, limit).await? {
            (0, _) => Ok(()),
            (code, said) => Err(format!("{} (exit code {code})", said.trim())),
        }
    }

    /// Makes a user with a home, who may become root where the image has what it takes. Whether there was anything to do.
    pub(super) async fn ensure_user(&self, user: &str) -> Result<bool, Reason> {
        match self
            .try_script(&USER_SCRIPT.replace("USER", user), USER_TIMEOUT)
            .await?
        {
            (0, _) => Ok(false),
            (USER_MADE, _) => Ok(true),
            (code, said) => Err(format!(
                "user {user:?} cannot be made: {} (exit code {code})",
                said.trim()
            )),
        }
    }

    async fn try_script(&self, script: &str, limit: Duration) -> Result<(i32, String), Reason> {
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
        let code = ended.await.map_err(|error| error.to_string())?;
        Ok((code, said))
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
    async fn remove(&self) {
        if let Err(error) = self.app.node.remove(self.spec.id, true).await {
            warn!(id = %self.spec.id, %error, "cannot remove a builder machine; it is tried again at the next start");
        }
    }
}

fn name(id: MachineId) -> MachineName {
    #[expect(clippy::expect_used, reason = "an ID is 29 characters of a-z and 0-9")]
    id.to_string().parse().expect("an ID is a machine's name")
}
