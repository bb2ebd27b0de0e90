//! The real agent after a restore, run as an ordinary process: a folder stands for the guest's root.

#[path = "../common/mod.rs"]
mod common;
mod held;
mod rig;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use hearth_guest_api::connect::Code;
use rig::{Guest, ID, LIMIT, eventually, restore};

#[tokio::test]
async fn a_copy_is_another_machine() {
    let guest = Guest::living().await;
    guest.write("etc/machine-id", "f00d\n", 0o444);
    guest.write("run/hearth/generation", "old\n", 0o644);
    guest.client.init(restore(true)).await.unwrap();
    assert_eq!(guest.read("etc/machine-id"), format!("{ID}\n"));
    let generation = guest.read("run/hearth/generation");
    assert_eq!(generation.trim().len(), 36, "{generation}");

    // The source's token opens nothing.
    let refused = guest.client.metrics().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated));
    let copy = guest.client("copy");
    copy.metrics().await.unwrap();
    let mut again = restore(true);
    again.tokens = None;
    copy.init(again).await.unwrap();
    assert_ne!(guest.read("run/hearth/generation"), generation);
}

#[tokio::test]
async fn who_followed_the_source_gets_nothing_of_the_copy() {
    let guest = Guest::living().await;
    let mut followed = guest.client.follow(0).await.unwrap();
    // Started, then what it said.
    for _ in 0..2 {
        tokio::time::timeout(LIMIT, followed.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    guest.client("source").init(restore(true)).await.unwrap();
    let end = tokio::time::timeout(LIMIT, followed.next()).await.unwrap();
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert!(guest.client("copy").metrics().await.is_ok());
}

#[tokio::test]
async fn the_same_machine_keeps_what_it_is() {
    let guest = Guest::living().await;
    guest.write("etc/machine-id", "f00d\n", 0o444);
    guest.write("etc/ssh/ssh_host_rsa_key", "old", 0o600);
    guest.script(
        "etc/hearth/after-restore.d/1",
        "echo $HEARTH_RESTORED_COPY $HEARTH_GENERATION >told",
    );
    let mut followed = guest.client.follow(2).await.unwrap();
    guest.client("source").init(restore(false)).await.unwrap();
    assert_eq!(guest.read("etc/machine-id"), "f00d\n");
    assert_eq!(guest.read("etc/ssh/ssh_host_rsa_key"), "old");
    assert_eq!(guest.read("told"), format!("0 {}", guest.read("run/hearth/generation")));
    guest.client("copy").workload_signal(9).await.unwrap();
    let end = tokio::time::timeout(LIMIT, followed.next()).await.unwrap();
    assert!(matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn init_is_answered_after_the_hooks_whatever_they_do() {
    let guest = Guest::living().await;
    guest.script("etc/hearth/after-restore.d/10-fails", "echo out of luck; exit 7");
    guest.script(
        "etc/hearth/after-restore.d/20-slow",
        "sleep 0.3; echo $HEARTH_RESTORED_COPY >told",
    );
    guest.client.init(restore(true)).await.unwrap();
    assert_eq!(guest.read("told"), "1\n");
}

#[tokio::test]
async fn hooks_go_on_when_the_host_does_not_wait() {
    let guest = Guest::living().await;
    guest.script("etc/hearth/after-restore.d/1", "echo >begun; sleep 0.5; echo >done");
    let init = tokio::spawn({
        let client = guest.client("source");
        async move { client.init(restore(true)).await }
    });
    eventually("the hook begins", || guest.path("begun").exists()).await;
    init.abort();
    eventually("the hook ends", || guest.path("done").exists()).await;
}

#[tokio::test]
async fn a_template_that_nobody_used_starts_as_a_machine_that_was_booted() {
    let guest = Guest::start().await;
    guest.write("etc/machine-id", "", 0o444);
    guest.write("etc/ssh/ssh_host_rsa_key", "image's", 0o600);
    guest.script("etc/hearth/after-restore.d/1", "echo >told");
    guest.client("no token yet").init(restore(true)).await.unwrap();
    assert_eq!(guest.read("etc/machine-id"), format!("{ID}\n"));
    assert!(!guest.read("run/hearth/generation").is_empty());
    assert_eq!(guest.read("etc/ssh/ssh_host_rsa_key"), "image's");
    assert!(!guest.path("told").exists());
    // From now on it has lived.
    let mut again = restore(true);
    again.tokens = None;
    guest.client("copy").init(again).await.unwrap();
    assert!(guest.path("told").exists());
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let guest = Guest::living().await;
    guest.write("etc/machine-id", "f00d\n", 0o444);
    let mut bad = restore(true);
    bad.restore.as_mut().unwrap().machine_id = "../etc/passwd".into();
    let error = guest.client.init(bad).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidArgument), "{error}");
    assert!(error.to_string().contains("`restore.machine_id`"), "{error}");
    let mut poor = restore(true);
    poor.entropy = bytes::Bytes::new();
    let error = guest.client.init(poor).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidArgument), "{error}");
    let stranger = guest.client("stranger").init(restore(true)).await.unwrap_err();
    assert_eq!(stranger.code(), Some(Code::Unauthenticated), "{stranger}");
    assert_eq!(guest.read("etc/machine-id"), "f00d\n");
    assert!(!guest.path("run").exists());
    guest.client.metrics().await.unwrap();
}

#[tokio::test]
async fn host_keys_are_made_anew_behind_the_answer() {
    let guest = Guest::living().await;
    for (name, mode) in [
        ("ssh_host_rsa_key", 0o600),
        ("ssh_host_rsa_key.pub", 0o644),
        ("ssh_host_ed25519_key", 0o600),
        ("ssh_host_ed25519_key-cert.pub", 0o644),
        ("ssh_config", 0o644),
    ] {
        guest.write(&format!("etc/ssh/{name}"), "old", mode);
    }
    // Waits to be let go, so that the answer must not wait for it.
    let script = "echo $$ >>makers; while [ ! -e go ]; do sleep 0.02; done; echo new $3 >$9; echo pub >$9.pub";
    guest.script("usr/bin/ssh-keygen", script);
    guest.client.init(restore(true)).await.unwrap();
    for gone in [
        "ssh_host_rsa_key",
        "ssh_host_rsa_key.pub",
        "ssh_host_ed25519_key-cert.pub",
    ] {
        assert!(!guest.path("etc/ssh").join(gone).exists(), "{gone}");
    }
    eventually("the first maker", || !guest.read("makers").is_empty()).await;
    let first = guest.read("makers").lines().next().unwrap().to_owned();

    // A copy of this copy could come to the same key, so that it is begun anew.
    let mut again = restore(true);
    again.tokens = None;
    guest.client("copy").init(again).await.unwrap();
    eventually("the first maker's end", || {
        !PathBuf::from(format!("/proc/{first}")).exists()
    })
    .await;
    guest.write("go", "", 0o644);
    let made = |kind: &str| guest.read(&format!("etc/ssh/ssh_host_{kind}_key"));
    eventually("both keys", || !made("rsa").is_empty() && !made("ed25519").is_empty()).await;
    assert_eq!(
        (made("rsa").as_str(), made("ed25519").as_str()),
        ("new rsa\n", "new ed25519\n")
    );
    assert_eq!(guest.read("etc/ssh/ssh_config"), "old");
}

#[tokio::test]
async fn a_real_key_is_made() {
    let guest = Guest::living().await;
    if !PathBuf::from("/usr/bin/ssh-keygen").exists() {
        eprintln!("SKIPPED: ssh-keygen");
        return;
    }
    guest.script("usr/bin/ssh-keygen", "exec /usr/bin/ssh-keygen \"$@\"");
    guest.write("etc/ssh/ssh_host_ed25519_key", "old", 0o600);
    guest.client.init(restore(true)).await.unwrap();
    let public = || guest.read("etc/ssh/ssh_host_ed25519_key.pub");
    eventually("the public key", || public().starts_with("ssh-ed25519 ")).await;
    let key = guest.path("etc/ssh/ssh_host_ed25519_key");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[tokio::test]
async fn before_a_snapshot_the_image_has_a_say() {
    let guest = Guest::living().await;
    guest.client.prepare_snapshot(false).await.unwrap();
    guest.script("etc/hearth/before-snapshot.d/10-flush", "echo >flushed");
    guest.client.prepare_snapshot(false).await.unwrap();
    assert!(guest.path("flushed").exists());
    guest.script("etc/hearth/before-snapshot.d/20-busy", "exit 75");
    let error = guest.client.prepare_snapshot(false).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    let said = error.to_string();
    assert!(said.contains("`20-busy`") && said.contains("exit status 75"), "{said}");
    let stranger = guest.client("stranger").prepare_snapshot(false).await.unwrap_err();
    assert_eq!(stranger.code(), Some(Code::Unauthenticated));
}
