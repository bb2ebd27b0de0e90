//! What a pull may speak to on behalf of who does not administer the host.

use std::net::IpAddr;

use hearth_image::registry::RegistryError;
use hearth_image::{Credentials, ErrorKind, ImageError, ImageRecord, PullOptions, StoreConfig};
use hearth_testkit::images::Image;
use hearth_testkit::registry::RegistryOptions;

use crate::proxy::{Action, Proxy};
use crate::support::{Bench, config, push, registry_with};

/// A name that anybody could have registered.
const NEAR: &str = "registry.example";

/// A store to which [`NEAR`] leads to loopback, and whose owner named `insecure`.
async fn bench(insecure: &[&str]) -> Bench {
    let mut config = config();
    config.registry.hosts = [(NEAR.to_owned(), vec![IpAddr::from([127, 0, 0, 1])])].into();
    config.registry.insecure_registries = insecure.iter().map(|&name| name.to_owned()).collect();
    Bench::with(config).await
}

/// Pulls as a project's developer.
async fn pull(bench: &Bench, name: &str) -> Result<ImageRecord, ImageError> {
    bench.pull_with(name, PullOptions::default()).await
}

/// The pull was refused for where `target` is, and the error says that.
fn assert_near(pulled: Result<ImageRecord, ImageError>, registry: &str, target: &str, address: &str) {
    let error = pulled.expect_err("this must fail");
    let near = matches!(&error, ImageError::Registry(RegistryError::NotPublic { .. }));
    assert!(near && error.kind() == ErrorKind::InvalidInput, "{error:?}");
    let said = error.to_string();
    for part in [
        format!("registry {registry} is not asked"),
        format!("{target} is at {address}, which is not a public address"),
        format!("--private-registry {target}"),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_on_loopback_is_for_admins_of_the_host_unless_it_is_named() {
    let Some(registry) = registry_with(&Image::busybox("reach").unwrap()) else {
        return;
    };
    let proxy = Proxy::start(&registry.host(), |_, _| Action::Forward);
    let (host, name) = (proxy.host(), format!("{}/app:1", proxy.host()));
    let strict = bench(&[]).await;
    assert_near(pull(&strict, &name).await, &host, &host, "127.0.0.1");
    assert!(proxy.requests("").is_empty(), "{:?}", proxy.requests(""));
    strict.assert_empty();
    strict.pull(&name).await.unwrap();
    pull(&bench(&[&host]).await, &name).await.unwrap();
    // Another port is another registry.
    let other = bench(&["127.0.0.1:1", "127.0.0.1"]).await;
    assert_near(pull(&other, &name).await, &host, &host, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_with_tls_is_named_without_giving_tls_up() {
    let options = RegistryOptions {
        tls: true,
        ..RegistryOptions::default()
    };
    let Some(registry) = hearth_testkit::registry::Registry::start(options).unwrap() else {
        return;
    };
    push(&registry, &Image::busybox("tls").unwrap(), "app:1");
    let (host, name) = (registry.host(), format!("{}/app:1", registry.host()));
    let trusting = || {
        let mut config: StoreConfig = config();
        config.registry.ca_files.push(registry.ca_file());
        config
    };
    assert_near(
        pull(&Bench::with(trusting()).await, &name).await,
        &host,
        &host,
        "127.0.0.1",
    );
    let mut named = trusting();
    named.registry.private_registries.push(host);
    pull(&Bench::with(named).await, &name).await.unwrap();
    // Whoever is named so is not believed without TLS.
    let Some(plain) = registry_with(&Image::busybox("plain").unwrap()) else {
        return;
    };
    let mut named = trusting();
    named.registry.private_registries.push(plain.host());
    let refused = pull(&Bench::with(named).await, &format!("{}/app:1", plain.host())).await;
    let refused = refused.expect_err("plain HTTP is not for those that are private alone");
    assert!(refused.to_string().contains("plain HTTP"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_addresses_nor_names_lead_near() {
    let bench = bench(&[]).await;
    for (registry, address) in [
        ("169.254.169.254", "169.254.169.254"),
        ("10.0.0.1:5000", "10.0.0.1"),
        ("[::1]:5000", "::1"),
        ("[::ffff:127.0.0.1]:5000", "::ffff:127.0.0.1"),
        ("registry.example:5000", "127.0.0.1"),
    ] {
        let target = registry.replace("::ffff:127.0.0.1", "::ffff:7f00:1");
        assert_near(
            pull(&bench, &format!("{registry}/a:b")).await,
            registry,
            &target,
            address,
        );
    }
    let error = pull(&bench, "localhost:5000/a:b").await.expect_err("this is loopback");
    assert!(
        matches!(error, ImageError::Registry(RegistryError::NotPublic { .. })),
        "{error:?}"
    );
}

/// Where a registry that may be asked tries to lead, what is at fault, and that address.
fn temptations(elsewhere: &str) -> [(String, String, &'static str); 6] {
    let of = |url: String, target: &str, address| (url, target.to_owned(), address);
    [
        of(format!("http://{elsewhere}/secret"), elsewhere, "127.0.0.1"),
        of(format!("https://{elsewhere}/secret"), elsewhere, "127.0.0.1"),
        of(
            "https://169.254.169.254/latest".into(),
            "169.254.169.254",
            "169.254.169.254",
        ),
        of("https://2130706433/".into(), "127.0.0.1", "127.0.0.1"),
        of(format!("https://{NEAR}/"), NEAR, "127.0.0.1"),
        of(format!("https://{NEAR}:8443/"), "registry.example:8443", "127.0.0.1"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_named_redirects_to_nothing_near() {
    let Some(registry) = registry_with(&Image::busybox("redirect").unwrap()) else {
        return;
    };
    let elsewhere = Proxy::start(&registry.host(), |_, _| Action::Forward);
    for (url, target, address) in temptations(&elsewhere.host()) {
        let front = Proxy::start(&registry.host(), move |head, _| {
            if head.contains("/manifests/") {
                Action::status("302 Found", &format!("Location: {url}\r\n"))
            } else {
                Action::Forward
            }
        });
        let bench = bench(&[&front.host()]).await;
        let pulled = pull(&bench, &format!("{}/app:1", front.host())).await;
        assert_near(pulled, &front.host(), &target, address);
        assert!(!front.requests("/manifests/").is_empty());
    }
    assert!(elsewhere.requests("").is_empty(), "{:?}", elsewhere.requests(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_named_has_no_token_fetched_from_what_is_near() {
    let Some(registry) = registry_with(&Image::busybox("realm").unwrap()) else {
        return;
    };
    let elsewhere = Proxy::start(&registry.host(), |_, _| {
        Action::Answer("HTTP/1.1 200 OK\r\n".into(), br#"{"token":"of-the-host"}"#.to_vec())
    });
    for (url, target, address) in temptations(&elsewhere.host()) {
        let front = Proxy::start(&registry.host(), move |_, _| {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"{url}\",service=\"s\"\r\n");
            Action::status("401 Unauthorized", &challenge)
        });
        for login in [None, Some(Credentials::IdentityToken("mine".into()))] {
            let bench = bench(&[&front.host()]).await;
            let options = PullOptions {
                credentials: login,
                ..PullOptions::default()
            };
            let pulled = bench.pull_with(&format!("{}/app:1", front.host()), options).await;
            assert_near(pulled, &front.host(), &target, address);
        }
        let heads = front.requests("");
        assert!(heads.iter().all(|head| !head.contains("authorization")), "{heads:?}");
    }
    assert!(elsewhere.requests("").is_empty(), "{:?}", elsewhere.requests(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_leads_to_no_other_host_in_plain() {
    let Some(registry) = registry_with(&Image::busybox("plain").unwrap()) else {
        return;
    };
    let realm = "WWW-Authenticate: Bearer realm=\"http://198.51.100.7/token\"\r\n";
    let location = "Location: http://198.51.100.7/x\r\n";
    for (status, header, said) in [
        (
            "302 Found",
            location,
            "redirects in a way that is not followed: to http://198.51.100.7",
        ),
        (
            "401 Unauthorized",
            realm,
            "the token server leads to http://198.51.100.7",
        ),
    ] {
        let front = Proxy::start(&registry.host(), move |head, _| {
            if head.contains("/manifests/") {
                Action::status(status, header)
            } else {
                Action::Forward
            }
        });
        let (host, name) = (front.host(), format!("{}/app:1", front.host()));
        for options in [PullOptions::default(), PullOptions::of_host()] {
            let error = bench(&[&host]).await.pull_with(&name, options).await;
            let error = error.expect_err("plain HTTP to a stranger");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_named_redirects_to_another_that_is_named() {
    let Some(registry) = registry_with(&Image::busybox("named").unwrap()) else {
        return;
    };
    let target = registry.host();
    let front = Proxy::start(&registry.host(), move |head, _| {
        let path = head.split(' ').nth(1).unwrap();
        if path.contains("/blobs/") {
            Action::status(
                "307 Temporary Redirect",
                &format!("Location: http://{target}{path}\r\n"),
            )
        } else {
            Action::Forward
        }
    });
    let named = bench(&[&front.host(), &registry.host()]).await;
    pull(&named, &format!("{}/app:1", front.host())).await.unwrap();
}
