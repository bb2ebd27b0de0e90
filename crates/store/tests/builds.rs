//! Builds of templates, as they are stored: how many there may be, and which go.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use hearth_domain::{BuildPlan, BuildReason, Quotas};
use hearth_ids::{BuildId, ProjectId, SnapshotId, TemplateId};
use hearth_store::{
    BUILDS_MAX, BuildLogLine, BuildRow, BuildState, NewTemplate, ProjectRow, Store, TEMPLATE_TAGS_MAX, TemplateError,
    TemplateRow,
};

const HOUR_MS: u64 = 60 * 60 * 1000;

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("db")).await.unwrap();
    (folder, store)
}

fn plan() -> BuildPlan {
    BuildPlan {
        vcpus: 1.try_into().unwrap(),
        memory_mib: 256.try_into().unwrap(),
        disk_mib: 512.try_into().unwrap(),
        from: None,
        user: None,
        stages: Vec::new(),
        steps: Vec::new(),
        force: false,
        start_cmd: None,
        ready_cmd: None,
        tags: vec!["default".to_owned()],
    }
}

fn why() -> BuildReason {
    BuildReason {
        message: "why".to_owned(),
        step: None,
    }
}

async fn book(store: &Store, project: ProjectId, now_unix_ms: u64) -> Result<(TemplateRow, BuildRow), TemplateError> {
    book_as(store, BuildId::new(), project, now_unix_ms).await
}

async fn book_as(
    store: &Store,
    id: BuildId,
    project: ProjectId,
    now_unix_ms: u64,
) -> Result<(TemplateRow, BuildRow), TemplateError> {
    let new = NewTemplate {
        id: TemplateId::new(),
        project,
        name: Some("web".to_owned()),
        public: false,
        sandbox: None,
        created_unix_ms: now_unix_ms,
    };
    store.book_build(&new, id, plan()).await
}

#[tokio::test]
async fn a_project_has_so_many_builds_that_are_not_over() {
    let (_folder, store) = store().await;
    let other = ProjectRow {
        id: ProjectId::new(),
        name: "other".parse().unwrap(),
        quotas: Quotas::default(),
        snapshots_max: None,
        created_unix_ms: 1,
    };
    store.insert_project(&other).await.unwrap();
    let mut builds = Vec::new();
    for _ in 0..BUILDS_MAX {
        builds.push(book(&store, ProjectId::DEFAULT, HOUR_MS).await.unwrap().1);
    }
    // Those that are under way count as those that wait do.
    assert!(store.start_build(builds[0].id, &plan()).await.unwrap());
    let refused = book(&store, ProjectId::DEFAULT, HOUR_MS).await;
    assert!(matches!(refused, Err(TemplateError::TooManyBuilds)), "{refused:?}");
    book(&store, other.id, HOUR_MS).await.unwrap();
    store.fail_build(builds[0].id, &why(), HOUR_MS).await.unwrap();
    book(&store, ProjectId::DEFAULT, HOUR_MS).await.unwrap();
}

#[tokio::test]
async fn a_refused_build_leaves_no_template() {
    let (_folder, store) = store().await;
    for _ in 0..BUILDS_MAX {
        book(&store, ProjectId::DEFAULT, HOUR_MS).await.unwrap();
    }
    let new = NewTemplate {
        id: TemplateId::new(),
        project: ProjectId::DEFAULT,
        name: Some("other".to_owned()),
        public: false,
        sandbox: None,
        created_unix_ms: HOUR_MS,
    };
    let refused = store.book_build(&new, BuildId::new(), plan()).await;
    assert!(matches!(refused, Err(TemplateError::TooManyBuilds)), "{refused:?}");
    assert_eq!(store.templates_of(ProjectId::DEFAULT).await.unwrap().len(), 1);
}

#[tokio::test]
async fn builds_that_nobody_starts_make_room_after_an_hour() {
    let (_folder, store) = store().await;
    let (_, first) = book(&store, ProjectId::DEFAULT, 1).await.unwrap();
    let (template, started) = book(&store, ProjectId::DEFAULT, 1).await.unwrap();
    assert!(store.start_build(started.id, &plan()).await.unwrap());
    for _ in 2..BUILDS_MAX {
        book(&store, ProjectId::DEFAULT, HOUR_MS).await.unwrap();
    }
    assert!(book(&store, ProjectId::DEFAULT, HOUR_MS + 1).await.is_err());
    book(&store, ProjectId::DEFAULT, HOUR_MS + 2).await.unwrap();
    assert_eq!(store.build(first.id).await.unwrap(), None);
    assert!(!store.start_build(first.id, &plan()).await.unwrap());
    let started = store.build(started.id).await.unwrap().unwrap();
    assert_eq!((started.state, started.template), (BuildState::Building, template.id));
}

#[tokio::test]
async fn builds_that_nobody_needs_are_found_however_many_there_are() {
    let (_folder, store) = store().await;
    let mut builds = Vec::new();
    let mut template = None;
    // Those that are made within a millisecond are in no order by themselves.
    for at in 0..12 {
        let booked = book_as(&store, BuildId::from_u128(at), ProjectId::DEFAULT, 1).await;
        let (of, build) = booked.unwrap();
        assert!(store.start_build(build.id, &plan()).await.unwrap());
        if at < 4 {
            assert!(store.finish_build(&build, SnapshotId::new(), 1).await.unwrap());
        } else {
            store.fail_build(build.id, &why(), 1).await.unwrap();
        }
        builds.push(build.id);
        template = Some(of);
    }
    let template = template.unwrap();
    // These hide them from whoever reads the newest ones.
    for at in 0..1_000 {
        let newer = BuildRow {
            id: BuildId::from_u128(100 + at),
            template: template.id,
            state: BuildState::Waiting,
            plan: plan(),
            reason: None,
            snapshot: None,
            created_unix_ms: 1,
            finished_unix_ms: None,
        };
        store.insert_build(&newer).await.unwrap();
    }
    let found = store.superseded_builds(template.id, 5).await.unwrap();
    let found: Vec<_> = found
        .into_iter()
        .map(|(id, snapshot)| (id, snapshot.is_some()))
        .collect();
    // The tag means the fourth, and the third is the last before it.
    let wanted = [
        (builds[1], true),
        (builds[0], true),
        (builds[6], false),
        (builds[5], false),
        (builds[4], false),
    ];
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn builds_that_were_cut_off_fail_though_their_plans_cannot_be_read() {
    let (folder, store) = store().await;
    let (_, build) = book(&store, ProjectId::DEFAULT, 1).await.unwrap();
    assert!(store.start_build(build.id, &plan()).await.unwrap());
    let (_, waits) = book(&store, ProjectId::DEFAULT, 1).await.unwrap();
    let path = folder.path().join("db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    let spoil = sqlx::query("UPDATE template_builds SET plan = 'x' WHERE state = 'building'");
    spoil.execute(&pool).await.unwrap();
    assert_eq!(store.fail_builds_under_way(&why(), 2).await.unwrap(), 1);
    let states = sqlx::query_scalar::<_, String>("SELECT state FROM template_builds ORDER BY state");
    assert_eq!(states.fetch_all(&pool).await.unwrap(), ["error", "waiting"]);
    pool.close().await;
    assert_eq!(store.forget_waiting_builds(1).await.unwrap(), 0);
    assert_eq!(store.forget_waiting_builds(2).await.unwrap(), 1);
    assert_eq!(store.build(waits.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_template_has_so_many_tags() {
    let (_folder, store) = store().await;
    let (template, build) = book(&store, ProjectId::DEFAULT, 1).await.unwrap();
    assert!(store.start_build(build.id, &plan()).await.unwrap());
    assert!(store.finish_build(&build, SnapshotId::new(), 1).await.unwrap());
    let tags: Vec<_> = (1..=TEMPLATE_TAGS_MAX).map(|n| format!("v{n}")).collect();
    let tag = async |tags: &[String]| store.tag_build(template.id, build.id, tags, 1).await;
    let refused = tag(&tags).await;
    assert!(matches!(refused, Err(TemplateError::TooManyTags)), "{refused:?}");
    assert_eq!(store.tags(template.id).await.unwrap().len(), 1);
    tag(&tags[1..]).await.unwrap();
    // Those that it has may mean another build, and a build that brings one more is refused before it is begun.
    tag(&tags[5..7]).await.unwrap();
    let mut new = plan();
    new.tags = tags[..1].to_vec();
    let asked = NewTemplate {
        id: TemplateId::new(),
        project: ProjectId::DEFAULT,
        name: Some("web".to_owned()),
        public: false,
        sandbox: None,
        created_unix_ms: 1,
    };
    let refused = store.book_build(&asked, BuildId::new(), new).await;
    assert!(matches!(refused, Err(TemplateError::TooManyTags)), "{refused:?}");
}

#[tokio::test]
async fn a_build_that_is_forgotten_says_nothing_more() {
    let (_folder, store) = store().await;
    let (template, build) = book(&store, ProjectId::DEFAULT, 1).await.unwrap();
    let line = BuildLogLine {
        at_unix_ms: 1,
        level: "info".to_owned(),
        step: None,
        message: "said".to_owned(),
    };
    let said = async || store.build_log(build.id, 0, 10).await.unwrap().len();
    store.log_build(build.id, std::slice::from_ref(&line)).await.unwrap();
    assert_eq!(said().await, 1);
    store.remove_template(template.id).await.unwrap();
    store.log_build(build.id, &[line]).await.unwrap();
    assert_eq!(said().await, 0);
}
