//! What keeps images, what removes them, and what happens at the same time.

use hearth_image::{
    ErrorKind, ImageError, ImageRecord, ImageStore, ImportOptions, ImportSource, NameClaim, ProgressSink, PullOptions,
};
use hearth_testkit::images::{Image, gzip, sha256_hex};

use crate::proxy::{Action, Proxy};
use crate::support::{Bench, assert_kind, bulky, config, files, reference, registry_with};

async fn import(bench: &Bench, marker: &str, name: Option<&str>) -> ImageRecord {
    import_claiming(bench, marker, name, None).await.unwrap()
}

async fn import_claiming(
    bench: &Bench,
    marker: &str,
    name: Option<&str>,
    claim: impl Into<Option<NameClaim>>,
) -> Result<ImageRecord, ImageError> {
    let folder = tempfile::tempdir().unwrap();
    let layout =
        hearth_testkit::images::Layout::with_image(folder.path(), &Image::busybox(marker).unwrap(), "x").unwrap();
    let options = ImportOptions {
        name: name.map(reference),
        claim: claim.into(),
        ..ImportOptions::default()
    };
    let source = ImportSource::Path(layout.folder().to_owned());
    bench.store.import(source, options, ProgressSink::none()).await
}

fn claim(owner: &str, may_move: bool) -> NameClaim {
    NameClaim {
        owner: owner.into(),
        may_move,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_name_is_free_or_the_claimers_own() {
    let bench = Bench::new().await;
    let old = import_claiming(&bench, "old", Some("app:1"), claim("a", true))
        .await
        .unwrap()
        .id;
    let theirs = import_claiming(&bench, "new", Some("app:1"), claim("b", true)).await;
    let theirs = assert_kind(theirs, ErrorKind::InUse);
    assert!(matches!(theirs, ImageError::NameTaken(_)), "{theirs}");
    assert_kind(
        import_claiming(&bench, "new", Some("app:1"), claim("a", false)).await,
        ErrorKind::InUse,
    );
    assert_eq!(bench.store.list().unwrap().len(), 1, "what has no name left nothing");
    // The same image may be named so by all, and stays whose it was.
    import_claiming(&bench, "old", Some("app:1"), claim("b", true))
        .await
        .unwrap();
    assert_eq!(bench.store.resolve("app:1").unwrap().id, old);
    import_claiming(&bench, "new", Some("app:1"), claim("a", true))
        .await
        .unwrap();
    assert_ne!(bench.store.resolve("app:1").unwrap().id, old);
    // What the host names is the host's from then on.
    import(&bench, "old", Some("app:1")).await;
    assert_kind(
        import_claiming(&bench, "new", Some("app:1"), claim("a", true)).await,
        ErrorKind::InUse,
    );
    assert_eq!(bench.store.resolve("app:1").unwrap().id, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_claim_a_name_at_once_one_has_it() {
    let bench = Bench::new().await;
    let (one, other) = tokio::join!(
        import_claiming(&bench, "one", Some("app:1"), claim("a", true)),
        import_claiming(&bench, "other", Some("app:1"), claim("b", true)),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    let had = one.or(other).unwrap();
    assert_eq!(bench.store.resolve("app:1").unwrap().id, had.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_one_image_share_the_work() {
    let image = bulky(1024 * 1024);
    let Some(registry) = registry_with(&image) else { return };
    let proxy = Proxy::start(&registry.host(), |_, _| Action::Forward);
    let bench = Bench::new().await;
    // A second store on the same folder is what a second process would be.
    let second = ImageStore::open(&bench.root(), config()).await.unwrap();
    let name = reference(&format!("{}/app:1", proxy.host()));
    let pull = |store: &ImageStore| {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move {
            store
                .pull(&name, PullOptions::of_host(), ProgressSink::none())
                .await
                .unwrap()
                .id
        })
    };
    let tasks = [pull(&bench.store), pull(&bench.store), pull(&second), pull(&second)];
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    for layer in &image.layers {
        let hex = sha256_hex(&gzip(layer).unwrap());
        assert_eq!(proxy.requests(&hex).len(), 1);
    }
    assert_eq!(bench.store.list().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_use_stays_even_when_the_store_is_opened_anew() {
    let bench = Bench::new().await;
    let id = import(&bench, "held", Some("held:1")).await.id;
    let held = bench.store.hold(&id, "mch1").unwrap();
    bench.store.hold(&id, "mch2").unwrap();
    let store = ImageStore::open(&bench.root(), config()).await.unwrap();
    let error = assert_kind(store.remove("held:1", false), ErrorKind::InUse);
    assert!(error.to_string().contains("mch1, mch2"), "{error}");
    assert_eq!(store.prune(true).unwrap().deleted, []);
    assert_eq!(store.holders().unwrap().len(), 2);

    let forced = store.remove("held:1", true).unwrap();
    assert_eq!((forced.untagged.len(), forced.deleted), (1, None));
    assert!(held.root_path.exists());
    store.release("mch1").unwrap();
    store.release("mch1").unwrap();
    assert_eq!(store.prune(false).unwrap().deleted, []);
    store.release("mch2").unwrap();
    let report = store.prune(false).unwrap();
    assert_eq!(report.deleted, [id]);
    assert!(report.freed_bytes > 1_000_000);
    assert!(!held.root_path.exists());
    assert_eq!(files(&bench.root().join("holders")), Vec::<String>::new());
    assert_kind(bench.store.hold(&id, "mch3"), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_move_and_the_last_one_takes_the_image_along() {
    let bench = Bench::new().await;
    let old = import(&bench, "old", Some("app:1")).await.id;
    let new = import(&bench, "new", Some("app:1")).await.id;
    assert_eq!(bench.store.resolve("app:1").unwrap().id, new);
    assert!(bench.store.resolve(&old.to_string()).unwrap().names.is_empty());
    assert_eq!(bench.store.prune(false).unwrap().deleted, [old]);

    bench.store.tag("app:1", &reference("app:2")).unwrap();
    let short = new.digest().short();
    assert!(matches!(
        bench.store.remove(&short, false),
        Err(ImageError::SeveralNames { .. })
    ));
    assert_eq!(bench.store.remove("app:1", false).unwrap().deleted, None);
    assert_kind(bench.store.resolve("app:1"), ErrorKind::NotFound);
    assert_eq!(bench.store.remove("app:2", false).unwrap().deleted, Some(new));
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_found_by_name_id_and_prefix() {
    let bench = Bench::new().await;
    let id = import(&bench, "found", Some("docker.io/library/found:latest")).await.id;
    let hex = id.digest().hex();
    for text in [
        "found",
        "library/found",
        "docker.io/library/found:latest",
        &id.to_string(),
        &hex,
        &hex[..12],
        &hex[..4],
    ] {
        assert_eq!(bench.store.resolve(text).unwrap().id, id, "{text}");
    }
    for text in ["lost", "found:2", &hex[..3], "", "../../etc", &"0".repeat(64)] {
        assert_kind(bench.store.resolve(text), ErrorKind::NotFound);
    }
    for holder in ["", ".", "..", "a/b", "a\0", &"x".repeat(129)] {
        assert_kind(bench.store.hold(&id, holder), ErrorKind::InvalidInput);
        assert_kind(bench.store.release(holder), ErrorKind::InvalidInput);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_takes_named_images_and_begun_downloads_when_asked() {
    let bench = Bench::new().await;
    import(&bench, "one", Some("one:1")).await;
    import(&bench, "two", None).await;
    let partial = bench.root().join(format!("blobs/sha256/{}.partial", "ab".repeat(32)));
    std::fs::write(partial, [0; 1000]).unwrap();
    let report = bench.store.prune(false).unwrap();
    assert_eq!((report.deleted.len(), report.blobs, report.untagged.len()), (1, 1, 0));
    let report = bench.store.prune(true).unwrap();
    assert_eq!((report.deleted.len(), report.blobs, report.untagged.len()), (1, 0, 1));
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_root_or_record_is_noticed() {
    let bench = Bench::new().await;
    let record = import(&bench, "damaged", Some("damaged:1")).await;
    let held = bench.store.hold(&record.id, "mch1").unwrap();
    std::fs::remove_file(&held.root_path).unwrap();
    std::fs::write(&held.root_path, b"short").unwrap();
    assert_kind(bench.store.hold(&record.id, "mch2"), ErrorKind::Corrupt);
    std::fs::write(held.root_path.with_extension("json"), b"{").unwrap();
    assert_kind(bench.store.resolve("damaged:1"), ErrorKind::Corrupt);
    assert_eq!(bench.store.list().unwrap(), []);
}
