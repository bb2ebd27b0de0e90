//! The store on a real database file: each query, and what is said of files that are none, newer, or cut off.

#![expect(clippy::unwrap_used, reason = "a fixture that fails ends its test")]

use std::path::{Path, PathBuf};

use hearth_domain::{
    DriverKind, ExitStatus, MachineSpec, NetworkMode, RecoverPolicy, Resources, RestartPolicy, StateWord, Workload,
};
use hearth_ids::{MachineId, ProjectId};
use hearth_store::{
    Desired, EventFilter, EventKind, EventRecord, IDEMPOTENCY_KEYS_MAX, IdempotencyKey, InsertError, Lookup, Made,
    NewMachine, Observation, Store, StoreError, Tombstone,
};

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&path_in(folder.path())).await.unwrap();
        Self { folder, store }
    }

    fn path(&self) -> PathBuf {
        path_in(self.folder.path())
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("hearth.db")
}

fn new_machine(name: &str) -> NewMachine {
    NewMachine {
        spec: MachineSpec {
            id: MachineId::new(),
            name: name.parse().unwrap(),
            image: "busybox".into(),
            image_id: "sha256:11".into(),
            layers: Vec::new(),
            project: ProjectId::DEFAULT,
            owner: None,
            kernel_id: "22".into(),
            resources: Resources {
                vcpus: 1.try_into().unwrap(),
                memory_mib: 256.try_into().unwrap(),
                disk_mib: None,
            },
            workload: Workload::default(),
            network: NetworkMode::Default,
            egress: hearth_domain::EgressRules::default(),
            ports: Vec::new(),
            driver: DriverKind::Fake,
            restart: RestartPolicy::No,
            recover: RecoverPolicy::No,
            stop_timeout_ms: 10_000,
            auto_remove: false,
            snapshot: None,
            boots: false,
            volumes: Vec::new(),
        },
        args: vec!["/bin/sh".into()],
        desired: Desired::Stopped,
        created_unix_ms: 1_000,
        key: None,
        within_quotas: true,
    }
}

fn news(machine: MachineId, sequence: u64, state: StateWord) -> Observation {
    Observation {
        machine,
        sequence,
        at_unix_ms: 2_000 + sequence,
        kind: Some(EventKind::State),
        state,
        reason: None,
        exit: None,
        restarts: None,
        started_unix_ms: None,
        finished_unix_ms: None,
        supersedes: false,
    }
}

fn all_events() -> EventFilter {
    EventFilter {
        limit: 1000,
        ..EventFilter::default()
    }
}

#[tokio::test]
async fn a_machine_is_read_as_it_was_inserted() {
    let f = Fixture::new().await;
    let new = new_machine("web");
    let event = f.store.insert_machine(&new).await.unwrap();
    assert_eq!((event.kind, event.machine), (EventKind::Created, new.spec.id));
    let row = f.store.machine(new.spec.id).await.unwrap().unwrap();
    assert_eq!(
        (&row.spec, &row.args, row.desired),
        (&new.spec, &new.args, Desired::Stopped)
    );
    assert_eq!(
        (row.state, row.sequence, row.created_unix_ms),
        (StateWord::Pending, 0, 1_000)
    );
    assert_eq!(f.store.machine(MachineId::new()).await.unwrap(), None);
}

#[tokio::test]
async fn a_name_is_taken_until_its_machine_is_gone() {
    let f = Fixture::new().await;
    let first = new_machine("web");
    f.store.insert_machine(&first).await.unwrap();
    match f.store.insert_machine(&new_machine("web")).await {
        Err(InsertError::NameTaken { name, holder }) => {
            assert_eq!((name.as_str(), holder), ("web", Made::Machine(first.spec.id)));
        }
        other => panic!("{other:?}"),
    }
    let tombstone = tombstone_of(&first, 7);
    assert!(f.store.remove_machine(&tombstone, 5_000).await.unwrap().is_some());
    assert!(
        f.store.remove_machine(&tombstone, 5_001).await.unwrap().is_none(),
        "it is gone already"
    );
    f.store.insert_machine(&new_machine("web")).await.unwrap();
    for text in [first.spec.id.to_string(), "web".to_owned()] {
        assert_eq!(
            f.store.tombstone(ProjectId::DEFAULT, &text).await.unwrap(),
            Some(tombstone.clone()),
            "{text}"
        );
    }
    assert_eq!(f.store.tombstone(ProjectId::DEFAULT, "other").await.unwrap(), None);
}

fn tombstone_of(machine: &NewMachine, code: i32) -> Tombstone {
    Tombstone {
        id: machine.spec.id,
        project: machine.spec.project,
        name: machine.spec.name.to_string(),
        state: StateWord::Stopped,
        reason: None,
        exit: Some(ExitStatus {
            code,
            ..ExitStatus::default()
        }),
    }
}

#[tokio::test]
async fn machines_are_found_by_id_name_and_beginning() {
    let f = Fixture::new().await;
    let (a, b) = (new_machine("a"), new_machine("mch0"));
    f.store.insert_machine(&a).await.unwrap();
    f.store.insert_machine(&b).await.unwrap();
    let found = |lookup: Lookup| match lookup {
        Lookup::One(row) => Some(row.spec.id),
        Lookup::None | Lookup::Ambiguous => None,
    };
    let id = a.spec.id.to_string();
    for text in [id.as_str(), "a", &id[..28]] {
        assert_eq!(
            found(f.store.find_machine(ProjectId::DEFAULT, text).await.unwrap()),
            Some(a.spec.id),
            "{text}"
        );
    }
    assert_eq!(
        found(f.store.find_machine(ProjectId::DEFAULT, "mch0").await.unwrap()),
        Some(b.spec.id),
        "a name goes first"
    );
    assert_eq!(
        f.store.find_machine(ProjectId::DEFAULT, "mch").await.unwrap(),
        Lookup::Ambiguous
    );
    for text in ["", "nothing", "%", "' OR 1=1 --", "mch{"] {
        assert_eq!(
            f.store.find_machine(ProjectId::DEFAULT, text).await.unwrap(),
            Lookup::None,
            "{text}"
        );
    }
}

#[tokio::test]
async fn pages_are_newest_first_and_complete() {
    let f = Fixture::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let machine = new_machine(&format!("m{n}"));
        ids.push(machine.spec.id);
        f.store.insert_machine(&machine).await.unwrap();
    }
    ids.sort();
    ids.reverse();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = f.store.machines(None, before, 2).await.unwrap();
        seen.extend(page.iter().map(|row| row.spec.id));
        match page.last() {
            Some(row) => before = Some(row.spec.id),
            None => break,
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn old_news_and_news_of_nobody_are_dropped() {
    let f = Fixture::new().await;
    let machine = new_machine("web");
    let id = machine.spec.id;
    f.store.insert_machine(&machine).await.unwrap();
    let mut stopped = news(id, 5, StateWord::Stopped);
    stopped.exit = Some(ExitStatus {
        code: 3,
        ..ExitStatus::default()
    });
    stopped.finished_unix_ms = Some(9);
    let mut running = news(id, 4, StateWord::Running);
    running.started_unix_ms = Some(8);
    let noted = f
        .store
        .observe(&[
            running.clone(),
            stopped,
            running,
            news(MachineId::new(), 1, StateWord::Running),
        ])
        .await
        .unwrap();
    assert_eq!(
        noted.iter().map(|e| (e.state, e.exit_code)).collect::<Vec<_>>(),
        [(StateWord::Running, None), (StateWord::Stopped, Some(3))]
    );
    let row = f.store.machine(id).await.unwrap().unwrap();
    assert_eq!((row.state, row.sequence), (StateWord::Stopped, 5));
    assert_eq!((row.started_unix_ms, row.finished_unix_ms), (Some(8), Some(9)));
    assert_eq!(row.exit.map(|exit| exit.code), Some(3));
    let anew = Observation {
        supersedes: true,
        ..news(id, 1, StateWord::Failed)
    };
    assert_eq!(f.store.observe(&[anew]).await.unwrap().len(), 1);
    let row = f.store.machine(id).await.unwrap().unwrap();
    assert_eq!((row.state, row.sequence, row.exit), (StateWord::Failed, 1, None));
}

#[tokio::test]
async fn a_machine_that_shall_be_gone_is_not_called_back() {
    let f = Fixture::new().await;
    let machine = new_machine("web");
    f.store.insert_machine(&machine).await.unwrap();
    for (asked, holds) in [
        (Desired::Running, Desired::Running),
        (Desired::Removed, Desired::Removed),
        (Desired::Running, Desired::Removed),
    ] {
        f.store.set_desired(machine.spec.id, asked).await.unwrap();
        assert_eq!(f.store.machine(machine.spec.id).await.unwrap().unwrap().desired, holds);
    }
    f.store.cancel_removal(machine.spec.id).await.unwrap();
    assert_eq!(
        f.store.machine(machine.spec.id).await.unwrap().unwrap().desired,
        Desired::Stopped
    );
}

#[tokio::test]
async fn users_of_images_and_kernels_are_known() {
    let f = Fixture::new().await;
    let machine = new_machine("web");
    f.store.insert_machine(&machine).await.unwrap();
    assert_eq!(f.store.users_of_image("sha256:11").await.unwrap(), [machine.spec.id]);
    assert_eq!(f.store.users_of_kernel("22").await.unwrap(), [machine.spec.id]);
    assert!(f.store.users_of_image("sha256:12").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_makes_one_machine_and_is_free_again_after_a_withdrawal() {
    let f = Fixture::new().await;
    let key = Some(IdempotencyKey {
        key: "k".into(),
        fingerprint: "f".into(),
    });
    let first = NewMachine {
        key: key.clone(),
        ..new_machine("a")
    };
    f.store.insert_machine(&first).await.unwrap();
    let again = NewMachine {
        key: key.clone(),
        ..new_machine("b")
    };
    match f.store.insert_machine(&again).await {
        Err(InsertError::KeyUsed(machine)) => assert_eq!(machine, Made::Machine(first.spec.id)),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        f.store.used_key(ProjectId::DEFAULT, "k").await.unwrap().unwrap().made,
        Made::Machine(first.spec.id)
    );
    f.store.withdraw_machine(first.spec.id).await.unwrap();
    assert_eq!(f.store.used_key(ProjectId::DEFAULT, "k").await.unwrap(), None);
    assert!(f.store.events(all_events()).await.unwrap().is_empty());
    f.store.insert_machine(&again).await.unwrap();
    const { assert!(IDEMPOTENCY_KEYS_MAX >= 1000) };
}

#[tokio::test]
async fn what_is_given_up_has_its_row_until_it_is_withdrawn() {
    let f = Fixture::new().await;
    let machine = NewMachine {
        key: Some(IdempotencyKey {
            key: "k".into(),
            fingerprint: "f".into(),
        }),
        ..new_machine("a")
    };
    let id = machine.spec.id;
    f.store.insert_machine(&machine).await.unwrap();
    f.store.give_up_machine(id).await.unwrap();
    assert_eq!(f.store.used_key(ProjectId::DEFAULT, "k").await.unwrap(), None);
    assert_eq!(f.store.machine(id).await.unwrap().unwrap().desired, Desired::Removed);
    // Its end may be noted before.
    f.store.remove_machine(&tombstone_of(&machine, 0), 5_000).await.unwrap();
    f.store.withdraw_machine(id).await.unwrap();
    assert_eq!(f.store.machine(id).await.unwrap(), None);
    assert_eq!(f.store.tombstone_of(id).await.unwrap(), None);
    assert!(f.store.events(all_events()).await.unwrap().is_empty());
}

#[tokio::test]
async fn events_are_filtered_and_numbered() {
    let f = Fixture::new().await;
    let (a, b) = (new_machine("a"), new_machine("b"));
    f.store.insert_machine(&a).await.unwrap();
    f.store.insert_machine(&b).await.unwrap();
    f.store
        .observe(&[news(a.spec.id, 1, StateWord::Preparing)])
        .await
        .unwrap();
    let orphan = EventRecord {
        sequence: 0,
        at_unix_ms: 9_000,
        kind: EventKind::Adopted,
        project: ProjectId::DEFAULT,
        machine: MachineId::new(),
        machine_name: "stray".into(),
        state: StateWord::Destroyed,
        exit_code: None,
        reason: Some("nobody knew it".into()),
    };
    let orphan = f.store.note_event(orphan).await.unwrap();
    let names = |events: Vec<EventRecord>| events.into_iter().map(|e| e.machine_name).collect::<Vec<_>>();
    assert_eq!(
        names(f.store.events(all_events()).await.unwrap()),
        ["a", "b", "a", "stray"]
    );
    let of_a = EventFilter {
        machine: Some(a.spec.id),
        ..all_events()
    };
    assert_eq!(names(f.store.events(of_a).await.unwrap()), ["a", "a"]);
    let later = EventFilter {
        since_unix_ms: 2_000,
        ..all_events()
    };
    assert_eq!(names(f.store.events(later).await.unwrap()), ["a", "stray"]);
    let after = EventFilter {
        after: 3,
        ..all_events()
    };
    let last = orphan.sequence;
    assert_eq!(f.store.events(after).await.unwrap(), [orphan]);
    assert_eq!(f.store.last_event().await.unwrap(), last);
}

#[tokio::test]
async fn events_are_bounded() {
    let f = Fixture::new().await;
    let machine = new_machine("a");
    f.store.insert_machine(&machine).await.unwrap();
    let many = hearth_store::EVENTS_MAX + 600;
    let all: Vec<_> = (1..=many)
        .map(|n| news(machine.spec.id, n, StateWord::Running))
        .collect();
    for batch in all.chunks(4096) {
        f.store.observe(batch).await.unwrap();
    }
    let events = f
        .store
        .events(EventFilter {
            limit: u32::MAX,
            ..EventFilter::default()
        })
        .await
        .unwrap();
    assert!(
        events.len() as u64 <= hearth_store::EVENTS_MAX + 500,
        "{}",
        events.len()
    );
    assert!(events[0].sequence > 1);
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_cut() {
    let f = Fixture::new().await;
    let machine = new_machine("a");
    f.store.insert_machine(&machine).await.unwrap();
    f.store
        .observe(&[news(machine.spec.id, 1, StateWord::Running)])
        .await
        .unwrap();
    // What a kill -9 leaves: the files as they are, without a close. The last write is torn.
    let copy = tempfile::tempdir().unwrap();
    for name in ["hearth.db", "hearth.db-wal"] {
        std::fs::copy(f.folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let wal = std::fs::OpenOptions::new()
        .append(true)
        .open(copy.path().join("hearth.db-wal"))
        .unwrap();
    std::io::Write::write_all(&mut &wal, &[0x55; 1000]).unwrap();
    let again = Store::open(&path_in(copy.path())).await.unwrap();
    assert_eq!(
        again.machine(machine.spec.id).await.unwrap().unwrap().state,
        StateWord::Running
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let f = Fixture::new().await;
    f.store.close().await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", f.path().display()))
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    match Store::open(&f.path()).await {
        Err(StoreError::TooNew { found: 99, known, .. }) => assert_eq!(known, Store::schema_version()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_damaged_file_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    std::fs::write(
        &path,
        [b"not a database at all, but a text that is long enough".as_slice(); 100].concat(),
    )
    .unwrap();
    assert!(matches!(Store::open(&path).await, Err(StoreError::Damaged { .. })));

    let f = Fixture::new().await;
    f.store.insert_machine(&new_machine("a")).await.unwrap();
    f.store.close().await;
    let mut bytes = std::fs::read(f.path()).unwrap();
    bytes[4096..12288].fill(0xaa);
    std::fs::write(f.path(), bytes).unwrap();
    let error = Store::open(&f.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let error = Store::open(Path::new("/nonexistent/hearth.db")).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/hearth.db"), "{error}");
}
