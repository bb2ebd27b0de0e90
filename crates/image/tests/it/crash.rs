//! kill -9 at many moments: what is visible afterwards is whole, and what was half-made is gone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hearth_image::{ImageStore, ImportOptions, ImportSource, ProgressSink, PullOptions};
use hearth_testkit::images::{File, Image, Layout, gzip, sha256_hex, tar_of};

use crate::proxy::{Action, Proxy};
use crate::support::{Bench, bulky, config, files, reference, registry_with};

const PULL: &str = "HEARTH_TEST_CRASH_PULL";
const STORE: &str = "HEARTH_TEST_CRASH_STORE";
const LAYOUT: &str = "HEARTH_TEST_CRASH_LAYOUT";
/// More than an import takes here, so that the last kills come after its end.
const STEPS: u64 = 12;

/// What the killed process does: not a test of its own.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let store = ImageStore::open(Path::new(&store), config()).await.unwrap();
    if let Ok(name) = std::env::var(PULL) {
        let _ = store
            .pull(&reference(&name), PullOptions::default(), ProgressSink::none())
            .await;
    }
    let Some(layout) = std::env::var_os(LAYOUT) else { return };
    for round in 0.. {
        let options = ImportOptions {
            name: Some(reference(&format!("round:{round}"))),
            ..ImportOptions::default()
        };
        let record = store
            .import(ImportSource::Path(layout.clone().into()), options, ProgressSink::none())
            .await
            .unwrap();
        store.hold(&record.id, "victim").unwrap();
        store.release("victim").unwrap();
        store.remove(&record.id.to_string(), true).unwrap();
    }
}

fn start(store: &Path, variable: &str, value: impl AsRef<std::ffi::OsStr>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(STORE, store)
        .env(variable, value)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_only_whole_images() {
    let bench = Bench::new().await;
    let mut image = Image::busybox("crash").unwrap();
    image
        .layers
        .push(tar_of(&[File::plain("big", &vec![b'x'; 4 * 1024 * 1024])]).unwrap());
    let layout = Layout::with_image(&bench.folder.path().join("layout"), &image, "x").unwrap();
    let root = bench.folder.path().join("victim");
    for step in 0..STEPS {
        let mut child = start(&root, LAYOUT, layout.folder());
        wait_for_session(&root, &mut child);
        std::thread::sleep(Duration::from_millis(step * step * 3));
        child.kill().unwrap();
        child.wait().unwrap();

        let store = ImageStore::open(&root, config()).await.unwrap();
        assert_eq!(files(&root.join("tmp")).len(), 1, "only our own session is left");
        for record in store.list().unwrap() {
            store.hold(&record.id, "check").unwrap();
            store.release("check").unwrap();
        }
        for file in files(&root.join("images")) {
            let stem = file.split('.').next().unwrap();
            assert!(
                root.join("images").join(format!("{stem}.json")).exists(),
                "{file} has no record"
            );
            assert!(
                root.join("images").join(format!("{stem}.erofs")).exists(),
                "{file} has no root"
            );
        }
        store.release("victim").unwrap();
        store.prune(true).unwrap();
        assert!(store.list().unwrap().is_empty());
        assert_eq!(files(&root.join("refs")), Vec::<String>::new());
    }
}

fn wait_for_session(root: &Path, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !root
        .join("tmp")
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        assert!(child.try_wait().unwrap().is_none(), "the victim ended by itself");
        assert!(Instant::now() < deadline, "the victim does not begin");
        std::thread::sleep(Duration::from_millis(2));
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
    let mut child = start(&bench.root(), PULL, &name);
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
