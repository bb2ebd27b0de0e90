//! The cases. Each starts machines of its own and leaves nothing.

use std::{path::Path, sync::Arc, time::Duration};

use hearth_conformance::{Outcome, Verdict, ensure};
use hearth_ids::SnapshotId;
use rustix::process::Signal;
use tokio::{task::JoinSet, time::timeout};

use super::{DEADLINE, Fixture, processes_of};
use crate::{Driver, DriverError, Liveness, SavedState, StartPlan, VmmExit, VmmHandle, chain, process::ProcessId};

#[derive(Debug, Clone, Copy)]
pub(super) enum Case {
    Life,
    Pausing,
    HandleOutlives,
    AnotherProcess,
    WrongStartTime,
    MissingKernel,
    MissingRoot,
    ExitIsSeen,
    CleanWithoutHandle,
    CleanOfNothing,
    CutOffStart,
    ManyAtOnce,
    PowerButton,
    Saving,
    DamagedSave,
}

pub(super) const ALL: [Case; 15] = [
    Case::Life,
    Case::Pausing,
    Case::HandleOutlives,
    Case::AnotherProcess,
    Case::WrongStartTime,
    Case::MissingKernel,
    Case::MissingRoot,
    Case::ExitIsSeen,
    Case::CleanWithoutHandle,
    Case::CleanOfNothing,
    Case::CutOffStart,
    Case::ManyAtOnce,
    Case::PowerButton,
    Case::Saving,
    Case::DamagedSave,
];

type D<'a> = &'a Arc<dyn Driver>;
type F<'a> = &'a dyn Fixture;

impl Case {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Life => "a machine starts, lives, is killed and leaves nothing",
            Self::Pausing => "pause and resume work and may be repeated",
            Self::HandleOutlives => "a handle that was written and read finds its VMM",
            Self::AnotherProcess => "another process recovers, pauses, awaits and kills a VMM",
            Self::WrongStartTime => "a handle with another start time harms nobody",
            Self::MissingKernel => "a start without its kernel names the file",
            Self::MissingRoot => "a start without its root names the file",
            Self::ExitIsSeen => "a VMM killed from outside is seen to end",
            Self::CleanWithoutHandle => "clean ends a running VMM without its handle, and may be repeated",
            Self::CleanOfNothing => "clean of a machine that never was does nothing",
            Self::CutOffStart => "a start that is cut off leaves nothing that clean does not find",
            Self::ManyAtOnce => "eight machines at once keep apart",
            Self::PowerButton => "a guest that listens ends by its power button",
            Self::Saving => "a machine that was saved goes on, and others go on from there",
            Self::DamagedSave => "what was saved and then damaged starts nothing",
        }
    }
}

pub(super) async fn run(case: Case, driver: D<'_>, fixture: F<'_>) -> Verdict {
    match case {
        Case::Life => life(driver, fixture).await,
        Case::Pausing => pausing(driver, fixture).await,
        Case::HandleOutlives => handle_outlives(driver, fixture).await,
        Case::AnotherProcess => another_process(driver, fixture).await,
        Case::WrongStartTime => wrong_start_time(driver, fixture).await,
        Case::MissingKernel => missing_kernel(driver, fixture).await,
        Case::MissingRoot => missing_root(driver, fixture).await,
        Case::ExitIsSeen => exit_is_seen(driver, fixture).await,
        Case::CleanWithoutHandle => clean_without_handle(driver, fixture).await,
        Case::CleanOfNothing => clean_of_nothing(driver, fixture).await,
        Case::CutOffStart => cut_off_start(driver, fixture).await,
        Case::ManyAtOnce => many_at_once(driver, fixture).await,
        Case::PowerButton => power_button(driver, fixture).await,
        Case::Saving => saving(driver, fixture).await,
        Case::DamagedSave => damaged_save(driver, fixture).await,
    }
}

async fn life(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    ensure(
        handle.machine == plan.machine && handle.driver == driver.kind(),
        "the handle is another's",
    )?;
    expect(driver, &handle, Liveness::Alive).await?;
    if let Some(text) = fixture.ready_text() {
        let before = said(&**driver, &plan.folder, text).await?;
        let grew = async {
            while driver.console_tail(&plan.folder, 1 << 20).await.len() <= before.len() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(grew, "the console grows").await?;
        ensure(
            driver.console_tail(&plan.folder, 10).await.len() == 10,
            "a tail of 10 bytes has not 10 bytes",
        )?;
    }
    let waiting = wait_in_background(driver, &handle);
    did(driver.kill(&handle).await, "kill")?;
    within(waiting, "wait resolves after kill")
        .await?
        .map_err(|e| Outcome::Failed(e.to_string()))?;
    expect(driver, &handle, Liveness::Gone).await?;
    did(driver.kill(&handle).await, "kill a second time")?;
    within(driver.wait(&handle), "wait for one that is gone").await?;
    cleaned(driver, &plan).await
}

async fn pausing(driver: D<'_>, fixture: F<'_>) -> Verdict {
    if !driver.capabilities().pause {
        return Err(Outcome::Skipped("the driver cannot pause".into()));
    }
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    for _ in 0..2 {
        did(driver.pause(&handle).await, "pause")?;
        did(driver.pause(&handle).await, "pause a second time")?;
        expect(driver, &handle, Liveness::Alive).await?;
        did(driver.resume(&handle).await, "resume")?;
        did(driver.resume(&handle).await, "resume a second time")?;
    }
    if let Some(text) = fixture.ready_text() {
        said(&**driver, &plan.folder, text).await?;
        did(driver.pause(&handle).await, "pause")?;
        // What was on its way when the vCPUs stopped arrives first.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = driver.console_tail(&plan.folder, 1 << 20).await.len();
        tokio::time::sleep(Duration::from_millis(500)).await;
        ensure(
            driver.console_tail(&plan.folder, 1 << 20).await.len() == before,
            "a paused guest goes on talking",
        )?;
    }
    did(driver.pause(&handle).await, "pause")?;
    did(driver.kill(&handle).await, "kill a paused one")?;
    let refused = driver.pause(&handle).await.is_err() && driver.resume(&handle).await.is_err();
    ensure(refused, "one that is gone can be paused or resumed")?;
    cleaned(driver, &plan).await
}

async fn handle_outlives(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    let written = serde_json::to_string(&handle).map_err(|e| Outcome::Failed(e.to_string()))?;
    let read: VmmHandle = serde_json::from_str(&written).map_err(|e| Outcome::Failed(e.to_string()))?;
    ensure(read == handle, "the handle changes on its way through JSON")?;
    expect(driver, &read, Liveness::Alive).await?;
    did(driver.kill(&read).await, "kill")?;
    expect(driver, &handle, Liveness::Gone).await?;
    cleaned(driver, &plan).await
}

async fn another_process(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let Some(another) = fixture.another().filter(|_| driver.capabilities().outlives) else {
        return Err(Outcome::Skipped(
            "VMMs of this driver do not outlive their process".into(),
        ));
    };
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    expect(&another, &handle, Liveness::Alive).await?;
    if another.capabilities().pause {
        did(another.pause(&handle).await, "pause")?;
        did(another.resume(&handle).await, "resume")?;
    }
    let waiting = wait_in_background(&another, &handle);
    did(another.kill(&handle).await, "kill")?;
    within(waiting, "wait resolves after kill")
        .await?
        .map_err(|e| Outcome::Failed(e.to_string()))?;
    expect(driver, &handle, Liveness::Gone).await?;
    cleaned(&another, &plan).await
}

async fn wrong_start_time(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    let namesake = VmmHandle {
        start_ticks: handle.start_ticks + 1,
        ..handle.clone()
    };
    // This very process, which would not live to tell.
    let ourselves = VmmHandle {
        pid: std::process::id(),
        start_ticks: 1,
        ..handle.clone()
    };
    for stranger in [&namesake, &ourselves] {
        expect(driver, stranger, Liveness::Gone).await?;
        did(driver.kill(stranger).await, "kill one that is gone")?;
        within(driver.wait(stranger), "wait for one that is gone").await?;
    }
    expect(driver, &handle, Liveness::Alive).await?;
    if let Some(text) = fixture.ready_text() {
        // Whatever carries the console lives as well.
        said(&**driver, &plan.folder, text).await?;
    }
    cleaned(driver, &plan).await?;
    expect(driver, &handle, Liveness::Gone).await
}

async fn missing_kernel(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let mut plan = fixture.plan();
    plan.kernel.bzimage = "/nonexistent/kernel".into();
    plan.kernel.vmlinux = "/nonexistent/kernel".into();
    refused(driver, &plan, "/nonexistent/kernel").await
}

async fn missing_root(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let mut plan = fixture.plan();
    plan.root = "/nonexistent/root".into();
    refused(driver, &plan, "/nonexistent/root").await
}

async fn refused(driver: D<'_>, plan: &StartPlan, name: &str) -> Verdict {
    if !driver.capabilities().guest {
        return Err(Outcome::Skipped("the driver reads no files".into()));
    }
    match within(driver.start(plan), "start").await? {
        Ok(_) => return Err(Outcome::Failed("it started".into())),
        Err(error) => ensure(
            chain(&error).contains(name),
            format!("{name} is not in: {}", chain(&error)),
        )?,
    }
    ensure(processes_of(plan.machine).is_empty(), "a failed start left a process")?;
    cleaned(driver, plan).await
}

async fn exit_is_seen(driver: D<'_>, fixture: F<'_>) -> Verdict {
    if !driver.capabilities().outlives {
        return Err(Outcome::Skipped("VMMs of this driver are no processes".into()));
    }
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    let waiting = wait_in_background(driver, &handle);
    let killed = ProcessId {
        pid: handle.pid,
        start_ticks: handle.start_ticks,
    }
    .signal(Signal::KILL);
    ensure(matches!(killed, Ok(true)), "the handle's process cannot be killed")?;
    let exit: VmmExit = within(waiting, "wait resolves")
        .await?
        .map_err(|e| Outcome::Failed(e.to_string()))?;
    ensure(
        exit.signal.is_none_or(|signal| signal == 9),
        format!("SIGKILL was seen as {exit:?}"),
    )?;
    expect(driver, &handle, Liveness::Gone).await?;
    cleaned(driver, &plan).await
}

async fn clean_without_handle(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    cleaned(driver, &plan).await?;
    expect(driver, &handle, Liveness::Gone).await?;
    cleaned(driver, &plan).await
}

async fn clean_of_nothing(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let plan = fixture.plan();
    cleaned(driver, &plan).await?;
    // With another's pid where one of ours would be: nobody is harmed.
    if std::fs::create_dir_all(&plan.folder).is_ok() {
        let own = ProcessId::own().map_err(|e| Outcome::Failed(e.to_string()))?;
        let _ = std::os::unix::fs::chown(&plan.folder, Some(plan.user.uid), Some(plan.user.gid));
        let _ = own.write_file(&crate::launch::pid_file(&plan.folder));
    }
    cleaned(driver, &plan).await
}

async fn cut_off_start(driver: D<'_>, fixture: F<'_>) -> Verdict {
    for delay_ms in [0, 1, 3, 10, 30, 80] {
        let plan = fixture.plan();
        let _ = timeout(Duration::from_millis(delay_ms), driver.start(&plan)).await;
        cleaned(driver, &plan).await?;
    }
    Ok(())
}

async fn many_at_once(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let mut starts = JoinSet::new();
    for _ in 0..8 {
        let (driver, plan) = (Arc::clone(driver), fixture.plan());
        starts.spawn(async move { (driver.start(&plan).await, plan) });
    }
    let mut machines = Vec::new();
    while let Some(joined) = within(starts.join_next(), "start eight").await? {
        let (handle, plan) = joined.map_err(|e| Outcome::Failed(e.to_string()))?;
        machines.push((did(handle, "start one of eight")?, plan));
    }
    while let Some((handle, plan)) = machines.pop() {
        expect(driver, &handle, Liveness::Alive).await?;
        did(driver.kill(&handle).await, "kill one of eight")?;
        expect(driver, &handle, Liveness::Gone).await?;
        cleaned(driver, &plan).await?;
        for (other, _) in &machines {
            expect(driver, other, Liveness::Alive).await?;
        }
    }
    Ok(())
}

async fn power_button(driver: D<'_>, fixture: F<'_>) -> Verdict {
    if driver.capabilities().guest && fixture.ready_text().is_none() {
        return Err(Outcome::Skipped("no guest comes up to listen".into()));
    }
    let plan = fixture.plan();
    let handle = started(driver, &plan).await?;
    if let Some(text) = fixture.ready_text() {
        said(&**driver, &plan.folder, text).await?;
    }
    did(driver.press_power_button(&handle).await, "press the power button")?;
    within(driver.wait(&handle), "end by the power button").await?;
    cleaned(driver, &plan).await
}

async fn saving(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let source = fixture.plan();
    let saved = saved(driver, fixture, &source).await?;
    let mut plans = vec![source];
    for _ in 0..2 {
        let plan = fixture.plan();
        give(&saved, &plan)?;
        let handle = did(within(driver.restore(&plan, &saved), "restore").await?, "restore")?;
        expect(driver, &handle, Liveness::Alive).await?;
        let quiet = driver.console_tail(&plan.folder, 1 << 20).await;
        did(driver.resume(&handle).await, "resume what was restored")?;
        plans.push(plan);
        let talking = async {
            while driver.console_tail(&plans[plans.len() - 1].folder, 1 << 20).await.len() <= quiet.len() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if fixture.ready_text().is_some() {
            within(talking, "go on where the saved one stood").await?;
        }
    }
    for plan in &plans {
        cleaned(driver, plan).await?;
    }
    forget(&saved);
    Ok(())
}

async fn damaged_save(driver: D<'_>, fixture: F<'_>) -> Verdict {
    let source = fixture.plan();
    let saved = saved(driver, fixture, &source).await?;
    cleaned(driver, &source).await?;
    for path in [&saved.memory, &saved.devices] {
        let whole = std::fs::read(path).map_err(|e| Outcome::Failed(e.to_string()))?;
        let plan = fixture.plan();
        let written = std::fs::write(path, &whole[..whole.len() / 2]);
        written.map_err(|e| Outcome::Failed(e.to_string()))?;
        give(&saved, &plan)?;
        let restored = within(driver.restore(&plan, &saved), "restore").await?;
        ensure(
            restored.is_err(),
            format!("it goes on without half of {}", path.display()),
        )?;
        ensure(processes_of(plan.machine).is_empty(), "a failed restore left a process")?;
        cleaned(driver, &plan).await?;
        std::fs::write(path, whole).map_err(|e| Outcome::Failed(e.to_string()))?;
    }
    forget(&saved);
    Ok(())
}

/// Starts a machine and saves it, and sees it go on.
async fn saved(driver: D<'_>, fixture: F<'_>, plan: &StartPlan) -> Result<SavedState, Outcome> {
    if !driver.capabilities().snapshot {
        return Err(Outcome::Skipped("the driver cannot save".into()));
    }
    let handle = started(driver, plan).await?;
    if let Some(text) = fixture.ready_text() {
        said(&**driver, &plan.folder, text).await?;
    }
    // Without the machine's ID in it: those that go on from there name it in their arguments.
    let folder = std::env::temp_dir().join(format!("hearth-saved-{}", SnapshotId::new()));
    std::fs::create_dir_all(&folder).map_err(|e| Outcome::Failed(e.to_string()))?;
    let early = within(driver.save(&handle, &folder), "refuse to save what runs").await?;
    ensure(early.is_err(), "it saved a machine whose vCPUs run")?;
    did(driver.pause(&handle).await, "pause")?;
    let saved = did(within(driver.save(&handle, &folder), "save").await?, "save")?;
    let now = did(driver.identity().await, "tell its identity")?;
    ensure(
        now == saved.identity,
        format!("saved by {:?}, but is {now:?}", saved.identity),
    )?;
    did(driver.resume(&handle).await, "go on after a save")?;
    expect(driver, &handle, Liveness::Alive).await?;
    if fixture.ready_text().is_some() {
        ensure(saved.memory_bytes > 1 << 20, "next to nothing of the memory was saved")?;
    }
    Ok(SavedState::in_folder(&folder))
}

/// Makes what was saved another machine's.
fn give(saved: &SavedState, plan: &StartPlan) -> Verdict {
    let given = std::os::unix::fs::chown(&saved.memory, Some(plan.user.uid), Some(plan.user.gid));
    given.map_err(|e| Outcome::Failed(format!("cannot give the memory away: {e}")))
}

fn forget(saved: &SavedState) {
    if let Some(folder) = saved.memory.parent() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

async fn started(driver: D<'_>, plan: &StartPlan) -> Result<VmmHandle, Outcome> {
    did(within(driver.start(plan), "start").await?, "start")
}

/// Cleans, and looks that nothing is left.
async fn cleaned(driver: D<'_>, plan: &StartPlan) -> Verdict {
    did(
        within(driver.clean(plan.machine, &plan.folder), "clean").await?,
        "clean",
    )?;
    let left = processes_of(plan.machine);
    ensure(left.is_empty(), format!("clean left the processes {left:?}"))?;
    let files = std::fs::read_dir(&plan.folder).map_or(0, Iterator::count);
    ensure(
        files == 0,
        format!("clean left {files} files in {}", plan.folder.display()),
    )
}

async fn expect(driver: D<'_>, handle: &VmmHandle, wanted: Liveness) -> Verdict {
    let found = did(driver.recover(handle).await, "recover")?;
    ensure(found == wanted, format!("recover says {found:?}, not {wanted:?}"))
}

fn wait_in_background(driver: D<'_>, handle: &VmmHandle) -> tokio::task::JoinHandle<VmmExit> {
    let (driver, handle) = (Arc::clone(driver), handle.clone());
    tokio::spawn(async move { driver.wait(&handle).await })
}

async fn said(driver: &dyn Driver, folder: &Path, text: &str) -> Result<Vec<u8>, Outcome> {
    let listen = async {
        loop {
            let console = driver.console_tail(folder, 1 << 20).await;
            if String::from_utf8_lossy(&console).contains(text) {
                return console;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if let Ok(console) = timeout(DEADLINE, listen).await {
        return Ok(console);
    }
    let console = driver.console_tail(folder, 2000).await;
    Err(Outcome::Failed(format!(
        "never said {text:?}, but: {}",
        String::from_utf8_lossy(&console)
    )))
}

async fn within<T>(future: impl Future<Output = T>, what: &str) -> Result<T, Outcome> {
    timeout(DEADLINE, future)
        .await
        .map_err(|_| Outcome::Failed(format!("not within its deadline: {what}")))
}

fn did<T>(result: Result<T, DriverError>, what: &str) -> Result<T, Outcome> {
    result.map_err(|error| Outcome::Failed(format!("{what}: {}", chain(&error))))
}
