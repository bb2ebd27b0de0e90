//! Registries and disks that misbehave.

use std::time::{Duration, Instant};

use hearth_image::registry::PacePolicy;
use hearth_image::{ErrorKind, ImageStore, ProgressSink, PullOptions};
use hearth_testkit::images::{File, Image, gzip, sha256_hex, tar_of};

use crate::proxy::{Action, Proxy};
use crate::support::{Bench, assert_kind, bulky, chain, config, files, reference, registry_with};

const MIB: usize = 1024 * 1024;

fn is_blob(head: &str) -> bool {
    head.contains("/blobs/")
}

/// The compressed noise of [`bulky`].
fn noise_hex(image: &Image) -> String {
    sha256_hex(&gzip(image.layers.last().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_download_goes_on_where_it_was_cut() {
    let image = bulky(3 * MIB);
    let Some(registry) = registry_with(&image) else { return };
    let noise = noise_hex(&image);
    let cut = noise.clone();
    let proxy = Proxy::start(&registry.host(), move |head, before| match before {
        0 | 1 if head.contains(&cut) => Action::Cut(MIB),
        _ => Action::Forward,
    });
    let bench = Bench::new().await;
    bench.pull(&format!("{}/app:1", proxy.host())).await.unwrap();
    let requests = proxy.requests(&noise);
    let ranges: Vec<_> = requests
        .iter()
        .map(|head| head.lines().find(|line| line.starts_with("range:")))
        .collect();
    assert_eq!(
        ranges,
        [None, Some("range: bytes=1048576-"), Some("range: bytes=2097152-")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_up_and_asked_again() {
    let image = bulky(2 * MIB);
    let Some(registry) = registry_with(&image) else { return };
    let noise = noise_hex(&image);
    let proxy = Proxy::start(&registry.host(), move |head, before| match before {
        0 if head.contains(&noise) => Action::Stall(MIB),
        _ => Action::Forward,
    });
    let mut impatient = config();
    impatient.registry.idle_timeout_ms = 500;
    Bench::with(impatient)
        .await
        .pull(&format!("{}/app:1", proxy.host()))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_drips_is_given_up_and_what_came_kept() {
    let image = bulky(2 * MIB);
    let Some(registry) = registry_with(&image) else { return };
    let noise = noise_hex(&image);
    let dripping = noise.clone();
    let proxy = Proxy::start(&registry.host(), move |head, before| match before {
        0 if head.contains(&dripping) => Action::Drip(100, Duration::from_millis(10)),
        _ => Action::Forward,
    });
    let mut strict = config();
    strict.registry.pace = PacePolicy {
        bytes_per_second: MIB as u64,
        patience_ms: 500,
    };
    let bench = Bench::with(strict).await;
    let name = format!("{}/app:1", proxy.host());
    let error = assert_kind(bench.pull(&name).await, ErrorKind::Unreachable);
    assert!(error.to_string().contains("too slowly"), "{error}");
    assert_eq!(proxy.requests(&noise).len(), 1, "another try would drip as well");
    bench.pull(&name).await.unwrap();
    assert!(proxy.requests(&noise)[1].contains("range: bytes="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stalls_does_not_hold_up_another_that_has_the_same() {
    let image = bulky(2 * MIB);
    let Some(registry) = registry_with(&image) else { return };
    let mut other = Image::busybox("other").unwrap();
    other.layers.push(image.layers.last().unwrap().clone());
    crate::support::push(&registry, &other, "other:1");
    let noise = noise_hex(&image);
    let stalled = noise.clone();
    let stalling = Proxy::start(&registry.host(), move |head, _| {
        if head.contains(&stalled) {
            Action::Stall(MIB)
        } else {
            Action::Forward
        }
    });
    let mut hasty = config();
    (hasty.layer_wait_ms, hasty.image_wait_ms) = (200, 200);
    hasty.registry.idle_timeout_ms = 60_000;
    let bench = Bench::with(hasty).await;
    let partial = bench.root().join(format!("blobs/sha256/{noise}.partial"));
    let second = async {
        while std::fs::metadata(&partial).map_or(0, |metadata| metadata.len()) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // An image with the same layer, and the same image.
        for name in ["other:1", "app:1"] {
            let record = bench.pull(&format!("{}/{name}", registry.host())).await.unwrap();
            bench.store.hold(&record.id, "machine").unwrap();
        }
    };
    let first = format!("{}/app:1", stalling.host());
    tokio::select! {
        result = bench.pull(&first) => panic!("ended: {result:?}"),
        ended = tokio::time::timeout(Duration::from_secs(30), second) => ended.unwrap(),
    }
    // What the first one has is still there for its next try.
    assert!(partial.exists());
    bench.assert_nothing_in_the_making();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_dropped_is_taken_up_again() {
    let image = bulky(3 * MIB);
    let Some(registry) = registry_with(&image) else { return };
    let noise = noise_hex(&image);
    let stalled = noise.clone();
    let proxy = Proxy::start(&registry.host(), move |head, before| match before {
        0 if head.contains(&stalled) => Action::Stall(2 * MIB),
        _ => Action::Forward,
    });
    let bench = Bench::new().await;
    let name = format!("{}/app:1", proxy.host());
    let partial = bench.root().join(format!("blobs/sha256/{noise}.partial"));
    let begun = async {
        while std::fs::metadata(&partial).map_or(0, |metadata| metadata.len()) < MIB as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        result = bench.pull(&name) => panic!("ended: {result:?}"),
        begun = tokio::time::timeout(Duration::from_secs(20), begun) => begun.unwrap(),
    }
    assert!(bench.store.list().unwrap().is_empty());
    bench.pull(&name).await.unwrap();
    assert!(proxy.requests(&noise)[1].contains("range: bytes="));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_process_left_damaged_is_fetched_anew() {
    let image = bulky(MIB);
    let Some(registry) = registry_with(&image) else { return };
    let noise = noise_hex(&image);
    for left in [MIB / 2, 3 * MIB] {
        let bench = Bench::new().await;
        std::fs::write(
            bench.root().join(format!("blobs/sha256/{noise}.partial")),
            vec![7; left],
        )
        .unwrap();
        bench.pull(&format!("{}/app:1", registry.host())).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_beyond_loopback_must_be_asked_for() {
    let Some(registry) = registry_with(&Image::busybox("plain").unwrap()) else {
        return;
    };
    let bench = Bench::new().await;
    // The kernel takes this address to loopback, but nothing in its name promises that.
    let name = format!("[::ffff:127.0.0.1]:{}/app:1", registry.port());
    let error = assert_kind(bench.pull(&name).await, ErrorKind::Unreachable);
    assert!(error.to_string().contains("plain HTTP"), "{error}");
    let mut listed = config();
    listed
        .registry
        .insecure_registries
        .push(name.strip_suffix("/app:1").unwrap().to_owned());
    Bench::with(listed).await.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_trouble_is_asked_again_and_its_wish_to_wait_heard() {
    let Some(registry) = registry_with(&Image::busybox("trouble").unwrap()) else {
        return;
    };
    let proxy = Proxy::start(&registry.host(), |head, before| match (is_blob(head), before) {
        (_, 0) => Action::status("503 Service Unavailable", ""),
        (true, 1) => Action::status("429 Too Many Requests", "Retry-After: 1\r\n"),
        _ => Action::Forward,
    });
    let begun = Instant::now();
    Bench::new()
        .await
        .pull(&format!("{}/app:1", proxy.host()))
        .await
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_without_end_is_reported_and_other_refusals_at_once() {
    let Some(registry) = registry_with(&Image::busybox("trouble").unwrap()) else {
        return;
    };
    let bench = Bench::new().await;
    let broken = Proxy::start(&registry.host(), |head, _| {
        if is_blob(head) {
            Action::status("500 Internal Server Error", "")
        } else {
            Action::Forward
        }
    });
    assert_kind(
        bench.pull(&format!("{}/app:1", broken.host())).await,
        ErrorKind::Unreachable,
    );
    assert_eq!(broken.requests("/blobs/").len(), 4);
    let refusing = Proxy::start(&registry.host(), |head, _| {
        if is_blob(head) {
            Action::status("418 I'm a teapot", "")
        } else {
            Action::Forward
        }
    });
    assert_kind(
        bench.pull(&format!("{}/app:1", refusing.host())).await,
        ErrorKind::Unreachable,
    );
    assert_eq!(refusing.requests("/blobs/").len(), 1);
    let busy = Proxy::start(&registry.host(), |_, _| {
        Action::status("429 Too Many Requests", "Retry-After: 3600\r\n")
    });
    let error = assert_kind(
        bench.pull(&format!("{}/app:1", busy.host())).await,
        ErrorKind::Unreachable,
    );
    assert!(error.to_string().contains("for 3600 s"), "{error}");
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_shortened_layers_are_refused() {
    let image = bulky(MIB);
    let Some(registry) = registry_with(&image) else { return };
    let path = registry.blob(&noise_hex(&image));
    let whole = std::fs::read(&path).unwrap();
    let bench = Bench::new().await;
    let name = format!("{}/app:1", registry.host());

    let mut damaged = whole.clone();
    damaged[MIB / 2] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let error = assert_kind(bench.pull(&name).await, ErrorKind::Corrupt);
    assert!(error.to_string().contains("instead of"), "{error}");
    assert!(bench.store.list().unwrap().is_empty());
    bench.assert_nothing_in_the_making();

    std::fs::write(&path, &whole[..MIB / 2]).unwrap();
    assert_kind(bench.pull(&name).await, ErrorKind::Corrupt);

    std::fs::write(&path, whole).unwrap();
    bench.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_not_what_was_asked_for_or_too_long_is_refused() {
    let Some(registry) = registry_with(&Image::busybox("manifest").unwrap()) else {
        return;
    };
    let bench = Bench::new().await;
    let flood = Proxy::start(&registry.host(), |head, _| {
        let flood = || Action::Answer("HTTP/1.1 200 OK\r\n".into(), vec![b' '; 5 * MIB]);
        if head.contains("/manifests/") {
            flood()
        } else {
            Action::Forward
        }
    });
    assert_kind(
        bench.pull(&format!("{}/app:1", flood.host())).await,
        ErrorKind::InvalidInput,
    );
    let other = Proxy::start(&registry.host(), |head, _| {
        let other = || Action::Answer("HTTP/1.1 200 OK\r\n".into(), b"{}".to_vec());
        if head.contains("/manifests/") {
            other()
        } else {
            Action::Forward
        }
    });
    let pinned = format!("{}/app@sha256:{}", other.host(), "0".repeat(64));
    assert_kind(bench.pull(&pinned).await, ErrorKind::Corrupt);
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_shown_to_the_registry_and_to_nobody_else() {
    let Some(registry) = registry_with(&Image::busybox("token").unwrap()) else {
        return;
    };
    // Blobs lie on another host, as with the large public registries.
    let elsewhere = Proxy::start(&registry.host(), |_, _| Action::Forward);
    let target = elsewhere.host();
    let front = Proxy::start(&registry.host(), move |head, _| {
        let path = head.split(' ').nth(1).unwrap();
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        if path.starts_with("/token?") {
            assert!(head.contains("authorization: Basic "), "{head}");
            assert!(
                path.contains("scope=repository%3Aapp%3Apull") && path.contains("service=s"),
                "{path}"
            );
            Action::Answer("HTTP/1.1 200 OK\r\n".into(), br#"{"token":"sesame"}"#.to_vec())
        } else if !head.contains("authorization: Bearer sesame\r\n") {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
            Action::status("401 Unauthorized", &challenge)
        } else if is_blob(head) {
            Action::status(
                "307 Temporary Redirect",
                &format!("Location: http://{target}{path}\r\n"),
            )
        } else {
            Action::Forward
        }
    });
    let credentials = hearth_image::Credentials::Basic {
        username: "me".into(),
        password: "secret".into(),
    };
    let options = PullOptions {
        credentials: Some(credentials),
        ..PullOptions::of_host()
    };
    let bench = Bench::new().await;
    let name = reference(&format!("{}/app:1", front.host()));
    bench.store.pull(&name, options, ProgressSink::none()).await.unwrap();
    assert_eq!(front.requests("/token").len(), 1);
    let redirected = elsewhere.requests("/blobs/");
    assert_eq!(redirected.len(), 3);
    assert!(
        redirected.iter().all(|head| !head.contains("authorization")),
        "{redirected:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirects_target_is_not_given_the_credentials_it_asks_for() {
    let Some(registry) = registry_with(&Image::busybox("harvest").unwrap()) else {
        return;
    };
    let challenges = ["Bearer realm=\"http://HOST/token\",service=\"s\"", "Basic realm=\"x\""];
    for (part, challenge) in [("/blobs/", 0), ("/blobs/", 1), ("/manifests/", 0), ("/v2/ ", 0)] {
        let challenge = challenges[challenge];
        // Where the registry keeps its blobs, in a stranger's hands.
        let stranger = Proxy::start(&registry.host(), move |head, _| {
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            if head.contains("/token") {
                return Action::Answer("HTTP/1.1 200 OK\r\n".into(), br#"{"token":"sesame"}"#.to_vec());
            }
            let challenge = challenge.replace("HOST", host);
            Action::status("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"))
        });
        let target = stranger.host();
        let front = Proxy::start(&registry.host(), move |head, _| {
            if !head.contains(part) {
                return Action::Forward;
            }
            let path = head.split(' ').nth(1).unwrap();
            Action::status(
                "307 Temporary Redirect",
                &format!("Location: http://{target}{path}\r\n"),
            )
        });
        let credentials = hearth_image::Credentials::Basic {
            username: "me".into(),
            password: "secret".into(),
        };
        let options = PullOptions {
            credentials: Some(credentials),
            ..PullOptions::of_host()
        };
        let bench = Bench::new().await;
        let name = reference(&format!("{}/app:1", front.host()));
        let pulled = bench.store.pull(&name, options, ProgressSink::none()).await;
        let (asked, greeted) = (stranger.requests(""), part == "/v2/ ");
        assert!(!asked.is_empty() && stranger.requests("/token").is_empty(), "{asked:?}");
        assert!(asked.iter().all(|head| !head.contains("authorization")), "{asked:?}");
        assert!(front.requests("").iter().all(|head| !head.contains("authorization")));
        // A greeting that leads astray says nothing about the requests that count.
        assert_eq!(pulled.is_ok(), greeted, "{part} {pulled:?}");
        if let Err(error) = pulled {
            assert!(error.to_string().contains("wants a login"), "{error}");
            bench.assert_empty();
        }
    }
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("hearth-small-").tempdir().unwrap();
        let mounted = Self::command(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            &folder,
        );
        if !mounted {
            eprintln!("SKIPPED: a tmpfs cannot be mounted here");
            return None;
        }
        Some(Self(folder))
    }

    fn grow(&self, size: &str) {
        assert!(Self::command(
            "mount",
            &["-o", &format!("remount,size={size}")],
            &self.0
        ));
    }

    fn command(program: &str, arguments: &[&str], folder: &tempfile::TempDir) -> bool {
        std::process::Command::new(program)
            .args(arguments)
            .arg(folder.path())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Self::command("umount", &["--lazy"], &self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_seen_beforehand_or_on_the_way_and_leaves_nothing() {
    let bulky = bulky(4 * MIB);
    let Some(registry) = registry_with(&bulky) else { return };
    // Compresses to nearly nothing, so that only the conversion finds out.
    let text: Vec<u8> = b"the same line again and again\n".repeat(MIB);
    let mut dense = Image::busybox("dense").unwrap();
    dense.layers.push(tar_of(&[File::plain("text", &text)]).unwrap());
    crate::support::push(&registry, &dense, "dense:1");
    let Some(disk) = SmallDisk::mount("6m") else { return };
    let root = disk.0.path().join("store");
    let store = ImageStore::open(&root, config()).await.unwrap();
    let pull = async |name: &str| {
        let name = reference(&format!("{}/{name}", registry.host()));
        store.pull(&name, PullOptions::of_host(), ProgressSink::none()).await
    };
    let error = assert_kind(pull("app:1").await, ErrorKind::NoSpace);
    assert!(error.to_string().contains("are free"), "{error}");
    let error = assert_kind(pull("dense:1").await, ErrorKind::NoSpace);
    assert!(chain(&error).contains("space"), "{}", chain(&error));
    assert!(store.list().unwrap().is_empty());
    assert_eq!(files(&root.join("images")), Vec::<String>::new());
    disk.grow("200m");
    pull("dense:1").await.unwrap();
    pull("app:1").await.unwrap();
    drop(store);
    assert_eq!(files(&root.join("tmp")), Vec::<String>::new());
}
