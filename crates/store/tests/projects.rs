//! Projects and what they own, on a real database file; and files that are older than projects.

#![expect(clippy::unwrap_used, reason = "a fixture that fails ends its test")]

use std::path::Path;

use hearth_domain::{
    DriverKind, MachineSpec, Metadata, NetworkMode, Quotas, RecoverPolicy, Resources, RestartPolicy, Role, SecretName,
    StateWord, Workload,
};
use hearth_ids::{KeyId, MachineId, ProjectId};
use hearth_store::{
    AuditFilter, AuditRow, Desired, EventFilter, InsertError, KeyError, KeyRow, Lookup, Made, NewMachine, NewSecret,
    ProjectError, ProjectRow, Store,
};
use sqlx::migrate::Migrator;

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("hearth.db")).await.unwrap();
    (folder, store)
}

fn project(name: &str, quotas: Quotas) -> ProjectRow {
    ProjectRow {
        id: ProjectId::new(),
        name: name.parse().unwrap(),
        quotas,
        snapshots_max: None,
        created_unix_ms: 1,
    }
}

fn machine(project: ProjectId, name: &str) -> NewMachine {
    NewMachine {
        spec: MachineSpec {
            id: MachineId::new(),
            project,
            owner: None,
            name: name.parse().unwrap(),
            image: String::new(),
            image_id: String::new(),
            layers: Vec::new(),
            kernel_id: String::new(),
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
        },
        args: Vec::new(),
        desired: Desired::Stopped,
        created_unix_ms: 1,
        key: None,
        within_quotas: true,
    }
}

fn key(project: ProjectId, name: &str) -> KeyRow {
    KeyRow {
        id: KeyId::new(),
        project,
        name: name.into(),
        role: Role::Viewer,
        secret_sha256: "00".into(),
        created_unix_ms: 1,
        expires_unix_ms: Some(2),
    }
}

/// A database as it was before there were projects, with a machine, a tombstone, an event and an idempotency key.
async fn old_database(path: &Path) -> MachineId {
    let migrations = tempfile::tempdir().unwrap();
    let first = "0001_machines.sql";
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(first);
    std::fs::copy(known, migrations.path().join(first)).unwrap();
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}?mode=rwc", path.display()))
        .await
        .unwrap();
    Migrator::new(migrations.path())
        .await
        .unwrap()
        .run(&pool)
        .await
        .unwrap();
    let new = machine(ProjectId::DEFAULT, "web");
    let mut spec = serde_json::to_value(&new.spec).unwrap();
    // Specs did not name what they belong to, nor secrets.
    spec.as_object_mut().unwrap().remove("project");
    spec["workload"].as_object_mut().unwrap().remove("secrets");
    let id = new.spec.id.to_string();
    for sql in [
        "INSERT INTO machines (id, name, image_id, kernel_id, spec, args, desired, state, sequence, restarts, created_unix_ms)
         VALUES ($1, 'web', '', '', $2, '[]', 'running', 'running', 3, 0, 7)",
        "INSERT INTO tombstones (id, name, state, removed_unix_ms) VALUES ('mch0', $1 || $2, 'stopped', 1)",
        "INSERT INTO machine_events (at_unix_ms, kind, machine_id, machine_name, state) VALUES (5, 'created', $1, $2, 'pending')",
        "INSERT INTO idempotency_keys (key_text, fingerprint, machine_id, created_unix_ms) VALUES ('k', $2, $1, 1)",
    ] {
        let query = sqlx::query(sql).bind(&id).bind(spec.to_string());
        query.execute(&pool).await.unwrap();
    }
    pool.close().await;
    new.spec.id
}

#[tokio::test]
async fn what_is_older_than_projects_belongs_to_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hearth.db");
    let id = old_database(&path).await;
    let store = Store::open(&path).await.unwrap();
    let row = store.machine(id).await.unwrap().unwrap();
    assert_eq!(
        (row.spec.project, row.state, row.sequence),
        (ProjectId::DEFAULT, StateWord::Running, 3)
    );
    let found = store.find_machine(ProjectId::DEFAULT, "web").await.unwrap();
    assert!(matches!(found, Lookup::One(found) if found.spec.id == id));
    let events = EventFilter {
        project: Some(ProjectId::DEFAULT),
        limit: 9,
        ..EventFilter::default()
    };
    assert_eq!(store.events(events).await.unwrap()[0].machine, id);
    assert_eq!(
        store.used_key(ProjectId::DEFAULT, "k").await.unwrap().unwrap().made,
        Made::Machine(id)
    );
    let held = store.holding(ProjectId::DEFAULT).await.unwrap();
    assert_eq!(
        (held.machines, held.vcpus, held.memory_mib),
        (1, 2, 256),
        "read from the old spec"
    );
    store.close().await;
    Store::open(&path).await.unwrap();
}

#[tokio::test]
async fn names_and_idempotency_keys_are_of_a_project() {
    let (_folder, store) = store().await;
    let (a, b) = (project("a", Quotas::default()), project("b", Quotas::default()));
    for project in [&a, &b] {
        store.insert_project(project).await.unwrap();
        store.insert_machine(&machine(project.id, "web")).await.unwrap();
    }
    assert!(matches!(
        store.insert_machine(&machine(a.id, "web")).await,
        Err(InsertError::NameTaken { .. })
    ));
    assert!(matches!(
        store.insert_project(&project("a", Quotas::default())).await,
        Err(ProjectError::NameTaken(_))
    ));
    let lost = machine(ProjectId::new(), "web");
    assert!(
        matches!(store.insert_machine(&lost).await, Err(InsertError::Store(_))),
        "no machine without a project"
    );
    store.ensure_project(lost.spec.project, 1).await.unwrap();
    store.insert_machine(&lost).await.unwrap();
    let back = store.project(lost.spec.project).await.unwrap().unwrap();
    assert!(back.name.as_str().starts_with("prj"));
}

#[tokio::test]
async fn quotas_hold_for_requests_that_come_at_once() {
    let (_folder, store) = store().await;
    let small = project(
        "small",
        Quotas {
            vcpus: Some(7),
            ..Quotas::default()
        },
    );
    store.insert_project(&small).await.unwrap();
    let made = (0..20).map(|n| {
        let (store, new) = (store.clone(), machine(small.id, &format!("m{n}")));
        tokio::spawn(async move { store.insert_machine(&new).await.is_ok() })
    });
    let made: Vec<_> = made.collect();
    let mut count = 0;
    for made in made {
        count += usize::from(made.await.unwrap());
    }
    assert_eq!(count, 3, "of 2 virtual CPUs each");
    let unasked = NewMachine {
        within_quotas: false,
        ..machine(small.id, "adopted")
    };
    store.insert_machine(&unasked).await.unwrap();
}

#[tokio::test]
async fn the_first_key_is_made_once_for_all_times() {
    let (_folder, store) = store().await;
    let first = key(ProjectId::DEFAULT, "first");
    assert!(store.insert_first_key(&first).await.unwrap());
    assert!(
        !store
            .insert_first_key(&key(ProjectId::DEFAULT, "second"))
            .await
            .unwrap()
    );
    assert!(store.remove_key(first.id).await.unwrap());
    assert!(!store.insert_first_key(&key(ProjectId::DEFAULT, "third")).await.unwrap());
    assert!(store.keys(ProjectId::DEFAULT).await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_are_found_in_their_project() {
    let (_folder, store) = store().await;
    let other = project("other", Quotas::default());
    store.insert_project(&other).await.unwrap();
    let row = key(ProjectId::DEFAULT, "ci");
    store.insert_key(&row).await.unwrap();
    assert!(matches!(
        store.insert_key(&key(ProjectId::DEFAULT, "ci")).await,
        Err(KeyError::NameTaken(_))
    ));
    store.insert_key(&key(other.id, "ci")).await.unwrap();
    for text in ["ci".to_owned(), row.id.to_string()] {
        assert_eq!(
            store.find_key(ProjectId::DEFAULT, &text).await.unwrap(),
            Some(row.clone())
        );
    }
    assert_eq!(store.find_key(other.id, &row.id.to_string()).await.unwrap(), None);
    store.remove_project(other.id).await.unwrap();
    assert!(
        store.keys(other.id).await.unwrap().is_empty(),
        "keys go with their project"
    );
    assert!(store.insert_key(&key(other.id, "ci")).await.is_err());
}

#[tokio::test]
async fn a_project_that_owns_something_stays() {
    let (_folder, store) = store().await;
    let (a, name) = (project("a", Quotas::default()), "db".parse::<SecretName>().unwrap());
    store.insert_project(&a).await.unwrap();
    store.set_secret(a.id, &name, "closed", 5).await.unwrap().unwrap();
    let again = store.set_secret(a.id, &name, "closed anew", 6).await.unwrap().unwrap();
    assert_eq!((again.version, again.created_unix_ms, again.updated_unix_ms), (2, 5, 6));
    assert_eq!(store.secret(ProjectId::DEFAULT, &name).await.unwrap(), None);
    match store.remove_project(a.id).await {
        Err(ProjectError::InUse { what, .. }) => assert_eq!(what, "1 secrets"),
        other => panic!("{other:?}"),
    }
    assert!(store.remove_secret(a.id, &name).await.unwrap());
    store.remove_project(a.id).await.unwrap();
    assert!(matches!(store.remove_project(a.id).await, Err(ProjectError::NotFound)));
}

#[tokio::test]
async fn a_new_secret_takes_no_other_ones_place() {
    let (_folder, store) = store().await;
    let (project, name) = (ProjectId::DEFAULT, "db".parse::<SecretName>().unwrap());
    let pinned = |text: &str| Metadata::from([("team".to_owned(), text.to_owned())]);
    let made = store
        .create_secret(project, &name, "closed", &pinned("a"), 5)
        .await
        .unwrap();
    let NewSecret::Made(row) = made else { panic!("{made:?}") };
    assert_eq!((row.version, &row.metadata, row.created_unix_ms), (1, &pinned("a"), 5));
    let again = store
        .create_secret(project, &name, "other", &pinned("b"), 6)
        .await
        .unwrap();
    assert_eq!(again, NewSecret::Taken);
    assert_eq!(store.secret(project, &name).await.unwrap(), Some(row));

    let update = async |metadata: Option<Metadata>, at| {
        let updated = store.update_secret(project, &name, "anew", metadata.as_ref(), at).await;
        updated.unwrap().unwrap()
    };
    let kept = update(None, 7).await;
    assert_eq!(
        (kept.version, kept.sealed.as_str(), kept.metadata),
        (2, "anew", pinned("a"))
    );
    assert_eq!(update(Some(pinned("c")), 8).await.metadata, pinned("c"));
    let set = store.set_secret(project, &name, "by hand", 9).await.unwrap().unwrap();
    assert_eq!(
        (set.version, set.metadata),
        (4, pinned("c")),
        "Hearth's own call leaves what is pinned"
    );
    let absent = "absent".parse::<SecretName>().unwrap();
    assert_eq!(
        store.update_secret(project, &absent, "x", None, 10).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn changes_are_read_by_project_actor_operation_and_page() {
    let (_folder, store) = store().await;
    for n in 0..6_u64 {
        let entry = AuditRow {
            sequence: 0,
            at_unix_ms: n,
            project: (n % 2 == 0).then_some(ProjectId::DEFAULT),
            actor: format!("unix:{}", n % 3),
            actor_name: "somebody".into(),
            origin: "unix".into(),
            operation: if n < 3 { "one" } else { "other" }.into(),
            target: String::new(),
            status: 201,
            request_id: "req".into(),
        };
        store.note_audit(&entry).await.unwrap();
    }
    let read = async |filter: AuditFilter| {
        let rows = store.audit(&AuditFilter { limit: 9, ..filter }).await.unwrap();
        rows.into_iter().map(|row| row.at_unix_ms).collect::<Vec<_>>()
    };
    let all = AuditFilter::default;
    assert_eq!(read(all()).await, [5, 4, 3, 2, 1, 0]);
    let of = |text: &str| Some(text.to_owned());
    assert_eq!(
        read(AuditFilter {
            project: Some(ProjectId::DEFAULT),
            ..all()
        })
        .await,
        [4, 2, 0]
    );
    assert_eq!(
        read(AuditFilter {
            actor: of("unix:1"),
            ..all()
        })
        .await,
        [4, 1]
    );
    assert_eq!(
        read(AuditFilter {
            actor: of("somebody"),
            ..all()
        })
        .await
        .len(),
        6
    );
    assert_eq!(
        read(AuditFilter {
            operation: of("one"),
            since_unix_ms: 1,
            ..all()
        })
        .await,
        [2, 1]
    );
    let before = store.audit(&AuditFilter { limit: 2, ..all() }).await.unwrap()[1].sequence;
    assert_eq!(
        read(AuditFilter {
            before: Some(before),
            ..all()
        })
        .await,
        [3, 2, 1, 0]
    );
}
