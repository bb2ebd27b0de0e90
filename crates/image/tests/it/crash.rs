//! kill -9 at every place that the store names itself: what is visible afterwards is whole, and what was half-made is gone.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hearth_image::fault::POINTS;
use hearth_image::{ImageStore, ImportOptions, ImportSource, ProgressSink, PullOptions};
use hearth_testkit::images::{gzip, sha256_hex};

use crate::proxy::{Action, Proxy};
use crate::support::{Bench, bulky, config, files, reference, registry_with};

const PULL: &str = "HEARTH_TEST_CRASH_PULL";
const STORE: &str = "HEARTH_TEST_CRASH_STORE";
const LAYOUT: &str = "HEARTH_TEST_CRASH_LAYOUT";
const FAULT: &str = "HEARTH_FAULT";
const NAME: &str = "crash:1";
const HOLDER: &str = "victim";
const SIGKILL: i32 = 9;

/// What must be there after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// No image.
    Nothing,
    /// One that has no name yet, or no more.
    Unnamed,
    /// One with its name.
    Named,
    /// The same, kept by its holder.
    Held,
}

/// Every point, and what must follow.
const TABLE: &[(&str, Outcome)] = &[
    ("image.session.folder", Outcome::Nothing),
    ("image.work.folder", Outcome::Nothing),
    ("image.layer.fetched", Outcome::Nothing),
    ("image.layer.linked", Outcome::Nothing),
    ("image.layer.stored", Outcome::Nothing),
    ("image.convert.begun", Outcome::Nothing),
    ("image.convert.layer", Outcome::Nothing),
    ("image.convert.done", Outcome::Nothing),
    ("image.publish.root", Outcome::Nothing),
    ("image.publish.record", Outcome::Unnamed),
    ("image.publish.name", Outcome::Named),
    ("image.hold.recorded", Outcome::Held),
    ("image.release.recorded", Outcome::Named),
    ("image.remove.name", Outcome::Unnamed),
    ("image.remove.record", Outcome::Nothing),
    ("image.remove.root", Outcome::Nothing),
];

/// Not a test: the process that the tests below kill. It takes an image through its whole life.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that the other tests here kill"]
async fn victim() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let store = ImageStore::open(Path::new(&store), config()).await.unwrap();
    if let Ok(name) = std::env::var(PULL) {
        let sink = ProgressSink::none();
        store
            .pull(&reference(&name), PullOptions::of_host(), sink)
            .await
            .unwrap();
    }
    let Some(layout) = std::env::var_os(LAYOUT) else { return };
    let id = import(&store, Path::new(&layout)).await;
    store.hold(&id, HOLDER).unwrap();
    store.release(HOLDER).unwrap();
    store.remove(&id.to_string(), true).unwrap();
}

async fn import(store: &ImageStore, layout: &Path) -> hearth_image::ImageId {
    let options = ImportOptions {
        name: Some(reference(NAME)),
        ..ImportOptions::default()
    };
    let source = ImportSource::Path(layout.to_owned());
    store.import(source, options, ProgressSink::none()).await.unwrap().id
}

fn start(store: &Path, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--ignored", "--nocapture"])
        .env(STORE, store)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a victim that ends itself at `point`.
fn die_at(point: &str, store: &Path, variable: &str, value: &str) {
    let status = start(store, &[(FAULT, point), (variable, value)]).wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "the victim never came to {point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_point_leaves_only_whole_images() {
    assert!(
        POINTS.iter().eq(TABLE.iter().map(|(point, _)| point)),
        "every point is in the table"
    );
    let bench = Bench::new().await;
    let layout = bench.layout(&bulky(64 * 1024), "x");
    let layout = layout.folder();
    let of_imports = TABLE.iter().filter(|(point, _)| !point.starts_with("image.layer."));
    for (point, outcome) in of_imports.copied() {
        let root = bench.folder.path().join(point);
        die_at(point, &root, LAYOUT, layout.to_str().unwrap());
        let store = ImageStore::open(&root, config()).await.unwrap();
        check_whole(&root, &store, point, outcome);
        // The next one does what this one did not come to.
        let id = import(&store, layout).await;
        assert_eq!(store.resolve(NAME).unwrap().id, id, "{point}");
        store.release(HOLDER).unwrap();
        store.remove(NAME, false).unwrap();
        check_whole(&root, &store, point, Outcome::Nothing);
    }
    let whole_life = start(&bench.root(), &[(LAYOUT, layout.to_str().unwrap())])
        .wait()
        .unwrap();
    assert!(whole_life.success());
}

/// The image that there must be, if any, is whole, and there is nothing of any other.
fn check_whole(root: &Path, store: &ImageStore, point: &str, outcome: Outcome) {
    assert_eq!(
        files(&root.join("tmp")).len(),
        1,
        "{point}: only our own session is left"
    );
    let images = store.list().unwrap();
    let parts: Vec<_> = images
        .iter()
        .flat_map(|image| ["erofs", "json"].map(|kind| format!("{}.{kind}", image.id.digest().hex())))
        .collect();
    assert_eq!(files(&root.join("images")), parts, "{point}");
    let has_name = matches!(outcome, Outcome::Named | Outcome::Held);
    assert_eq!(files(&root.join("refs")).len(), usize::from(has_name), "{point}");
    let [image] = images.as_slice() else {
        assert_eq!((images.len(), outcome), (0, Outcome::Nothing), "{point}");
        return;
    };
    let expected = if has_name { vec![reference(NAME)] } else { Vec::new() };
    assert_eq!(image.names, expected, "{point}");
    assert_eq!(image.holders.len(), usize::from(outcome == Outcome::Held), "{point}");
    assert_ne!(outcome, Outcome::Nothing, "{point}");
    let held = store.hold(&image.id, "check").unwrap();
    assert_eq!(
        std::fs::metadata(held.root_path).unwrap().len(),
        image.size_bytes,
        "{point}"
    );
    store.release("check").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_fetched_once_whenever_the_first_process_was_killed() {
    let image = bulky(64 * 1024);
    let Some(registry) = registry_with(&image) else { return };
    let bench = Bench::new().await;
    for (point, _) in TABLE.iter().filter(|(point, _)| point.starts_with("image.layer.")) {
        let proxy = Proxy::start(&registry.host(), |_, _| Action::Forward);
        let name = format!("{}/app:1", proxy.host());
        let root = bench.folder.path().join(point);
        die_at(point, &root, PULL, &name);
        let store = ImageStore::open(&root, config()).await.unwrap();
        check_whole(&root, &store, point, Outcome::Nothing);
        let sink = ProgressSink::none();
        store
            .pull(&reference(&name), PullOptions::of_host(), sink)
            .await
            .unwrap();
        // Whichever layer came first was whole when the process died.
        let hexes = image.layers.iter().map(|layer| sha256_hex(&gzip(layer).unwrap()));
        let once = hexes.filter(|hex| proxy.requests(hex).len() == 1).count();
        assert!(once > 0, "{point}");
        assert_eq!(files(&root.join("blobs/sha256")), Vec::<String>::new(), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_killed_goes_on_in_the_next_process() {
    const MIB: usize = 1024 * 1024;
    let image = bulky(4 * MIB);
    let Some(registry) = registry_with(&image) else { return };
    let noise = sha256_hex(&gzip(image.layers.last().unwrap()).unwrap());
    let stalled = noise.clone();
    let proxy = Proxy::start(&registry.host(), move |head, before| match before {
        0 if head.contains(&stalled) => Action::Stall(3 * MIB),
        _ => Action::Forward,
    });
    let bench = Bench::new().await;
    let name = format!("{}/app:1", proxy.host());
    let mut child = start(&bench.root(), &[(PULL, &name)]);
    let partial = bench.root().join(format!("blobs/sha256/{noise}.partial"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(&partial).map_or(0, |metadata| metadata.len()) < MIB as u64 {
        assert!(Instant::now() < deadline, "the download does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(bench.store.list().unwrap().is_empty());
    bench.pull(&name).await.unwrap();
    assert!(proxy.requests(&noise)[1].contains("range: bytes="));
    assert_eq!(files(&bench.root().join("blobs/sha256")), Vec::<String>::new());
}
