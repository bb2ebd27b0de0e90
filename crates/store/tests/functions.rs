//! Functions and kept calls, on a real database.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use hearth_domain::{
    Contract, FunctionSpec, Quotas, Resources, ScaleRule, Traffic, TrafficShare, VersionSpec, Workload,
};
use hearth_ids::{FunctionId, InvocationId, MachineId, ProjectId, TriggerId};
use hearth_store::{
    FunctionError, InvocationRow, InvocationSource, InvocationState, Kept, LIVE, LambdaFacts, NewInvocation, Outcome,
    RUNS_AGE_MAX_MS, RUNS_PER_FUNCTION, RequestHead, Resumed, RunRow, Store, TriggerRow,
};

struct Fixture {
    store: Store,
    _folder: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("hearth.db")).await.unwrap();
    Fixture { store, _folder: folder }
}

fn function(name: &str) -> FunctionSpec {
    FunctionSpec {
        id: FunctionId::new(),
        project: ProjectId::DEFAULT,
        name: name.parse().unwrap(),
        public: false,
        scale: ScaleRule {
            min: 0,
            max: 3,
            concurrency: 1,
            idle_ms: 1000,
        },
    }
}

fn version(function: FunctionId) -> VersionSpec {
    VersionSpec {
        function,
        number: 0,
        image: "web".into(),
        image_id: "sha256:11".into(),
        layers: Vec::new(),
        runtime: None,
        handler: None,
        contract: Contract::Http { port: 8080 },
        workload: Workload::default(),
        secrets: Vec::new(),
        resources: Resources {
            vcpus: 1.try_into().unwrap(),
            memory_mib: 128.try_into().unwrap(),
            disk_mib: None,
        },
        driver: None,
        timeout_ms: 1000,
        description: String::new(),
    }
}

fn all_to(version: u32) -> Traffic {
    Traffic::all_to(version)
}

#[tokio::test]
async fn a_project_has_as_many_functions_as_it_may() {
    let f = fixture().await;
    let two = Quotas {
        functions: Some(2),
        ..Quotas::default()
    };
    f.store.set_quotas(ProjectId::DEFAULT, &two, None).await.unwrap();
    let specs = ["a", "b", "c"].map(function);
    let insert = async |spec: &FunctionSpec| {
        f.store
            .insert_function(spec, version(spec.id), &LambdaFacts::default(), 1)
            .await
    };
    insert(&specs[0]).await.unwrap();
    insert(&specs[1]).await.unwrap();
    let refused = insert(&specs[2]).await;
    assert!(matches!(refused, Err(FunctionError::Quota(_))), "{refused:?}");
    assert!(f.store.function(specs[2].id).await.unwrap().is_none());
    f.store.remove_function(specs[0].id).await.unwrap();
    insert(&specs[2]).await.unwrap();
}

#[tokio::test]
async fn what_a_list_shows_is_read_of_many_functions_at_once() {
    let f = fixture().await;
    let specs = ["a", "b", "c"].map(function);
    let [a, b, c] = [0, 1, 2].map(|place: usize| specs[place].id);
    let facts = |text: &str| LambdaFacts::new(Some(&format!("function {text}")), &format!("version {text}"));
    for spec in &specs {
        let first = version(spec.id);
        f.store.insert_function(spec, first, &facts("1"), 1).await.unwrap();
    }
    // A newest version that is removed counts no more, and its facts neither.
    for number in ["2", "3"] {
        let noted = facts(number);
        f.store.insert_version(version(b), false, &noted, 1).await.unwrap();
    }
    f.store.remove_version(b, 3, 1).await.unwrap();
    f.store.set_alias(b, "beta", &all_to(2), None, 1).await.unwrap();

    let mut newest = f.store.newest_versions(&[a, b]).await.unwrap();
    newest.sort_by_key(|row| row.spec.number);
    let newest: Vec<_> = newest.iter().map(|row| (row.spec.function, row.spec.number)).collect();
    assert_eq!(newest, [(a, 1), (b, 2)]);
    let live = f.store.live_aliases(&[b]).await.unwrap();
    let live: Vec<_> = live
        .into_iter()
        .map(|row| (row.function, row.name, row.traffic))
        .collect();
    assert_eq!(live, [(b, LIVE.to_owned(), all_to(1))]);
    let of_functions = f.store.lambda_facts_of_functions::<String>(&[a, c]).await.unwrap();
    assert_eq!(of_functions.len(), 2);
    assert_eq!(of_functions[&a], "function 1");
    let of_newest = f.store.lambda_facts_of_newest::<String>(&[b, c]).await.unwrap();
    assert_eq!(
        (of_newest[&b].as_str(), of_newest[&c].as_str()),
        ("version 2", "version 1")
    );
    assert!(f.store.newest_versions(&[]).await.unwrap().is_empty());
    assert_eq!(f.store.count_functions(ProjectId::DEFAULT).await.unwrap(), 3);
    assert_eq!(f.store.count_functions(ProjectId::new()).await.unwrap(), 0);
    // As many as a page has.
    let many: Vec<_> = (0..1000).map(|_| FunctionId::new()).chain([c]).collect();
    assert_eq!(f.store.newest_versions(&many).await.unwrap().len(), 1);
}

#[tokio::test]
async fn versions_are_counted_and_live_follows() {
    let f = fixture().await;
    let spec = function("Hello_World");
    let insert = async |spec: &FunctionSpec| {
        f.store
            .insert_function(spec, version(spec.id), &LambdaFacts::default(), 1)
            .await
    };
    assert_eq!(insert(&spec).await.unwrap().spec.number, 1);
    let taken = insert(&function("hello-world")).await.unwrap_err();
    assert!(matches!(taken, FunctionError::NameTaken { holder } if holder == "Hello_World"));
    let of_nobody = FunctionSpec {
        project: ProjectId::new(),
        ..function("hello-world")
    };
    let gone = insert(&of_nobody).await.unwrap_err();
    assert!(matches!(gone, FunctionError::Gone));

    for (number, live) in [(2, true), (3, false)] {
        let row = f
            .store
            .insert_version(version(spec.id), live, &LambdaFacts::default(), number)
            .await
            .unwrap();
        assert_eq!(u64::from(row.spec.number), number);
    }
    let live = |rows: Vec<hearth_store::AliasRow>| rows.into_iter().find(|row| row.name == LIVE).unwrap().traffic;
    assert_eq!(live(f.store.aliases(Some(spec.id)).await.unwrap()), all_to(2));
    let steps = f.store.rollouts(spec.id).await.unwrap();
    assert_eq!(
        steps.into_iter().map(|step| step.0).collect::<Vec<_>>(),
        [all_to(2), all_to(1)]
    );

    let share = |version, percent| TrafficShare { version, percent };
    let canary = Traffic::new(vec![share(2, 90), share(3, 10)]).unwrap();
    f.store.set_alias(spec.id, LIVE, &canary, None, 9).await.unwrap();
    assert_eq!(f.store.rollouts(spec.id).await.unwrap()[0], (canary, 9));
    let absent = f
        .store
        .set_alias(spec.id, "test", &all_to(7), None, 9)
        .await
        .unwrap_err();
    assert!(matches!(absent, FunctionError::NoVersion(7)));
    assert!(matches!(
        f.store.remove_version(spec.id, 3, 9).await.unwrap_err(),
        FunctionError::InUse { version: 3, alias } if alias == LIVE
    ));
    f.store.remove_version(spec.id, 1, 9).await.unwrap();
    // A number is never given twice.
    f.store.set_alias(spec.id, LIVE, &all_to(2), None, 9).await.unwrap();
    f.store.remove_version(spec.id, 3, 9).await.unwrap();
    assert_eq!(
        f.store
            .insert_version(version(spec.id), false, &LambdaFacts::default(), 9)
            .await
            .unwrap()
            .spec
            .number,
        4
    );

    assert!(f.store.remove_function(spec.id).await.unwrap());
    assert!(!f.store.remove_function(spec.id).await.unwrap());
    assert!(f.store.versions(Some(spec.id)).await.unwrap().is_empty());
    assert!(matches!(
        f.store
            .insert_version(version(spec.id), true, &LambdaFacts::default(), 9)
            .await
            .unwrap_err(),
        FunctionError::Gone
    ));
}

fn call(function: FunctionId, key: Option<&str>, body: &str) -> NewInvocation {
    NewInvocation {
        id: InvocationId::new(),
        project: ProjectId::DEFAULT,
        function,
        qualifier: None,
        key: key.map(Into::into),
        fingerprint: body.into(),
        source: InvocationSource::Http,
        head: RequestHead::default(),
        body: body.into(),
        due_unix_ms: 10,
        created_unix_ms: 10,
    }
}

#[tokio::test]
async fn a_call_is_kept_once_by_its_key() {
    let f = fixture().await;
    let function = FunctionId::new();
    let calls = [
        call(function, Some("k"), "a"),
        call(function, Some("k"), "a"),
        call(function, Some("k"), "b"),
        call(function, None, "a"),
        call(function, None, "a"),
        call(FunctionId::new(), Some("k"), "b"),
    ];
    let kept = f.store.keep_invocations(&calls).await.unwrap();
    let new = |place: usize| Kept::New(calls[place].id);
    assert_eq!(
        kept,
        [
            new(0),
            Kept::Before(calls[0].id),
            Kept::Mismatch,
            new(3),
            new(4),
            new(5)
        ]
    );
    assert_eq!(f.store.invocation_body(calls[0].id).await.unwrap(), b"a");
}

#[tokio::test]
async fn a_call_is_taken_when_it_is_due_and_ends_once() {
    let f = fixture().await;
    let kept = call(FunctionId::new(), None, "x");
    f.store.keep_invocations(std::slice::from_ref(&kept)).await.unwrap();
    assert_eq!(f.store.next_invocation_due(9).await.unwrap(), Some(10));
    assert_eq!(f.store.next_invocation_due(10).await.unwrap(), None, "it is due");
    assert!(f.store.take_invocations(9, 5, 5, 5).await.unwrap().is_empty());
    let taken = f.store.take_invocations(10, 5, 5, 5).await.unwrap();
    assert_eq!((taken[0].id, taken[0].attempts), (kept.id, 1));
    assert!(f.store.take_invocations(99, 5, 5, 5).await.unwrap().is_empty());

    // The process ends here, in order.
    assert_eq!(f.store.give_back_invocations(15).await.unwrap(), 1);
    assert_eq!(f.store.take_invocations(15, 5, 5, 5).await.unwrap()[0].attempts, 1);
    // It dies here.
    let cut_off = f.store.running_invocations().await.unwrap();
    f.store
        .resume_invocations(&[resumed(&cut_off[0], false)])
        .await
        .unwrap();
    let again = f.store.take_invocations(20, 5, 5, 5).await.unwrap();
    assert_eq!((again[0].attempts, again[0].error.as_deref()), (2, Some("cut off")));

    let dead = Outcome {
        state: InvocationState::Dead,
        due_unix_ms: 20,
        finished_unix_ms: Some(30),
        version: Some(4),
        status: Some(502),
        answer_headers: BTreeMap::new(),
        answer_body: b"oops".to_vec(),
        error: Some("it broke".into()),
        uncounted: false,
    };
    f.store.finish_invocation(kept.id, &dead).await.unwrap();
    let row = f.store.invocation(ProjectId::DEFAULT, kept.id).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.version, row.status),
        (InvocationState::Dead, Some(4), Some(502))
    );
    assert_eq!(f.store.invocation(ProjectId::new(), kept.id).await.unwrap(), None);
    assert!(f.store.replay_invocation(kept.id, 40).await.unwrap());
    assert!(!f.store.replay_invocation(kept.id, 40).await.unwrap());
    assert_eq!(f.store.take_invocations(40, 5, 5, 5).await.unwrap()[0].attempts, 1);
    f.store.finish_invocation(kept.id, &dead).await.unwrap();
    assert_eq!(f.store.forget_invocations(31).await.unwrap(), 1);
}

fn resumed(call: &InvocationRow, alone: bool) -> Resumed {
    Resumed {
        id: call.id,
        state: InvocationState::Queued,
        attempts: call.attempts,
        alone,
        due_unix_ms: 20,
        finished_unix_ms: None,
        error: "cut off".into(),
    }
}

#[tokio::test]
async fn calls_that_may_have_killed_run_one_after_the_other() {
    let f = fixture().await;
    let calls: Vec<_> = (0..3).map(|_| call(FunctionId::new(), None, "x")).collect();
    f.store.keep_invocations(&calls).await.unwrap();
    let take = async || f.store.take_invocations(30, 9, 9, 9).await.unwrap();
    let cut_off: Vec<_> = take().await.iter().map(|call| resumed(call, true)).collect();
    assert_eq!(cut_off.len(), 3);
    f.store.resume_invocations(&cut_off).await.unwrap();
    let innocent = call(FunctionId::new(), None, "x");
    f.store.keep_invocations(std::slice::from_ref(&innocent)).await.unwrap();

    let first = take().await;
    assert_eq!(first.iter().filter(|call| call.alone).count(), 1);
    assert_eq!(first.len(), 2, "what was not cut off waits for none of them");
    assert!(take().await.is_empty());
    let first = first.into_iter().find(|call| call.alone).unwrap();
    let dead = Resumed {
        state: InvocationState::Dead,
        finished_unix_ms: Some(40),
        ..resumed(&first, true)
    };
    f.store.resume_invocations(&[dead]).await.unwrap();
    let second = take().await;
    assert!(second.len() == 1 && second[0].alone && second[0].id != first.id);
    // Somebody has looked at it.
    assert!(f.store.replay_invocation(first.id, 30).await.unwrap());
    let replayed = take().await;
    assert_eq!(
        (replayed[0].id, replayed[0].attempts, replayed[0].alone),
        (first.id, 1, false)
    );
}

#[tokio::test]
async fn who_has_many_calls_waits_for_its_own() {
    let f = fixture().await;
    let (greedy, other) = (FunctionId::new(), FunctionId::new());
    let mut calls: Vec<_> = (0..10).map(|_| call(greedy, None, "x")).collect();
    calls.push(call(other, None, "x"));
    f.store.keep_invocations(&calls).await.unwrap();
    let taken = f.store.take_invocations(10, 99, 3, 99).await.unwrap();
    let of = |function| taken.iter().filter(|call| call.function == function).count();
    assert_eq!((of(greedy), of(other)), (3, 1));
    assert!(f.store.take_invocations(10, 99, 3, 99).await.unwrap().is_empty());
    assert_eq!(f.store.take_invocations(10, 99, 99, 6).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_trigger_keeps_its_identity() {
    let f = fixture().await;
    let trigger = TriggerRow {
        id: TriggerId::new(),
        project: ProjectId::DEFAULT,
        function: FunctionId::new(),
        name: "nightly".into(),
        spec: "{}".into(),
        enabled: true,
        handled_unix_ms: 5,
        last_unix_ms: None,
        created_unix_ms: 1,
    };
    f.store.put_trigger(&trigger).await.unwrap();
    let other = TriggerRow {
        id: TriggerId::new(),
        enabled: false,
        ..trigger.clone()
    };
    let stored = f.store.put_trigger(&other).await.unwrap();
    assert_eq!((stored.id, stored.enabled), (trigger.id, false));
    f.store.set_trigger_handled(trigger.id, 77, Some(77)).await.unwrap();
    f.store.set_trigger_handled(trigger.id, 99, None).await.unwrap();
    let stored = f.store.triggers(Some(trigger.function)).await.unwrap();
    assert_eq!((stored[0].handled_unix_ms, stored[0].last_unix_ms), (99, Some(77)));
    assert!(f.store.remove_trigger(trigger.function, "nightly").await.unwrap());
}

#[tokio::test]
async fn what_the_lambda_api_noted_goes_with_its_version_and_its_function() {
    let f = fixture().await;
    let spec = function("noted");
    let noted = |number| LambdaFacts::new(Some(&"first 0".to_owned()), &format!("first {number}"));
    let first = version(spec.id);
    f.store.insert_function(&spec, first, &noted(1), 1).await.unwrap();
    f.store
        .insert_version(version(spec.id), true, &noted(2), 2)
        .await
        .unwrap();
    let read = async |number| f.store.lambda_facts::<String>(spec.id, number).await.unwrap();
    for number in [hearth_store::OF_FUNCTION, 1, 2] {
        assert_eq!(read(number).await, Some(format!("first {number}")));
        for text in ["before", "now"] {
            f.store
                .set_lambda_facts(spec.id, number, &format!("{text} {number}"), 3)
                .await
                .unwrap();
        }
    }
    assert_eq!(read(0).await.as_deref(), Some("now 0"));
    let of_versions: BTreeMap<u32, String> = f.store.lambda_facts_of_versions(spec.id).await.unwrap();
    assert_eq!(of_versions, [(1, "now 1".to_owned()), (2, "now 2".to_owned())].into());
    f.store.remove_version(spec.id, 1, 4).await.unwrap();
    assert_eq!((read(1).await, read(2).await.is_some()), (None, true));
    f.store.remove_function(spec.id).await.unwrap();
    f.store.set_lambda_facts(spec.id, 2, &"late", 5).await.unwrap();
    assert_eq!((read(0).await, read(2).await), (None, None));
}

#[tokio::test]
async fn where_calls_ran_is_kept_within_bounds_and_goes_with_the_function() {
    let f = fixture().await;
    let [spec, other] = ["a", "b"].map(function);
    for spec in [&spec, &other] {
        let first = version(spec.id);
        let noted = LambdaFacts::default();
        f.store.insert_function(spec, first, &noted, 1).await.unwrap();
    }
    let run = |function, number: u64| RunRow {
        function,
        request: format!("req{number}"),
        invocation: (number == 7).then(|| "inv".to_owned()),
        machine: MachineId::new(),
        from_unix_ms: number,
        to_unix_ms: number + 1,
    };
    let count = RUNS_PER_FUNCTION + 5;
    let mut runs: Vec<_> = (0..count).map(|number| run(spec.id, number)).collect();
    runs.push(run(other.id, 0));
    runs.push(run(FunctionId::new(), 0));
    f.store.keep_runs(&runs).await.unwrap();
    f.store.keep_runs(&[]).await.unwrap();
    let functions = BTreeSet::from([spec.id, other.id]);
    f.store.sweep_runs(&functions, 100).await.unwrap();

    let found = async |function, id: &str| f.store.runs(function, id).await.unwrap();
    assert_eq!(found(spec.id, "req7").await, [runs[7].clone()]);
    assert_eq!(found(spec.id, "inv").await, [runs[7].clone()]);
    assert!(found(spec.id, "req4").await.is_empty());
    assert_eq!(found(spec.id, "req5").await.len(), 1);
    assert_eq!(found(other.id, "req0").await.len(), 1);
    assert!(found(other.id, "req7").await.is_empty());
    // Of functions that are not there nothing is kept.
    assert!(found(runs.last().unwrap().function, "req0").await.is_empty());

    f.store.sweep_runs(&functions, RUNS_AGE_MAX_MS + 7).await.unwrap();
    assert!(found(spec.id, "req5").await.is_empty());
    assert_eq!(found(spec.id, "req7").await.len(), 1);
    f.store.remove_function(spec.id).await.unwrap();
    assert!(found(spec.id, "req7").await.is_empty());
}
