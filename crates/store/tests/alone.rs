//! Calls that run alone: one at a time, and projects take turns.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use hearth_domain::Quotas;
use hearth_ids::{FunctionId, InvocationId, ProjectId};
use hearth_store::{
    InvocationRow, InvocationSource, InvocationState, NewInvocation, ProjectRow, RequestHead, Resumed, Store,
};

const MINUTE_MS: u64 = 60_000;

struct Fixture {
    store: Store,
    _folder: tempfile::TempDir,
}

/// A project's function.
#[derive(Clone, Copy)]
struct Of {
    project: ProjectId,
    function: FunctionId,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hearth.db")).await.unwrap();
        Self { store, _folder: folder }
    }

    async fn function(&self, name: &str) -> Of {
        let project = ProjectRow {
            id: ProjectId::new(),
            name: name.parse().unwrap(),
            quotas: Quotas::default(),
            snapshots_max: None,
            created_unix_ms: 1,
        };
        self.store.insert_project(&project).await.unwrap();
        Of {
            project: project.id,
            function: FunctionId::new(),
        }
    }

    async fn keep(&self, of: Of, due_unix_ms: u64) -> InvocationId {
        let call = NewInvocation {
            id: InvocationId::new(),
            project: of.project,
            function: of.function,
            qualifier: None,
            key: None,
            fingerprint: String::new(),
            source: InvocationSource::Http,
            head: RequestHead::default(),
            body: Vec::new(),
            due_unix_ms,
            created_unix_ms: 1,
        };
        self.store.keep_invocations(std::slice::from_ref(&call)).await.unwrap();
        call.id
    }

    /// Has calls run when the process dies, of which each is to run alone then, from `due_unix_ms` on.
    async fn cut_off(&self, calls: &[(Of, u64)]) {
        for (of, _) in calls {
            self.keep(*of, 1).await;
        }
        self.store.take_invocations(1, 99, 99, 99).await.unwrap();
        let running = self.store.running_invocations().await.unwrap();
        let resumed: Vec<_> = running
            .iter()
            .map(|call| Resumed {
                id: call.id,
                state: InvocationState::Queued,
                attempts: call.attempts,
                alone: true,
                due_unix_ms: calls.iter().find(|(of, _)| of.project == call.project).unwrap().1,
                finished_unix_ms: None,
                error: "cut off".into(),
            })
            .collect();
        self.store.resume_invocations(&resumed).await.unwrap();
    }

    /// Takes the call that may run alone, and lets it end after so long.
    async fn run_one(&self, now: &mut u64, per_project: u32, took_ms: impl Fn(ProjectId) -> u64) -> ProjectId {
        let taken = self.store.take_invocations(*now, 99, 99, per_project).await.unwrap();
        let [call] = &taken[..] else { panic!("{taken:?}") };
        assert!(call.alone);
        let from = *now;
        *now += took_ms(call.project);
        self.store.ran_alone(call.project, from, *now).await.unwrap();
        self.end(call, *now).await;
        call.project
    }

    async fn end(&self, call: &InvocationRow, now: u64) {
        let dead = Resumed {
            id: call.id,
            state: InvocationState::Dead,
            attempts: call.attempts,
            alone: true,
            due_unix_ms: now,
            finished_unix_ms: Some(now),
            error: String::new(),
        };
        self.store.resume_invocations(&[dead]).await.unwrap();
    }
}

#[tokio::test]
async fn a_project_with_long_calls_lets_others_go_first() {
    let f = Fixture::new().await;
    let (long, short) = (f.function("long").await, f.function("short").await);
    f.cut_off(&[
        (long, 10),
        (long, 10),
        (long, 10),
        (short, 11),
        (short, 11),
        (short, 11),
    ])
    .await;
    let took = |project| {
        if project == long.project {
            15 * MINUTE_MS
        } else {
            MINUTE_MS
        }
    };
    let (mut now, mut order) = (MINUTE_MS, Vec::new());
    for _ in 0..6 {
        order.push(f.run_one(&mut now, 99, took).await);
    }
    let (l, s) = (long.project, short.project);
    assert_eq!(order, [l, s, s, s, l, l]);
}

#[tokio::test]
async fn projects_whose_calls_kill_take_turns_too() {
    let f = Fixture::new().await;
    let (one, other) = (f.function("one").await, f.function("other").await);
    f.cut_off(&[(one, 10), (one, 10), (other, 11), (other, 11)]).await;
    let mut order = Vec::new();
    for death in 1..5 {
        let taken = f.store.take_invocations(death * 500, 99, 99, 99).await.unwrap();
        order.push(taken[0].project);
        f.end(&taken[0], death * 500).await;
    }
    let (a, b) = (one.project, other.project);
    assert_eq!(order, [a, b, a, b]);
}

#[tokio::test]
async fn one_at_its_limit_keeps_no_other_from_running() {
    for (per_function, per_project) in [(2, 99), (99, 2)] {
        let f = Fixture::new().await;
        let (busy, other) = (f.function("busy").await, f.function("other").await);
        f.cut_off(&[(busy, 30), (other, 31)]).await;
        f.keep(busy, 2).await;
        f.keep(busy, 2).await;
        let take = async |now| f.store.take_invocations(now, 99, per_function, per_project).await;
        assert_eq!(take(2).await.unwrap().len(), 2);
        let taken = take(40).await.unwrap();
        assert!(taken.len() == 1 && taken[0].project == other.project, "{taken:?}");
    }
}

#[tokio::test]
async fn one_is_not_kept_waiting_by_calls_of_its_own_that_wait_longer() {
    let f = Fixture::new().await;
    let (busy, other) = (f.function("busy").await, f.function("other").await);
    f.cut_off(&[(busy, 30)]).await;
    for _ in 0..3 {
        f.keep(busy, 20).await;
    }
    f.keep(other, 10).await;
    let taken = f.store.take_invocations(40, 1, 2, 2).await.unwrap();
    assert!(taken.len() == 1 && taken[0].alone, "{taken:?}");
}
