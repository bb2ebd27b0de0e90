//! Going on from what was saved: the VMM is restored and stands still until that is written down; then the vCPUs go, and
//! the guest is told that time has passed, and whether it is another machine now.
//!
//! What is written down is what keeps memory and disk together: while the record names something saved, no vCPU has run
//! since, and a VMM that a crash left is ended; once the vCPUs may run, there is nothing saved any more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_domain::{MachineEvent, StateWord};
use hearth_driver::{Liveness, SavedState, StartPlan, VmmHandle, memory::SealedMemory};
use hearth_guest_api::{
    GuestClient, GuestError, GuestTokens,
    connect::Code,
    guest::{InitRequest, InitResponse, Restore, Tokens},
};

use tokio::time::sleep;

use super::{Life, boot::new_token, volumes::check_mounted};
use crate::{
    fault, guest_link,
    provisions::RootConfig,
    record::{Greeting, MachineRecord},
    services::{blocking, chain},
    snapshot::{DEVICES, Folder, MEMORY, PARENTS_MAX, SnapshotError, check_identity},
};

/// What a guest has that goes on where it was, until its agent answers.
const AWAKE_TIMEOUT: Duration = Duration::from_mins(1);
/// Between two tries.
const AWAKE_STEP: Duration = Duration::from_millis(10);

/// Why the machine does not go on, for people.
type Reason = String;

/// Files that a VMM can be restored from, compared with what they were when they were saved.
pub(super) struct Ready {
    pub(super) folder: Folder,
    files: SavedState,
    /// Held until the VMM has opened it.
    _memory: Option<Arc<SealedMemory>>,
}

impl Life {
    /// Opens what the machine goes on from, and refuses what this node has not written, or what cannot go on here.
    async fn open_saved(&self) -> Result<Folder, Reason> {
        let (services, path) = (Arc::clone(&self.services), self.folder.saved());
        let opened = blocking(move || {
            let folder = Folder::open(&path, &services.snapshots.key)?;
            folder.check(DEVICES)?;
            Ok::<_, SnapshotError>(folder)
        });
        let folder = opened.await.map_err(|error| refused(&error))?;
        let here = self.driver.identity().await.map_err(|error| chain(&error))?;
        check_identity(folder.info(), &here).map_err(|error| refused(&error))?;
        Ok(folder)
    }

    /// What a snapshot holds, whose memory others may share.
    pub(super) async fn ready_snapshot(&self) -> Result<Ready, Reason> {
        let folder = self.open_saved().await?;
        if self.is_recovery(folder.info().id) {
            return self.own(folder).await;
        }
        let snapshots = &self.services.snapshots;
        let is_there = snapshots.get(folder.info().id).is_some();
        let memory = snapshots.memories.of(&folder, is_there).await;
        let memory = memory.map_err(|error| refused(&error))?;
        let files = SavedState {
            memory: memory.path(),
            ..folder.files()
        };
        Ok(Ready {
            folder,
            files,
            _memory: Some(memory),
        })
    }

    /// What this machine alone was saved in. Its VMM maps the file itself, so that what it does not touch is not read.
    pub(super) async fn ready_own(&self) -> Result<Ready, Reason> {
        let folder = self.open_saved().await?;
        self.own(folder).await
    }

    async fn own(&self, folder: Folder) -> Result<Ready, Reason> {
        let (checked, uid) = (folder.clone(), self.record().vmm_uid);
        let check = blocking(move || {
            checked.check(MEMORY)?;
            checked.give_memory_to(uid)
        });
        check.await.map_err(|error| refused(&error))?;
        Ok(Ready {
            files: folder.files(),
            folder,
            _memory: None,
        })
    }

    /// Starts the VMM of a machine that begins with a snapshot. Its vCPUs go.
    pub(super) async fn launch_saved(&mut self, plan: &StartPlan) -> Result<(), Reason> {
        let ready = self.ready_snapshot().await?;
        fault::point("restore.ready");
        let manifest = &ready.folder.manifest;
        self.begin_launch(manifest.guest_next);
        fault::point("launch.recorded");
        let info = &manifest.info;
        let greeting = Greeting {
            copy: info.spec.id != self.spec.id,
            host_token: manifest.host_token.clone(),
        };
        // A recovery point is nobody's but the machine's own.
        let parent = Some(&info.id).filter(|id| !self.is_recovery(**id));
        let parents: Vec<_> = parent
            .into_iter()
            .chain(&info.parents)
            .take(PARENTS_MAX)
            .copied()
            .collect();
        let from = info.id;
        let agent_version = info.agent_version.clone();
        let handle = self.restore(plan, &ready).await?;
        let noted = self.commit(None, |record| {
            record.handle = Some(handle.clone());
            record.saved = None;
            record.greeting = Some(greeting);
            record.recovery = record.recovery.filter(|point| point.id == from);
            record.parents = parents;
            record.agent_version = agent_version;
        });
        self.let_go(handle, noted).await?;
        self.remove_other_recoveries().await;
        Ok(())
    }

    /// Starts the VMM of a machine that was asleep. Its vCPUs go, and it runs.
    pub(super) async fn launch_asleep(&mut self, plan: &StartPlan, ready: &Ready) -> Result<(), Reason> {
        let handle = self.restore(plan, ready).await?;
        let greeting = Greeting {
            copy: false,
            host_token: self.record().host_token.clone(),
        };
        // Before anybody hears that it runs: it knows the tokens that it knew.
        self.publish_guest(self.guest_client());
        let noted = self.commit(Some(MachineEvent::Resume), |record| {
            record.handle = Some(handle.clone());
            record.saved = None;
            record.greeting = Some(greeting);
        });
        self.let_go(handle, noted).await
    }

    async fn restore(&self, plan: &StartPlan, ready: &Ready) -> Result<VmmHandle, Reason> {
        let restored = self.driver.restore(plan, &ready.files).await;
        fault::point("restore.started");
        let handle = restored.map_err(|error| format!("cannot restore the machine: {}", chain(&error)))?;
        // While nothing is written down, another may go on from the same.
        if matches!(self.driver.recover(&handle).await, Ok(Liveness::Alive)) {
            return Ok(handle);
        }
        self.release_vmm_of(Some(handle)).await;
        Err("its VMM ended before the machine went on".to_owned())
    }

    /// Lets the vCPUs go, if it is written down that they do. Else the VMM ends, and all is as it was.
    async fn let_go(&mut self, handle: VmmHandle, noted: std::io::Result<()>) -> Result<(), Reason> {
        if let Err(error) = noted {
            self.release_vmm_of(Some(handle)).await;
            return Err(format!("cannot write the machine's state: {error}"));
        }
        fault::point("restore.recorded");
        self.driver
            .resume(&handle)
            .await
            .map_err(|error| format!("cannot let the restored machine go on: {}", chain(&error)))?;
        fault::point("restore.resumed");
        self.remove_saved().await;
        Ok(())
    }

    /// Removes the files that nothing goes on from any more. What cannot be removed now is removed by the next daemon.
    pub(super) async fn remove_saved(&self) {
        let (folder, machine) = (self.folder.clone(), self.spec.id);
        if let Err(error) = blocking(move || folder.remove_saved()).await {
            tracing::warn!(%machine, %error, "cannot remove what the machine went on from");
        }
    }

    /// Tells a guest that went on from what was saved what is new, unless that was done. The error says why it could not
    /// be told.
    pub(super) async fn greet(&mut self, config: &RootConfig) -> Result<(), Reason> {
        let (Some(greeting), Some(handle)) = (self.record().greeting.clone(), self.record().handle.clone()) else {
            return Ok(());
        };
        if let Some(client) = self.guest_client() {
            self.serve_volumes().await?;
            let mut request = guest_link::init_request(&self.spec, config, self.slot(), &*self.services.secrets)?;
            if self.spec.workload.idle {
                // What a boot would start runs there already.
                request.workload = None;
            }
            let volumes = self.volumes_of_guest().await?;
            let asked = volumes.mounts.len();
            request.volumes = Some(volumes);
            let deadline = Instant::now() + AWAKE_TIMEOUT;
            let told = async {
                loop {
                    match self.first_call(&client, &greeting, request.clone()).await {
                        Err(error) if error.is_unreachable() && Instant::now() < deadline => sleep(AWAKE_STEP).await,
                        outcome => return outcome,
                    }
                }
            };
            let outcome = tokio::select! {
                outcome = told => outcome.map_err(|error| chain(&error)),
                _ = self.driver.wait(&handle) => Err("its VMM ended".to_owned()),
            };
            let answer = outcome.map_err(|reason| format!("the guest that was restored does not answer: {reason}"))?;
            check_mounted(asked, answer.volumes)?;
            self.refuse_volumes(answer.volumes_gone).await?;
            if self.spec.is_warm() && !answer.held {
                return Err("its programs cannot be held".to_owned());
            }
        }
        fault::point("restore.greeted");
        self.change(|record| record.greeting = None);
        Ok(())
    }

    /// What makes a guest that has something of another machine's this machine's.
    pub(super) fn restore_of_copy(&self) -> Restore {
        Restore {
            copy: true,
            machine_id: format!("{:032x}", self.spec.id.to_u128()),
            hold: false,
        }
    }

    /// The first call to a restored guest, which opens with the token that it knew when it was saved.
    async fn first_call(
        &self,
        client: &GuestClient,
        greeting: &Greeting,
        mut request: InitRequest,
    ) -> Result<InitResponse, GuestError> {
        let record = self.record();
        request.clock_unix_ns = guest_link::clock_unix_ns();
        request.tokens = Some(Tokens {
            host: record.host_token.clone(),
            access: record.access_token.clone(),
        });
        request.restore = Some(Restore {
            copy: greeting.copy,
            hold: self.spec.is_warm(),
            ..self.restore_of_copy()
        });
        let tokens = GuestTokens {
            host: greeting.host_token.clone(),
            access: record.access_token.clone(),
        };
        let former = GuestClient::new(client.addr(), tokens);
        match former.init(request.clone()).await {
            // It was told already, and then this daemon's predecessor died.
            Err(error) if error.code() == Some(Code::Unauthenticated) => client.init(request).await,
            outcome => outcome,
        }
    }

    /// Notes that a VMM is being launched, whose guest's records begin with `guest_base`. The token is made before, so
    /// that it is on disk when the guest first hears it.
    pub(super) fn begin_launch(&mut self, guest_base: u64) {
        let log_base = self.log.next_seq();
        let agent_version = self.services.kernels.agent_version().to_owned();
        self.log.follow_boot(log_base, guest_base);
        let begin = |record: &mut MachineRecord| {
            record.host_token = new_token();
            record.log_base = log_base;
            record.guest_base = guest_base;
            record.greeting = None;
            record.agent_version = agent_version;
        };
        if self.record().state.word() == StateWord::Preparing {
            self.enter_with(MachineEvent::Launch, begin);
        } else {
            self.change(begin);
        }
    }
}

fn refused(error: &SnapshotError) -> Reason {
    format!("the machine cannot go on from its snapshot: {}", chain(error))
}
