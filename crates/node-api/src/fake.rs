//! A node in memory, for tests of whoever works with one. What its machines do is told by their command: `exit N` ends
//! at once, `crash` writes why and ends, `wait` stays about to start until something [happens](FakeNode::happen) to it,
//! `cat` gives back its input and ends when that does, anything else goes on until it is stopped.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    Attachment, Check, CheckOutcome, DriverInfo, EntryKind, ErrorKind, ExecEvent, ExecRequest, ExecSession, FileStat,
    GuestUse, Input, LogChunk, LogQuery, LogStream, MachineStats, MachineStatus, NodeBooks, NodeError, NodeEvent,
    NodeInfo, NodeService, PauseMode, SnapshotInfo, SnapshotPart, SnapshotRequest, Transition, TurnedAway,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use hearth_domain::{
    Allocation, Capacity, DriverKind, EgressRules, ExitStatus, MachineEvent, MachineSpec, MachineState, Overcommit,
    admit,
};
use hearth_ids::{MachineId, NodeId, SnapshotId};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

type Answer<T> = Result<T, NodeError>;

/// The node.
pub struct FakeNode {
    machines: Mutex<HashMap<MachineId, Machine>>,
    snapshots: Mutex<HashMap<SnapshotId, SnapshotInfo>>,
    events: broadcast::Sender<NodeEvent>,
    books: watch::Sender<NodeBooks>,
    /// What the next create fails with.
    pub refusal: Mutex<Option<NodeError>>,
    /// What a create fails with, after so many others.
    pub later_refusal: Mutex<Option<(usize, NodeError)>>,
    /// What the next snapshot fails with.
    pub snapshot_refusal: Mutex<Option<NodeError>>,
    /// What the next pause fails with.
    pub pause_refusal: Mutex<Option<NodeError>>,
    /// What commands give back as they end.
    pub exec_code: AtomicI32,
    /// What the next claim fails with, when the machine is already whose it was to be.
    pub claim_refusal: Mutex<Option<NodeError>>,
    /// What the next removal of a snapshot fails with.
    pub snapshot_removal_refusal: Mutex<Option<NodeError>>,
    /// What the next removal of a machine fails with.
    pub removal_refusal: Mutex<Option<NodeError>>,
    /// The archives that were put, by path.
    pub archives: Mutex<HashMap<String, Vec<u8>>>,
    /// Resizes and signals that came.
    pub inputs: Mutex<Vec<Input>>,
    /// Who holds it keeps machines and snapshots from being made.
    pub door: tokio::sync::Mutex<()>,
    /// What each guest says that it uses. An agent that is none does not answer.
    pub guest: Mutex<Option<GuestUse>>,
    /// Who holds it keeps guests' agents from answering.
    pub agent: tokio::sync::Mutex<()>,
}

struct Machine {
    spec: MachineSpec,
    status: watch::Sender<MachineStatus>,
    output: watch::Sender<Vec<LogChunk>>,
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn exited(code: i32) -> ExitStatus {
    ExitStatus {
        code,
        ..ExitStatus::default()
    }
}

impl FakeNode {
    /// One without machines.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            machines: Mutex::default(),
            snapshots: Mutex::default(),
            events: broadcast::Sender::new(4096),
            books: watch::Sender::new(NodeBooks {
                capacity: Capacity {
                    cpu_millis: 64_000,
                    memory_mib: 65_536,
                },
                overcommit: Overcommit::default(),
                allocation: Allocation::default(),
                turned_away: TurnedAway::default(),
            }),
            refusal: Mutex::default(),
            later_refusal: Mutex::default(),
            snapshot_refusal: Mutex::default(),
            pause_refusal: Mutex::default(),
            exec_code: AtomicI32::new(3),
            claim_refusal: Mutex::default(),
            snapshot_removal_refusal: Mutex::default(),
            removal_refusal: Mutex::default(),
            archives: Mutex::default(),
            inputs: Mutex::default(),
            door: tokio::sync::Mutex::default(),
            guest: Mutex::new(Some(GuestUse {
                cpus: 1,
                memory_total_bytes: 256 << 20,
                memory_used_bytes: 32 << 20,
                disk_total_bytes: 1 << 30,
                disk_used_bytes: 1 << 20,
                ..GuestUse::default()
            })),
            agent: tokio::sync::Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MachineId, Machine>> {
        self.machines.lock().unwrap()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<SnapshotId, SnapshotInfo>> {
        self.snapshots.lock().unwrap()
    }

    /// Forgets a machine, as a node does whose folder was lost.
    pub fn lose(&self, id: MachineId) {
        let mut machines = self.lock();
        machines.remove(&id);
        self.count_up(&machines);
    }

    /// Forgets a snapshot, as a node does whose folder was lost.
    pub fn lose_snapshot(&self, id: SnapshotId) {
        self.kept().remove(&id);
    }

    /// The snapshots that it has, in no order.
    pub fn snapshot_ids(&self) -> Vec<SnapshotId> {
        self.kept().keys().copied().collect()
    }

    /// Makes it a node that has more or less; what its machines hold stays.
    pub fn has(&self, capacity: Capacity) {
        self.books.send_modify(|books| books.capacity = capacity);
    }

    /// Has a machine that starts again by itself find no room for what it wants.
    pub fn turn_away(&self, wanted: Allocation) {
        self.books.send_modify(|books| {
            let times = books.turned_away.times + 1;
            books.turned_away = TurnedAway { times, wanted };
        });
    }

    /// Tells what machines hold now.
    fn count_up(&self, machines: &HashMap<MachineId, Machine>) {
        let active = machines.values().filter(|it| !it.status.borrow().state.is_at_rest());
        let allocation = active.fold(Allocation::default(), |held, it| held.plus(&it.spec.resources));
        self.books
            .send_if_modified(|books| std::mem::replace(&mut books.allocation, allocation) != allocation);
    }

    /// How many machines it has.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Lets something happen to a machine.
    pub fn happen(&self, id: MachineId, event: MachineEvent) -> Answer<MachineState> {
        let mut machines = self.lock();
        let machine = machines.get(&id).ok_or_else(|| NodeError::no_machine(id))?;
        let next = self.step(machine, event)?;
        if next == MachineState::Destroyed {
            machines.remove(&id);
        } else if next.is_at_rest() && machine.spec.auto_remove {
            self.step(machine, MachineEvent::Destroy)?;
            machines.remove(&id);
        }
        self.count_up(&machines);
        Ok(next)
    }

    fn step(&self, machine: &Machine, event: MachineEvent) -> Answer<MachineState> {
        let from = machine.status.borrow().state.clone();
        let state = from
            .next(event)
            .map_err(|error| NodeError::new(ErrorKind::Conflict, error.to_string()))?;
        let at_unix_ms = now_ms();
        machine.status.send_modify(|status| {
            status.sequence += 1;
            status.state = state.clone();
            status.since_unix_ms = at_unix_ms;
            if state == MachineState::Running {
                status.started_unix_ms = Some(at_unix_ms);
            }
            status.finished_unix_ms = state.is_at_rest().then_some(at_unix_ms);
            status.pid = (state == MachineState::Running).then_some(4242);
            status.address = (state == MachineState::Running).then(|| "127.0.0.1".to_owned());
            status.history.push(Transition {
                at_unix_ms,
                from: from.word(),
                to: state.word(),
                reason: None,
            });
        });
        let sequence = machine.status.borrow().sequence;
        let event = NodeEvent {
            machine: machine.spec.id,
            sequence,
            at_unix_ms,
            from: from.word(),
            state: state.clone(),
            reason: None,
        };
        let _ = self.events.send(event);
        Ok(state)
    }

    /// Lets a machine write something.
    pub fn write(&self, id: MachineId, stream: LogStream, text: &str) {
        self.write_at(id, now_ms(), stream, text);
    }

    /// Lets a machine have written something at a time, in milliseconds since the Unix epoch.
    pub fn write_at(&self, id: MachineId, unix_ms: u64, stream: LogStream, text: &str) {
        let machines = self.lock();
        let Some(machine) = machines.get(&id) else { return };
        machine.output.send_modify(|chunks| {
            let sequence = chunks.len() as u64;
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            chunks.push(LogChunk {
                sequence,
                unix_ns: unix_ms * 1_000_000,
                stream,
                bytes,
            });
        });
    }

    fn output(&self, id: MachineId, follow: bool) -> Answer<BoxStream<'static, Answer<LogChunk>>> {
        let machines = self.lock();
        let machine = machines.get(&id).ok_or_else(|| NodeError::no_machine(id))?;
        if !follow {
            return Ok(stream::iter(machine.output.borrow().clone()).map(Ok).boxed());
        }
        let (status, output) = (machine.status.subscribe(), machine.output.subscribe());
        // What was written before the end is told after it, too: hence the state is looked at before the output.
        let news = stream::unfold((status, output, 0), |(mut status, mut output, seen)| async move {
            loop {
                let over = status.borrow_and_update().state.is_at_rest();
                let new = output.borrow_and_update()[seen..].to_vec();
                if !new.is_empty() {
                    let seen = seen + new.len();
                    return Some((stream::iter(new).map(Ok), (status, output, seen)));
                }
                if over {
                    return None;
                }
                tokio::select! {
                    changed = status.changed() => changed.ok()?,
                    changed = output.changed() => changed.ok()?,
                }
            }
        })
        .flatten();
        Ok(news.boxed())
    }

    fn active(&self, id: MachineId) -> Answer<()> {
        match self.status(id) {
            None => Err(NodeError::no_machine(id)),
            Some(status) if status.state == MachineState::Running => Ok(()),
            Some(status) => Err(NodeError::new(
                ErrorKind::Conflict,
                format!("machine {id} is {}, not running", status.state.word()),
            )),
        }
    }

    /// Counts a create, and gives what it fails with.
    fn refused_later(&self) -> Option<NodeError> {
        let mut later = self.later_refusal.lock().unwrap();
        match &mut *later {
            Some((passed, _)) if *passed > 0 => *passed -= 1,
            _ => return later.take().map(|(_, error)| error),
        }
        None
    }

    fn known_snapshot(&self, id: SnapshotId) -> Answer<()> {
        let known = self.kept().contains_key(&id);
        known.then_some(()).ok_or_else(|| NodeError::no_snapshot(id))
    }

    fn set_on_disk(&self, id: MachineId, on_disk: bool) {
        if let Some(machine) = self.lock().get(&id) {
            machine.status.send_modify(|status| status.on_disk = on_disk);
        }
    }

    /// Ends the output of a machine before its state says so, as a real one does.
    fn end(&self, id: MachineId, event: MachineEvent) -> Answer<()> {
        self.happen(id, event).map(drop)
    }
}

/// The files of a snapshot of such a machine.
fn snapshot_parts(spec: &MachineSpec, memory: bool) -> Answer<Vec<SnapshotPart>> {
    let part = |name: &str, bytes, data_bytes| SnapshotPart {
        name: name.to_owned(),
        bytes,
        data_bytes,
        hash: "0".repeat(64),
    };
    if memory {
        let memory_bytes = u64::from(spec.resources.memory_mib.get()) << 20;
        return Ok(vec![part("memory", memory_bytes, 4096), part("devices", 100, 100)]);
    }
    let Some(disk_mib) = spec.resources.disk_mib else {
        let message = format!("machine {} has no disk of its own", spec.name);
        return Err(NodeError::new(ErrorKind::InvalidInput, message));
    };
    Ok(vec![part("disk", u64::from(disk_mib.get()) << 20, 4096)])
}

#[async_trait]
impl NodeService for FakeNode {
    async fn create(&self, spec: MachineSpec) -> Answer<()> {
        if let Some(error) = self.refusal.lock().unwrap().take() {
            return Err(error);
        }
        if let Some(error) = self.refused_later() {
            return Err(error);
        }
        if let Some(snapshot) = spec.snapshot {
            self.known_snapshot(snapshot)?;
        }
        let _open = self.door.lock().await;
        let status = MachineStatus {
            sequence: 0,
            state: MachineState::Pending,
            since_unix_ms: now_ms(),
            started_unix_ms: None,
            finished_unix_ms: None,
            restarts: 0,
            pid: None,
            address: None,
            guest_boot: None,
            on_disk: false,
            recovery_point_unix_ms: None,
            comes_back: false,
            history: Vec::new(),
        };
        let id = spec.id;
        let machine = Machine {
            spec,
            status: watch::Sender::new(status),
            output: watch::Sender::default(),
        };
        let mut machines = self.lock();
        if machines.contains_key(&id) {
            return Ok(());
        }
        let books = *self.books.borrow();
        admit(
            &books.capacity,
            books.overcommit,
            books.allocation,
            &machine.spec.resources,
        )
        .map_err(|refusal| NodeError::new(ErrorKind::NoCapacity, refusal.to_string()))?;
        machines.insert(id, machine);
        self.count_up(&machines);
        Ok(())
    }

    async fn start(&self, id: MachineId) -> Answer<()> {
        let status = self.status(id).ok_or_else(|| NodeError::no_machine(id))?;
        if status.state.is_at_rest() {
            self.happen(id, MachineEvent::Restart)?;
        } else if status.state != MachineState::Pending {
            return Ok(());
        }
        let cmd = self
            .lock()
            .get(&id)
            .map(|machine| machine.spec.workload.cmd.clone())
            .unwrap_or_default();
        for event in [MachineEvent::Prepare, MachineEvent::Launch] {
            self.happen(id, event)?;
        }
        let words: Vec<&str> = cmd.iter().map(String::as_str).collect();
        if words == ["wait"] {
            return Ok(());
        }
        self.happen(id, MachineEvent::Ready)?;
        self.write(id, LogStream::Stdout, "started\n");
        match words.as_slice() {
            ["exit", code] => self.end(id, MachineEvent::Exit(exited(code.parse().unwrap()))),
            ["crash"] => {
                self.write(id, LogStream::Stderr, "boom: no such module\n");
                self.end(id, MachineEvent::Exit(exited(1)))
            }
            _ => Ok(()),
        }
    }

    async fn stop(&self, id: MachineId, _timeout_ms: Option<u64>) -> Answer<()> {
        let status = self.status(id).ok_or_else(|| NodeError::no_machine(id))?;
        if !status.state.is_at_rest() {
            self.happen(id, MachineEvent::Stop)?;
            self.end(id, MachineEvent::Exit(exited(143)))?;
        }
        Ok(())
    }

    async fn restart(&self, id: MachineId, timeout_ms: Option<u64>) -> Answer<()> {
        self.stop(id, timeout_ms).await?;
        self.start(id).await
    }

    async fn pause(&self, id: MachineId, mode: PauseMode) -> Answer<()> {
        if let Some(error) = self.pause_refusal.lock().unwrap().take() {
            return Err(error);
        }
        if self
            .status(id)
            .is_none_or(|status| status.state != MachineState::Paused)
        {
            self.happen(id, MachineEvent::Pause)?;
        }
        if mode == PauseMode::Disk {
            self.set_on_disk(id, true);
        }
        Ok(())
    }

    async fn resume(&self, id: MachineId) -> Answer<()> {
        self.set_on_disk(id, false);
        self.happen(id, MachineEvent::Resume).map(drop)
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Answer<SnapshotInfo> {
        let SnapshotRequest {
            id, machine, memory, ..
        } = request;
        let _open = self.door.lock().await;
        if let Some(error) = self.snapshot_refusal.lock().unwrap().take() {
            return Err(error);
        }
        let status = self.status(machine).ok_or_else(|| NodeError::no_machine(machine))?;
        if memory && ![MachineState::Running, MachineState::Paused].contains(&status.state) {
            let word = status.state.word();
            let message = format!("machine {machine} is {word}: nothing is in its memory");
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        if status.state == MachineState::Pending {
            let message = format!("machine {machine} has no disk yet");
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        let mut snapshots = self.kept();
        if let Some(made) = snapshots.get(&id) {
            return Ok(made.clone());
        }
        let spec = self.spec(machine).ok_or_else(|| NodeError::no_machine(machine))?;
        let parts = snapshot_parts(&spec, memory)?;
        let word = |word: &str| if memory { word.to_owned() } else { String::new() };
        let info = SnapshotInfo {
            id,
            made_unix_ms: now_ms(),
            parents: spec.snapshot.into_iter().collect(),
            spec,
            vmm_version: word("1"),
            accelerator: word("fake"),
            cpu_features: Vec::new(),
            agent_version: "0".to_owned(),
            parts,
            paused_us: 1000,
            programs_held: memory,
        };
        snapshots.insert(id, info.clone());
        Ok(info)
    }

    async fn snapshots(&self) -> Answer<Vec<SnapshotInfo>> {
        Ok(self.kept().values().cloned().collect())
    }

    async fn remove_snapshot(&self, id: SnapshotId) -> Answer<()> {
        if let Some(error) = self.snapshot_removal_refusal.lock().unwrap().take() {
            return Err(error);
        }
        self.kept().remove(&id);
        Ok(())
    }

    async fn rollback(&self, id: MachineId, snapshot: SnapshotId) -> Answer<()> {
        self.known_snapshot(snapshot)?;
        if self.kept().get(&snapshot).is_some_and(|info| !info.has_memory()) {
            let message = format!("snapshot {snapshot} is of the disk alone");
            return Err(NodeError::new(ErrorKind::InvalidInput, message));
        }
        if self.status(id).is_some_and(|status| !status.state.is_at_rest()) {
            self.stop(id, None).await?;
        }
        self.start(id).await
    }

    async fn set_egress(&self, id: MachineId, rules: EgressRules) -> Answer<()> {
        let mut machines = self.lock();
        let machine = machines.get_mut(&id).ok_or_else(|| NodeError::no_machine(id))?;
        machine.spec.egress = rules;
        Ok(())
    }

    async fn claim(&self, spec: MachineSpec) -> Answer<()> {
        let id = spec.id;
        let waits = self.spec(id).is_some_and(|spec| spec.is_warm());
        if !waits
            || self
                .status(id)
                .is_none_or(|status| status.state != MachineState::Paused)
        {
            let message = format!("machine {id} does not wait for anybody");
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        if let Some(machine) = self.lock().get_mut(&id) {
            machine.spec = spec;
        }
        if let Some(error) = self.claim_refusal.lock().unwrap().take() {
            return Err(error);
        }
        self.happen(id, MachineEvent::Resume).map(drop)
    }

    async fn kill(&self, id: MachineId, signal: i32) -> Answer<()> {
        let paused = self
            .status(id)
            .is_some_and(|status| status.state == MachineState::Paused);
        if !(paused && signal == 9) {
            self.active(id)?;
        }
        self.inputs.lock().unwrap().push(Input::Signal(signal));
        if signal == 9 {
            self.end(id, MachineEvent::Exit(exited(137)))
        } else {
            Ok(())
        }
    }

    async fn remove(&self, id: MachineId, force: bool) -> Answer<()> {
        if let Some(error) = self.removal_refusal.lock().unwrap().take() {
            return Err(error);
        }
        let Some(status) = self.status(id) else { return Ok(()) };
        if force && !status.state.is_at_rest() && status.state != MachineState::Pending {
            self.stop(id, None).await?;
        }
        match self.happen(id, MachineEvent::Destroy) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    fn machines(&self) -> Vec<MachineSpec> {
        self.lock().values().map(|machine| machine.spec.clone()).collect()
    }

    fn spec(&self, id: MachineId) -> Option<MachineSpec> {
        self.lock().get(&id).map(|machine| machine.spec.clone())
    }

    fn status(&self, id: MachineId) -> Option<MachineStatus> {
        self.lock().get(&id).map(|machine| machine.status.borrow().clone())
    }

    fn access_token(&self, id: MachineId) -> Option<String> {
        self.spec(id).map(|spec| format!("access-{}", spec.id))
    }

    fn watch(&self, id: MachineId) -> Option<watch::Receiver<MachineStatus>> {
        self.lock().get(&id).map(|machine| machine.status.subscribe())
    }

    fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    fn books(&self) -> watch::Receiver<NodeBooks> {
        self.books.subscribe()
    }

    async fn logs(&self, id: MachineId, query: LogQuery) -> Answer<BoxStream<'static, Answer<LogChunk>>> {
        let all = self.output(id, query.follow)?;
        let Some(tail) = query.tail else { return Ok(all) };
        let chunks: Vec<_> = all.try_collect().await?;
        let skip = chunks.len().saturating_sub(usize::try_from(tail).unwrap());
        Ok(stream::iter(chunks.into_iter().skip(skip)).map(Ok).boxed())
    }

    async fn attach(&self, id: MachineId) -> Answer<Attachment> {
        let output = self.output(id, true)?;
        let (input, mut inputs) = mpsc::channel(8);
        let machine_output = self.lock().get(&id).map(|machine| machine.output.clone()).unwrap();
        // `cat`: what comes in goes out. The end of its input is for the test to see.
        tokio::spawn(async move {
            while let Some(input) = inputs.recv().await {
                let bytes = match input {
                    Input::Stdin(bytes) => bytes,
                    other => Bytes::from(format!("{other:?}\n")),
                };
                machine_output.send_modify(|chunks| {
                    let sequence = chunks.len() as u64;
                    chunks.push(LogChunk {
                        sequence,
                        unix_ns: 1,
                        stream: LogStream::Stdout,
                        bytes,
                    });
                });
            }
        });
        Ok(Attachment { output, input })
    }

    async fn exec(&self, id: MachineId, request: ExecRequest) -> Answer<ExecSession> {
        self.active(id)?;
        let (input, mut inputs) = mpsc::channel(8);
        let (events, output) = mpsc::channel(8);
        let code = self.exec_code.load(Ordering::Relaxed);
        tokio::spawn(async move {
            let _ = events.send(Ok(ExecEvent::Stdout(request.cmd.join(" ").into()))).await;
            let _ = events
                .send(Ok(ExecEvent::Stderr(format!("{:?}", request.env).into())))
                .await;
            // Without an input, there is nothing to wait for.
            while request.stdin
                && let Some(input) = inputs.recv().await
            {
                match input {
                    Input::CloseStdin => break,
                    Input::Stdin(bytes) => drop(events.send(Ok(ExecEvent::Stdout(bytes))).await),
                    Input::Resize(_) | Input::Signal(_) => {}
                }
            }
            let _ = events.send(Ok(ExecEvent::Exited(exited(code)))).await;
        });
        Ok(ExecSession {
            output: ReceiverStream::new(output).boxed(),
            input,
        })
    }

    async fn stats(&self, id: MachineId) -> Answer<MachineStats> {
        self.active(id)?;
        let _answers = self.agent.lock().await;
        Ok(MachineStats {
            at_unix_ms: now_ms(),
            cpu_usec: 5,
            guest: *self.guest.lock().unwrap(),
            ..MachineStats::default()
        })
    }

    async fn archive_get(&self, id: MachineId, path: String) -> Answer<(FileStat, BoxStream<'static, Answer<Bytes>>)> {
        self.active(id)?;
        let archive = self.archives.lock().unwrap().get(&path).cloned();
        let archive = archive.ok_or_else(|| NodeError::new(ErrorKind::NotFound, format!("there is no {path}")))?;
        let stat = FileStat {
            name: path,
            kind: EntryKind::File,
            size_bytes: archive.len() as u64,
            mode: 0o644,
            modified_unix_ms: 1_000,
            link_target: None,
        };
        Ok((stat, stream::iter([Ok(Bytes::from(archive))]).boxed()))
    }

    async fn archive_put(&self, id: MachineId, path: String, archive: BoxStream<'static, Answer<Bytes>>) -> Answer<()> {
        self.active(id)?;
        let chunks: Vec<Bytes> = archive.try_collect().await?;
        self.archives.lock().unwrap().insert(path, chunks.concat());
        Ok(())
    }

    async fn info(&self) -> Answer<NodeInfo> {
        let books = *self.books.borrow();
        Ok(NodeInfo {
            id: NodeId::new(),
            version: "0".into(),
            host_name: "host".into(),
            host_kernel: "6".into(),
            architecture: "x86_64".into(),
            capacity: books.capacity,
            overcommit: books.overcommit,
            allocation: books.allocation,
            machines: 0,
            machines_active: 0,
            default_driver: DriverKind::Fake,
            drivers: vec![DriverInfo {
                kind: DriverKind::Fake,
                guest: false,
                outlives: false,
                pause: true,
                snapshot: true,
                accelerated: false,
                unusable: None,
            }],
            agent_version: "0".into(),
        })
    }

    async fn doctor(&self) -> Vec<Check> {
        vec![Check {
            name: "kvm".into(),
            outcome: CheckOutcome::Warning,
            detail: "slow".into(),
            advice: None,
        }]
    }
}
