//! Programs that are held: for a snapshot, in what was restored, and what may happen meanwhile.

use std::time::Duration;

use hearth_guest_api::GuestClient;
use hearth_guest_api::client::{ExecEvent, ExecRequest, ExecSession};
use hearth_guest_api::connect::Code;
use hearth_guest_api::guest::record::{Body, Exited};
use hearth_guest_api::guest::{InitRequest, ShutdownRequest, Workload};

use crate::rig::{Groups, Guest, ID, LIMIT, eventually, restore};

/// Long enough for a program that runs to show it.
const MOMENT: Duration = Duration::from_millis(200);
const OTHER_ID: &str = "fedcba9876543210fedcba9876543210";

fn counting(file: &str) -> String {
    format!("while :; do echo >>{file}; sleep 0.01; done")
}

/// Ends with the agent, which holds the other end of its input, also where no group ends it.
fn counting_workload(guest: &Guest) -> InitRequest {
    workload(guest, &format!("{} & cat; kill $!", counting("count")))
}

fn shell(guest: &Guest, script: &str) -> Vec<String> {
    let root = guest.path("");
    ["sh", "-c", &format!("cd {}; {script}", root.display())]
        .map(str::to_owned)
        .into()
}

fn workload(guest: &Guest, script: &str) -> InitRequest {
    InitRequest {
        workload: Some(Workload {
            args: shell(guest, script),
            stdin: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn exec(guest: &Guest, client: &GuestClient, script: &str) -> ExecSession {
    let request = ExecRequest {
        cmd: "/bin/sh".into(),
        args: shell(guest, script).split_off(1),
        ..Default::default()
    };
    client.exec(request).await.unwrap()
}

#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn end_of(session: &mut ExecSession) -> ExecEvent {
    loop {
        let event = tokio::time::timeout(LIMIT, session.next()).await.unwrap();
        if let exited @ ExecEvent::Exited { .. } = event.unwrap().unwrap() {
            return exited;
        }
    }
}

/// The workload's end, from the records.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn workload_end(client: &GuestClient) -> Exited {
    let mut records = client.follow(0).await.unwrap();
    loop {
        let record = tokio::time::timeout(LIMIT, records.next()).await.unwrap();
        if let Some(Body::Exited(exited)) = record.unwrap().unwrap().body {
            return exited;
        }
    }
}

/// A copy whose programs stand still once it has been told who it is.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
fn restore_held() -> InitRequest {
    let mut request = restore(true);
    request.restore.as_mut().unwrap().hold = true;
    request
}

/// What such a copy is told later.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
fn restore_again() -> InitRequest {
    let mut request = restore(true);
    request.restore.as_mut().unwrap().machine_id = OTHER_ID.into();
    request
}

/// A guest whose workload counts in a file.
struct Counting(Guest);

impl Counting {
    #[expect(clippy::unwrap_used, reason = "a test's helper")]
    async fn start(groups: Option<Groups>) -> Self {
        let guest = Guest::start_in(groups).await;
        guest.client.init(counting_workload(&guest)).await.unwrap();
        Self(guest)
    }

    fn count(&self, file: &str) -> usize {
        self.0.read(file).len()
    }

    async fn goes_on(&self, file: &str) {
        let before = self.count(file);
        eventually("it counts", || self.count(file) > before).await;
    }

    async fn stands(&self, file: &str) {
        let before = self.count(file);
        tokio::time::sleep(MOMENT).await;
        assert_eq!(self.count(file), before, "it counts on");
    }
}

#[tokio::test]
async fn all_programs_stand_still_until_they_are_released() {
    let Some(groups) = Groups::new() else { return };
    let counting_guest = Counting::start(Some(groups)).await;
    let guest = &counting_guest.0;
    let _beside = exec(guest, &guest.client, &counting("beside")).await;
    let left_running = format!("({}) >&- 2>&- &", counting("hook"));
    guest.script("etc/hearth/before-snapshot.d/1", &left_running);
    for _ in 0..2 {
        counting_guest.goes_on("count").await;
        counting_guest.goes_on("beside").await;
        assert!(guest.client.prepare_snapshot(true).await.unwrap());
        counting_guest.stands("count").await;
        counting_guest.stands("beside").await;
        counting_guest.goes_on("hook").await;
        for _ in 0..2 {
            guest.client.release_programs().await.unwrap();
        }
    }
    counting_guest.goes_on("count").await;
    counting_guest.goes_on("beside").await;
    assert!(!guest.client.prepare_snapshot(false).await.unwrap());
    counting_guest.goes_on("count").await;
    let stranger = guest.client("stranger").release_programs().await.unwrap_err();
    assert_eq!(stranger.code(), Some(Code::Unauthenticated));
}

#[tokio::test]
async fn a_copy_goes_on_as_another_machine_and_its_hooks_find_it_running() {
    let Some(groups) = Groups::new() else { return };
    let counting = Counting::start(Some(groups)).await;
    let guest = &counting.0;
    guest.write("etc/machine-id", "f00d\n", 0o444);
    let script = "size() { wc -c <count; }; old=$(size); for i in $(seq 500); do \
                  if [ $(size) -gt $old ]; then cat etc/machine-id >told; break; fi; sleep 0.01; done";
    guest.script("etc/hearth/after-restore.d/1", script);
    assert!(guest.client.prepare_snapshot(true).await.unwrap());
    assert!(!guest.client.init(restore(true)).await.unwrap().held);
    assert_eq!(guest.read("told"), format!("{ID}\n"));
    counting.goes_on("count").await;
}

#[tokio::test]
async fn a_copy_is_held_until_it_is_told_once_more_who_it_is() {
    let Some(groups) = Groups::new() else { return };
    let counting = Counting::start(Some(groups)).await;
    let guest = &counting.0;
    guest.write("etc/machine-id", "f00d\n", 0o444);
    guest.script("etc/hearth/after-restore.d/1", "echo $HEARTH_RESTORED_COPY >>told");
    assert!(guest.client.prepare_snapshot(true).await.unwrap());

    let told = guest.client.init(restore_held()).await.unwrap();
    assert!(told.held);
    assert_eq!(guest.read("etc/machine-id"), format!("{ID}\n"));
    let generation = guest.read("run/hearth/generation");
    counting.stands("count").await;
    assert!(!guest.path("told").exists());
    let refused = guest.client.metrics().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated));

    // Nobody makes a snapshot of what is not yet anybody's; and an Init that is no restore lets nothing go on.
    let waiting = guest.client("copy");
    let refused = waiting.prepare_snapshot(true).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::FailedPrecondition), "{refused}");
    waiting.init(InitRequest::default()).await.unwrap();
    counting.stands("count").await;

    let mut again = restore_again();
    again.tokens.as_mut().unwrap().host = "second".into();
    assert!(!waiting.init(again).await.unwrap().held);
    assert_eq!(guest.read("etc/machine-id"), format!("{OTHER_ID}\n"));
    assert_ne!(guest.read("run/hearth/generation"), generation);
    assert_eq!(guest.read("told"), "1\n");
    counting.goes_on("count").await;
    let refused = waiting.metrics().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated));
    let given_out = guest.client("second");
    assert!(given_out.prepare_snapshot(true).await.unwrap());
    given_out.release_programs().await.unwrap();
}

#[tokio::test]
async fn what_ran_at_the_snapshot_can_be_held_in_the_copy() {
    let Some(groups) = Groups::new() else { return };
    let counting = Counting::start(Some(groups)).await;
    assert!(counting.0.client.init(restore_held()).await.unwrap().held);
    counting.stands("count").await;
    counting.0.client("copy").release_programs().await.unwrap();
    counting.goes_on("count").await;
}

#[tokio::test]
async fn a_template_that_nobody_used_starts_its_workload_once_it_is_given_out() {
    let Some(groups) = Groups::new() else { return };
    let counting_guest = Counting(Guest::start_in(Some(groups)).await);
    let guest = &counting_guest.0;
    guest.script("etc/hearth/after-restore.d/1", "echo >told");
    let with_workload = |request: InitRequest| InitRequest {
        workload: counting_workload(guest).workload,
        ..request
    };
    let told = guest.client("no token yet").init(with_workload(restore_held())).await;
    let told = told.unwrap();
    assert!(told.held && !told.started);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(counting_guest.count("count"), 0);
    let told = guest.client("copy").init(with_workload(restore_again())).await.unwrap();
    assert!(told.started && !told.held);
    counting_guest.goes_on("count").await;
    assert!(!guest.path("told").exists(), "no program has seen another machine");
}

#[tokio::test]
async fn programs_can_be_killed_while_they_are_held() {
    let Some(groups) = Groups::new() else { return };
    let counting_guest = Counting::start(Some(groups)).await;
    let guest = &counting_guest.0;
    let mut beside = exec(guest, &guest.client, &counting("beside")).await;
    assert!(guest.client.prepare_snapshot(true).await.unwrap());
    beside.input().signal(9).await.unwrap();
    let killed = ExecEvent::Exited {
        code: 137,
        signal: Some(9),
    };
    assert_eq!(end_of(&mut beside).await, killed);
    // Taken when it goes on.
    guest.client.workload_signal(15).await.unwrap();
    counting_guest.stands("count").await;
    guest.client.release_programs().await.unwrap();
    assert_eq!(workload_end(&guest.client).await.signal, 15);
}

#[tokio::test]
async fn a_workload_that_is_stopped_while_it_is_held_can_say_goodbye() {
    let Some(groups) = Groups::new() else { return };
    let guest = Guest::start_in(Some(groups)).await;
    let script = "trap 'echo >said; exit 0' TERM; echo >ready; while :; do sleep 0.01; done";
    guest.client.init(workload(&guest, script)).await.unwrap();
    eventually("it is ready", || guest.path("ready").exists()).await;
    assert!(guest.client.prepare_snapshot(true).await.unwrap());
    let request = ShutdownRequest {
        timeout_ms: 10_000,
        ..Default::default()
    };
    assert!(!guest.client.shutdown(request).await.unwrap().killed);
    assert!(guest.path("said").exists());
}

#[tokio::test]
async fn what_is_started_while_programs_are_held_begins_when_they_go_on() {
    let Some(groups) = Groups::new() else { return };
    let counting = Counting::start(Some(groups)).await;
    let guest = &counting.0;
    assert!(guest.client.prepare_snapshot(true).await.unwrap());
    let (mut started, early) = tokio::join!(exec(guest, &guest.client, "echo >ran"), async {
        tokio::time::sleep(MOMENT).await;
        // The agent does everything else meanwhile.
        guest.client.metrics().await.unwrap();
        let early = guest.path("ran").exists();
        guest.client.release_programs().await.unwrap();
        early
    });
    assert!(!early);
    assert_eq!(end_of(&mut started).await, ExecEvent::Exited { code: 0, signal: None });
    assert!(guest.path("ran").exists());
}

#[tokio::test]
async fn a_snapshot_waits_until_another_is_over() {
    let Some(groups) = Groups::new() else { return };
    let counting = Counting::start(Some(groups)).await;
    let guest = &counting.0;
    assert!(guest.client.prepare_snapshot(true).await.unwrap());
    guest.script("etc/hearth/before-snapshot.d/1", "echo >prepared");
    let other = guest.client("source");
    let other = tokio::spawn(async move { other.prepare_snapshot(true).await });
    tokio::time::sleep(MOMENT).await;
    assert!(!other.is_finished() && !guest.path("prepared").exists());
    guest.client.release_programs().await.unwrap();
    assert!(tokio::time::timeout(LIMIT, other).await.unwrap().unwrap().unwrap());
    assert!(guest.path("prepared").exists());
    counting.stands("count").await;
}

#[tokio::test]
async fn without_control_groups_programs_run_on_and_all_else_is_as_well() {
    let counting = Counting::start(None).await;
    let guest = &counting.0;
    guest.script("etc/hearth/after-restore.d/1", "echo >>told");
    assert!(!guest.client.prepare_snapshot(true).await.unwrap());
    counting.goes_on("count").await;
    guest.client.release_programs().await.unwrap();
    assert!(!guest.client.init(restore_held()).await.unwrap().held);
    counting.goes_on("count").await;
    assert!(!guest.path("told").exists());
    guest.client("copy").init(restore_again()).await.unwrap();
    assert_eq!(guest.read("told"), "\n");
    counting.goes_on("count").await;
    // No group ends it, so it ends before its folder does.
    guest.client("copy").close_stdin().await.unwrap();
    workload_end(&guest.client("copy")).await;
}
