//! Pulls that go well, and those that the registry or the image forbids.

use hearth_image::{Credentials, ErrorKind, Phase, PullOptions, StoreConfig};
use hearth_testkit::images::{Image, Layout, host_architecture};
use hearth_testkit::registry::{Registry, RegistryOptions};

use crate::proxy::{Action, Proxy};
use crate::support::{
    Bench, assert_kind, chain, config, files, push, read_from_root, recorder, reference, registry_with,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_and_can_be_read() {
    let Some(registry) = registry_with(&Image::busybox("plain").unwrap()) else {
        return;
    };
    let bench = Bench::new().await;
    let name = reference(&format!("{}/app:1", registry.host()));
    let (sink, events) = recorder();
    let record = bench.store.pull(&name, PullOptions::of_host(), sink).await.unwrap();
    assert_eq!(record.names, std::slice::from_ref(&name));
    assert_eq!(record.config.cmd, ["/bin/sh"]);
    assert_eq!(record.created, Some("2024-05-06T07:08:09Z".parse().unwrap()));
    assert_eq!(bench.store.list().unwrap(), std::slice::from_ref(&record));
    let phases = [Phase::Resolving, Phase::Downloading, Phase::Converting, Phase::Done];
    let seen = std::mem::take(&mut *events.lock().unwrap());
    assert!(
        phases.iter().all(|phase| seen.iter().any(|(seen, _)| seen == phase)),
        "{seen:?}"
    );

    let held = bench.store.hold(&record.id, "machine").unwrap();
    assert_eq!(std::fs::metadata(&held.root_path).unwrap().len(), record.size_bytes);
    if let Some(marker) = read_from_root(&held.root_path, "marker") {
        assert_eq!(marker, b"plain");
    }
    assert_eq!(files(&bench.root().join("blobs/sha256")), Vec::<String>::new());
    bench.assert_nothing_in_the_making();

    let (sink, events) = recorder();
    let again = bench.store.pull(&name, PullOptions::of_host(), sink).await.unwrap();
    assert_eq!(again.id, record.id);
    let seen: Vec<_> = events.lock().unwrap().iter().map(|(phase, _)| *phase).collect();
    assert_eq!(seen, [Phase::Resolving, Phase::Done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_must_be_given_and_is_enough() {
    let options = RegistryOptions {
        tls: true,
        ..RegistryOptions::default()
    };
    let Some(registry) = Registry::start(options).unwrap() else {
        return;
    };
    push(&registry, &Image::busybox("tls").unwrap(), "app:1");
    let name = format!("{}/app:1", registry.host());

    let bench = Bench::new().await;
    let error = assert_kind(bench.pull(&name).await, ErrorKind::Unreachable);
    assert!(
        chain(&error).contains("certificate is not trusted"),
        "{}",
        chain(&error)
    );

    let mut trusting = config();
    trusting.registry.ca_files.push(registry.ca_file());
    Bench::with(trusting).await.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_that_was_given_is_enough() {
    let options = RegistryOptions {
        tls: true,
        self_signed: true,
        login: None,
    };
    let (Some(registry), Some(stranger)) = (
        Registry::start(options.clone()).unwrap(),
        Registry::start(options).unwrap(),
    ) else {
        return;
    };
    push(&registry, &Image::busybox("tls").unwrap(), "app:1");
    let mut trusting = config();
    trusting.registry.ca_files.push(registry.ca_file());
    let bench = Bench::with(trusting).await;
    bench.pull(&format!("{}/app:1", registry.host())).await.unwrap();
    let other = bench.pull(&format!("{}/app:1", stranger.host())).await;
    let error = assert_kind(other, ErrorKind::Unreachable);
    assert!(chain(&error).contains("not trusted"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_lets_anybody_read_needs_no_login() {
    let Some(registry) = registry_with(&Image::busybox("open").unwrap()) else {
        return;
    };
    // Greets everybody with a challenge, as some do, and asks nobody afterwards.
    let proxy = Proxy::start(&registry.host(), |head, _| {
        if head.starts_with("GET /v2/ ") {
            Action::status(
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n",
            )
        } else {
            Action::Forward
        }
    });
    let bench = Bench::new().await;
    let error = assert_kind(
        bench.pull(&format!("{}/app:none", proxy.host())).await,
        ErrorKind::NotFound,
    );
    assert!(chain(&error).contains("has no manifest none"), "{}", chain(&error));
    bench.pull(&format!("{}/app:1", proxy.host())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_with_the_pull_or_from_docker() {
    let login = ("user".to_owned(), "pass:word".to_owned());
    let options = RegistryOptions {
        login: Some(login.clone()),
        ..RegistryOptions::default()
    };
    let Some(registry) = Registry::start(options).unwrap() else {
        return;
    };
    push(&registry, &Image::busybox("private").unwrap(), "app:1");
    let name = format!("{}/app:1", registry.host());

    let bench = Bench::new().await;
    let error = assert_kind(bench.pull(&name).await, ErrorKind::Unauthorized);
    assert!(chain(&error).contains("docker login"), "{}", chain(&error));
    let with = |password: &str| {
        let (username, password) = (login.0.clone(), password.to_owned());
        PullOptions {
            credentials: Some(Credentials::Basic { username, password }),
            ..PullOptions::of_host()
        }
    };
    let sink = hearth_image::ProgressSink::none;
    assert_kind(
        bench.store.pull(&reference(&name), with("wrong"), sink()).await,
        ErrorKind::Unauthorized,
    );
    bench.assert_empty();
    bench
        .store
        .pull(&reference(&name), with(&login.1), sink())
        .await
        .unwrap();

    let docker_config = bench.folder.path().join("config.json");
    let entry = format!(
        r#"{{"auths":{{"{}":{{"username":"user","password":"pass:word"}}}}}}"#,
        registry.host()
    );
    std::fs::write(&docker_config, entry).unwrap();
    let knowing = StoreConfig {
        docker_config: Some(docker_config),
        ..config()
    };
    Bench::with(knowing).await.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_platforms_the_host_s_is_taken() {
    let Some(registry) = Registry::start(RegistryOptions::default()).unwrap() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path()).unwrap();
    let own = Image::busybox("own").unwrap();
    let foreign = |architecture: &str| Image {
        architecture: architecture.into(),
        ..Image::busybox(architecture).unwrap()
    };
    let other = layout.add_image(&foreign("s390x")).unwrap();
    let another = layout.add_image(&foreign("riscv64")).unwrap();
    let mine = layout.add_image(&own).unwrap();
    let both = layout.add_index(&[other.clone(), mine]).unwrap();
    let neither = layout.add_index(&[other.clone(), another]).unwrap();
    for (descriptor, tag) in [(both, "both"), (neither, "neither"), (other, "single")] {
        layout.tag(descriptor, tag).unwrap();
        registry.push(layout.folder(), tag, &format!("app:{tag}")).unwrap();
    }
    let bench = Bench::new().await;
    let pull = async |tag: &str| bench.pull(&format!("{}/app:{tag}", registry.host())).await;
    let record = pull("both").await.unwrap();
    assert_eq!(record.config.architecture, host_architecture());
    let error = assert_kind(pull("neither").await, ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("only for linux/s390x, linux/riscv64"),
        "{error}"
    );
    let error = assert_kind(pull("single").await, ErrorKind::InvalidInput);
    assert!(error.to_string().contains("made for linux/s390x"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_to_be_missing() {
    let Some(registry) = registry_with(&Image::busybox("there").unwrap()) else {
        return;
    };
    let bench = Bench::new().await;
    for name in ["app:2", "nothing:1", &format!("app@sha256:{}", "0".repeat(64))] {
        assert_kind(
            bench.pull(&format!("{}/{name}", registry.host())).await,
            ErrorKind::NotFound,
        );
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_kind(bench.pull(&format!("{free}/app:1")).await, ErrorKind::Unreachable);
    bench.assert_empty();
}
