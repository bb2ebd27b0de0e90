//! Snapshots and forks, on a real database file.

#![expect(clippy::unwrap_used, reason = "a fixture that fails ends its test")]

use hearth_domain::{DriverKind, MachineSpec, NetworkMode, Quotas, RecoverPolicy, Resources, RestartPolicy, Workload};
use hearth_ids::{MachineId, ProjectId, SnapshotId};
use hearth_store::{
    Desired, EventFilter, IdempotencyKey, InsertError, Lookup, Made, NewFork, NewMachine, NewSnapshot, PartFacts,
    ProjectError, ProjectRow, SnapshotFacts, SnapshotFilter, SnapshotRow, SnapshotState, Store,
};

const DEFAULT: ProjectId = ProjectId::DEFAULT;

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("hearth.db")).await.unwrap();
    (folder, store)
}

fn spec(project: ProjectId, name: &str) -> MachineSpec {
    MachineSpec {
        id: MachineId::new(),
        project,
        owner: None,
        name: name.parse().unwrap(),
        image: "busybox".into(),
        image_id: "sha256:11".into(),
        layers: Vec::new(),
        kernel_id: "22".into(),
        resources: Resources {
            vcpus: 2.try_into().unwrap(),
            memory_mib: 256.try_into().unwrap(),
            disk_mib: None,
        },
        workload: Workload::default(),
        network: NetworkMode::None,
        egress: hearth_domain::EgressRules::default(),
        ports: Vec::new(),
        driver: DriverKind::Fake,
        restart: RestartPolicy::No,
        recover: RecoverPolicy::No,
        stop_timeout_ms: 1,
        auto_remove: false,
        snapshot: None,
        boots: false,
        volumes: Vec::new(),
    }
}

fn snapshot(project: ProjectId, name: Option<&str>) -> NewSnapshot {
    NewSnapshot {
        id: SnapshotId::new(),
        name: name.map(|name| name.parse().unwrap()),
        spec: spec(project, "web"),
        args: vec!["/bin/sh".into()],
        created_unix_ms: 7,
        key: None,
        build: None,
    }
}

fn facts() -> SnapshotFacts {
    SnapshotFacts {
        made_unix_ms: 8,
        parents: vec![SnapshotId::new()],
        vmm_version: "10.1".into(),
        accelerator: "tcg".into(),
        cpu_features: vec!["avx".into()],
        agent_version: "1".into(),
        parts: vec![PartFacts {
            name: "memory".into(),
            bytes: 9,
            data_bytes: 4,
            hash: "00".into(),
        }],
        paused_us: 11,
    }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey {
        key: text.into(),
        fingerprint: "f".into(),
    }
}

/// A fork of machines of these names.
fn fork(names: &[&str]) -> NewFork {
    let snapshot = snapshot(DEFAULT, None);
    let machine = |name: &&str| NewMachine {
        spec: MachineSpec {
            snapshot: Some(snapshot.id),
            ..spec(DEFAULT, name)
        },
        args: Vec::new(),
        desired: Desired::Running,
        created_unix_ms: 7,
        key: None,
        within_quotas: true,
    };
    let machines = names.iter().map(machine).collect();
    NewFork { snapshot, machines }
}

async fn quotas(store: &Store, quotas: Quotas, snapshots_max: Option<u32>) {
    assert!(store.set_quotas(DEFAULT, &quotas, snapshots_max).await.unwrap());
}

async fn row(store: &Store, id: SnapshotId) -> Option<SnapshotRow> {
    store.snapshot(id).await.unwrap()
}

#[tokio::test]
async fn a_snapshot_is_made_found_lost_and_forgotten() {
    let (_folder, store) = store().await;
    let new = snapshot(DEFAULT, Some("kept"));
    store.insert_snapshot(&new).await.unwrap();
    let state = async || row(&store, new.id).await.map(|row| row.state);
    assert_eq!(state().await, Some(SnapshotState::Making));
    assert!(
        !store.begin_snapshot_removal(new.id).await.unwrap(),
        "the node makes it just now"
    );
    store.note_snapshot_made(new.id, &facts()).await.unwrap();
    let made = row(&store, new.id).await.unwrap();
    let what = (made.name.as_deref(), made.args, made.state, made.transient);
    assert_eq!(
        what,
        (Some("kept"), vec!["/bin/sh".to_owned()], SnapshotState::Ready, false)
    );
    let kept = SnapshotFacts {
        parents: made.facts.as_ref().unwrap().parents.clone(),
        ..facts()
    };
    assert_eq!(made.facts, Some(kept));
    assert_eq!(made.spec, new.spec);
    store.lose_snapshot(new.id).await.unwrap();
    assert_eq!(state().await, Some(SnapshotState::Lost));
    store.note_snapshot_made(new.id, &facts()).await.unwrap();
    assert_eq!(state().await, Some(SnapshotState::Ready), "it was found again");
    assert!(store.begin_snapshot_removal(new.id).await.unwrap());
    store.note_snapshot_made(new.id, &facts()).await.unwrap();
    assert_eq!(state().await, Some(SnapshotState::Removing));
    store.cancel_snapshot_removal(new.id).await.unwrap();
    assert_eq!(state().await, Some(SnapshotState::Ready));
    store.forget_snapshot(new.id).await.unwrap();
    assert_eq!(state().await, None);
}

#[tokio::test]
async fn names_are_unique_in_a_project_and_found_there_alone() {
    let (_folder, store) = store().await;
    let other = ProjectRow {
        id: ProjectId::new(),
        name: "other".parse().unwrap(),
        quotas: Quotas::default(),
        snapshots_max: Some(1),
        created_unix_ms: 1,
    };
    store.insert_project(&other).await.unwrap();
    assert_eq!(
        store.project(other.id).await.unwrap().as_ref(),
        Some(&other),
        "quotas are read as they were kept"
    );
    let (mine, theirs) = (snapshot(DEFAULT, Some("kept")), snapshot(other.id, Some("kept")));
    for new in [&mine, &theirs] {
        store.insert_snapshot(new).await.unwrap();
    }
    match store.insert_snapshot(&snapshot(DEFAULT, Some("kept"))).await {
        Err(error @ InsertError::NameTaken { .. }) => {
            assert!(error.to_string().contains(&format!("snapshot {}", mine.id)), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let found = async |project, text: &str| match store.find_snapshot(project, text).await.unwrap() {
        Lookup::One(row) => Some(row.id),
        Lookup::None | Lookup::Ambiguous => None,
    };
    let (id, their_id) = (mine.id.to_string(), theirs.id.to_string());
    for (text, wanted) in [
        ("kept", Some(mine.id)),
        (id.as_str(), Some(mine.id)),
        (&id[..28], Some(mine.id)),
        (&their_id, None),
        ("", None),
        ("x'", None),
    ] {
        assert_eq!(found(DEFAULT, text).await, wanted, "{text:?}");
    }
    assert_eq!(found(other.id, "kept").await, Some(theirs.id));
    let removed = store.remove_project(other.id).await;
    assert!(
        matches!(&removed, Err(ProjectError::InUse { what, .. }) if what == "1 snapshots"),
        "{removed:?}"
    );
    let refused = store.insert_snapshot(&snapshot(other.id, None)).await;
    match refused {
        Err(InsertError::Quota(quota)) => {
            assert_eq!(
                (quota.field, quota.limit, quota.held, quota.wanted),
                ("snapshots", 1, 1, 1)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn lists_have_pages_and_show_no_forks() {
    let (_folder, store) = store().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let new = snapshot(DEFAULT, Some(name));
        store.insert_snapshot(&new).await.unwrap();
        ids.push(new.id);
    }
    // Those of one millisecond are in no order of time.
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let fork = fork(&["one"]);
    store.insert_fork(&fork).await.unwrap();
    let list = async |filter: SnapshotFilter| -> Vec<SnapshotId> {
        let rows = store.snapshots(&filter).await.unwrap();
        rows.into_iter().map(|row| row.id).collect()
    };
    let all = SnapshotFilter {
        project: Some(DEFAULT),
        limit: 9,
        ..SnapshotFilter::default()
    };
    assert_eq!(list(all.clone()).await, ids);
    let page = SnapshotFilter {
        limit: 1,
        before: Some(ids[0]),
        ..all.clone()
    };
    assert_eq!(list(page).await, ids[1..2]);
    let of = |machine: &str| SnapshotFilter {
        machine: Some(machine.into()),
        ..all.clone()
    };
    assert_eq!(list(of("web")).await, ids);
    assert_eq!(list(of("wob")).await, []);
    let source = row(&store, ids[2]).await.unwrap().spec.id;
    assert_eq!(list(of(&source.to_string())).await, ids[2..]);
    let with_forks = SnapshotFilter {
        all_kinds: true,
        ..all.clone()
    };
    assert_eq!(list(with_forks).await.len(), 4);
    assert_eq!(store.snapshots_held(DEFAULT).await.unwrap(), 3);
    assert_eq!(store.snapshots_of_kernel("22").await.unwrap().len(), 3);
    assert!(store.snapshots_of_kernel("23").await.unwrap().is_empty());
    let found = store
        .find_snapshot(DEFAULT, &fork.snapshot.id.to_string())
        .await
        .unwrap();
    assert_eq!(found, Lookup::None);
}

#[tokio::test]
async fn a_key_makes_one_snapshot_until_it_is_withdrawn() {
    let (_folder, store) = store().await;
    let [first, second] = [(), ()].map(|()| NewSnapshot {
        key: Some(key("k")),
        ..snapshot(DEFAULT, None)
    });
    store.insert_snapshot(&first).await.unwrap();
    match store.insert_snapshot(&second).await {
        Err(InsertError::KeyUsed(made)) => assert_eq!(made, Made::Snapshot(first.id)),
        other => panic!("{other:?}"),
    }
    let used = store.used_key(DEFAULT, "k").await.unwrap().unwrap();
    assert_eq!((used.made, used.paused_us), (Made::Snapshot(first.id), None));
    store.withdraw_snapshot(first.id).await.unwrap();
    assert_eq!(row(&store, first.id).await, None);
    store.insert_snapshot(&second).await.unwrap();
    store.abandon_snapshot(second.id).await.unwrap();
    assert_eq!(
        row(&store, second.id).await.map(|row| row.state),
        Some(SnapshotState::Removing)
    );
    assert_eq!(store.used_key(DEFAULT, "k").await.unwrap(), None);
}

#[tokio::test]
async fn a_fork_is_inserted_whole_or_not_at_all() {
    let (_folder, store) = store().await;
    let none_is_there = async |fork: &NewFork| {
        assert_eq!(row(&store, fork.snapshot.id).await, None);
        assert!(store.machines(None, None, 9).await.unwrap().is_empty());
        assert_eq!(store.used_key(DEFAULT, "k").await.unwrap(), None);
    };
    let with_key = |fork: NewFork| NewFork {
        snapshot: NewSnapshot {
            key: Some(key("k")),
            ..fork.snapshot
        },
        ..fork
    };
    let twice = with_key(fork(&["one", "one"]));
    let refused = store.insert_fork(&twice).await;
    assert!(matches!(refused, Err(InsertError::NameTaken { .. })), "{refused:?}");
    none_is_there(&twice).await;

    let two = Quotas {
        machines: Some(2),
        ..Quotas::default()
    };
    quotas(&store, two, Some(0)).await;
    let three = with_key(fork(&["one", "two", "three"]));
    match store.insert_fork(&three).await {
        Err(InsertError::Quota(quota)) => assert_eq!((quota.limit, quota.held, quota.wanted), (2, 0, 3)),
        other => panic!("{other:?}"),
    }
    none_is_there(&three).await;

    let fits = with_key(fork(&["one", "two"]));
    assert_eq!(store.insert_fork(&fits).await.unwrap().len(), 2);
    let names: Vec<_> = store.machines_of_snapshot(fits.snapshot.id).await.unwrap();
    let mut names: Vec<_> = names.iter().map(|row| row.spec.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "two"]);
    store.note_fork_made(fits.snapshot.id, 42).await.unwrap();
    let made = row(&store, fits.snapshot.id).await.unwrap();
    assert_eq!((made.state, made.transient), (SnapshotState::Ready, true));
    let used = store.used_key(DEFAULT, "k").await.unwrap().unwrap();
    assert_eq!(
        (used.made, used.paused_us),
        (Made::Snapshot(fits.snapshot.id), Some(42))
    );
    let again = store.insert_fork(&with_key(fork(&["three"]))).await;
    assert!(matches!(again, Err(InsertError::KeyUsed(made)) if made == used.made));
    store.withdraw_snapshot(fits.snapshot.id).await.unwrap();
    none_is_there(&fits).await;
    let events = EventFilter {
        limit: 9,
        ..EventFilter::default()
    };
    assert!(store.events(events).await.unwrap().is_empty());
}

#[tokio::test]
async fn machines_that_began_with_a_snapshot_stay_when_it_goes() {
    let (_folder, store) = store().await;
    let new = snapshot(DEFAULT, None);
    store.insert_snapshot(&new).await.unwrap();
    let began = NewMachine {
        spec: MachineSpec {
            snapshot: Some(new.id),
            ..spec(DEFAULT, "began")
        },
        ..fork(&["x"]).machines.remove(0)
    };
    store.insert_machine(&began).await.unwrap();
    store.withdraw_snapshot(new.id).await.unwrap();
    let row = store.machine(began.spec.id).await.unwrap().unwrap();
    assert_eq!(row.spec.snapshot, Some(new.id));
}

#[tokio::test]
async fn templates_are_noted_until_they_are_forgotten() {
    let (_folder, store) = store().await;
    let mut ids = [SnapshotId::new(), SnapshotId::new()];
    // Those of one millisecond are in no order of time.
    ids.sort_unstable();
    let [first, second] = ids;
    for id in [first, second, first] {
        store.note_template(id).await.unwrap();
    }
    assert_eq!(store.templates().await.unwrap(), [first, second]);
    for _ in 0..2 {
        store.forget_template(first).await.unwrap();
    }
    assert_eq!(store.templates().await.unwrap(), [second]);
}
