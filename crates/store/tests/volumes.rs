//! Volumes, as they are stored.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use hearth_ids::{ProjectId, VolumeId};
use hearth_store::{NewVolumeError, ProjectRow, Store, VOLUMES_MAX, VolumeRow};

fn row(project: ProjectId, name: &str) -> VolumeRow {
    VolumeRow {
        id: VolumeId::new(),
        project,
        name: name.to_owned(),
        created_unix_ms: 7,
    }
}

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("db")).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn a_name_is_one_volumes_of_a_project() {
    let (_folder, store) = store().await;
    let other = ProjectRow {
        id: ProjectId::new(),
        name: "other".parse().unwrap(),
        quotas: hearth_domain::Quotas::default(),
        snapshots_max: None,
        created_unix_ms: 1,
    };
    store.insert_project(&other).await.unwrap();
    let first = row(ProjectId::DEFAULT, "data");
    store.insert_volume(&first).await.unwrap();
    let taken = store.insert_volume(&row(ProjectId::DEFAULT, "data")).await;
    assert!(matches!(taken, Err(NewVolumeError::NameTaken(name)) if name == "data"));
    store.insert_volume(&row(other.id, "data")).await.unwrap();
    assert_eq!(store.volumes(None).await.unwrap().len(), 2);
    assert_eq!(
        store.volumes(Some(ProjectId::DEFAULT)).await.unwrap(),
        std::slice::from_ref(&first)
    );
    assert_eq!(
        store.volume_named(ProjectId::DEFAULT, "data").await.unwrap(),
        Some(first.clone())
    );
    assert!(store.forget_volume(first.id).await.unwrap());
    assert!(!store.forget_volume(first.id).await.unwrap());
    assert_eq!(store.volume(first.id).await.unwrap(), None);
    store.insert_volume(&row(ProjectId::DEFAULT, "data")).await.unwrap();
}

#[tokio::test]
async fn a_project_has_so_many_and_no_more() {
    let (_folder, store) = store().await;
    for number in 0..VOLUMES_MAX {
        store
            .insert_volume(&row(ProjectId::DEFAULT, &number.to_string()))
            .await
            .unwrap();
    }
    let more = store.insert_volume(&row(ProjectId::DEFAULT, "more")).await;
    assert!(matches!(more, Err(NewVolumeError::TooMany)));
}
