//! Copies of running machines, and ways back.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use hearth_e2e::{Host, HostOptions, PATIENCE, wait_for};

use crate::shop::{MARK, exec, mark, remove_all, run};

/// What no two machines may have in common, a line each.
const OWN: &str = "hostname; cat /proc/sys/kernel/random/boot_id /etc/machine-id /run/hearth/generation; \
    head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid";

/// Gives the one who calls back what it hears, and keeps how that ended: 1 is an error of a read, 0 an end as it should be.
const ECHO: &str = "(nc -l -p 7 -e cat; echo $? > /dev/shm/ended) &";

/// What comes back of a word.
fn echo(mut connection: &TcpStream, word: &str) -> String {
    connection.write_all(word.as_bytes()).unwrap();
    let mut answer = vec![0; word.len()];
    connection.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Waits until the script of a machine has come to its end, which is a sleep.
fn is_set_up(host: &Host, machine: &str) {
    wait_for("the script to be through", || {
        (host.hearth(&["exec", machine, "sh", "-c", "pidof sleep"]).code == 0).then_some(())
    });
}

#[test]
fn forks_go_on_from_one_moment_and_are_machines_of_their_own() {
    let host = Host::start();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let publish = format!("127.0.0.1:{port}:7");
    let script = format!(
        "{ECHO} echo 0123456789abcdef0123456789abcdef > /etc/machine-id; {MARK}; echo disk > /mark; sleep 1000"
    );
    run(&host, "source", &["--disk", "32m", "-p", &publish], &script);
    is_set_up(&host, "source");
    let connection = wait_for("the echo", || TcpStream::connect(("127.0.0.1", port)).ok());
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(echo(&connection, "before"), "before");
    // By it a copy's connections are ended. It is loaded when nothing else is to be done.
    wait_for("the guest's module", || {
        let loaded = host.hearth(&["exec", "source", "grep", "-q", "tcp_diag", "/proc/modules"]);
        (loaded.code == 0).then_some(())
    });
    let program = exec(&host, "source", "cat /dev/shm/mark; pidof sleep");
    let forked = host.hearth(&["fork", "-n", "3", "source", "--json"]).json();
    let forks: Vec<String> = forked["machines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|machine| machine["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(forks.len(), 3, "{forked}");
    assert!(forked["paused_us"].as_u64().unwrap() > 0, "{forked}");
    let mut own = BTreeSet::new();
    let mut count = 0;
    for fork in &forks {
        host.wait_for_state(fork, "running");
        assert_eq!(exec(&host, fork, "cat /dev/shm/mark; pidof sleep"), program);
        assert_eq!(exec(&host, fork, "cat /mark; echo changed > /mark; sync"), "disk");
        wait_for("the source's connection to end in its copy", || {
            (exec(&host, fork, "cat /dev/shm/ended 2>/dev/null || true") == "1").then_some(())
        });
        for line in exec(&host, fork, OWN).lines() {
            count += 1;
            assert!(own.insert(line.to_owned()), "{line} is there twice");
        }
    }
    for line in exec(&host, "source", &OWN.replace("/run/hearth/generation", "")).lines() {
        count += 1;
        assert!(own.insert(line.to_owned()), "{line} is there twice");
    }
    assert_eq!(count, own.len());
    // The source keeps its own.
    assert_eq!(echo(&connection, "after"), "after");
    assert_eq!(exec(&host, "source", "cat /mark"), "disk");
    // No snapshot is left of it.
    assert_eq!(host.hearth(&["snapshot", "ls", "--json"]).json(), serde_json::json!([]));
    let all: Vec<&str> = forks.iter().map(String::as_str).chain(["source"]).collect();
    remove_all(&host, &all);
}

#[test]
fn fifty_forks_have_nothing_of_their_own_in_common() {
    let host = Host::with(&HostOptions::default().arg("--cpu-overcommit").arg("64"));
    run(
        &host,
        "source",
        &["--memory", "128m"],
        "echo 0123456789abcdef0123456789abcdef > /etc/machine-id; sleep 1000",
    );
    is_set_up(&host, "source");
    let forked = host.hearth(&["fork", "-n", "50", "source", "--json"]).json();
    let forks = forked["machines"].as_array().unwrap();
    assert_eq!(forks.len(), 50);
    let mut own = BTreeSet::new();
    let mut names = vec!["source"];
    for fork in forks {
        let name = fork["name"].as_str().unwrap();
        host.wait_for_state(name, "running");
        for line in exec(&host, name, OWN).lines() {
            assert!(own.insert(line.to_owned()), "{line} is there twice");
        }
        names.push(name);
    }
    assert_eq!(own.len(), 50 * 6);
    remove_all(&host, &names);
}

#[test]
fn a_snapshot_outlives_its_machine_and_a_machine_goes_back() {
    let host = Host::start();
    run(
        &host,
        "source",
        &["--disk", "32m"],
        // On disk it is written once: each boot runs this.
        &format!("{MARK}; test -s /mark || echo then > /mark; sleep 1000"),
    );
    is_set_up(&host, "source");
    let boot = mark(&host, "source");
    let then = format!("{boot}\nthen");
    host.hearth(&["snapshot", "create", "source", "--name", "then"]).ok();
    exec(
        &host,
        "source",
        "echo now > /dev/shm/mark; echo now > /mark; sync; kill -9 $(pidof sleep) || true",
    );
    host.wait_for_state("source", "stopped");
    host.hearth(&["rollback", "source", "then"]).ok();
    host.wait_for_state("source", "running");
    assert_eq!(exec(&host, "source", "cat /dev/shm/mark /mark"), then);
    exec(&host, "source", "echo now > /dev/shm/mark; echo now > /mark");
    host.hearth(&["rollback", "source", "then"]).ok();
    host.wait_for_state("source", "running");
    assert_eq!(exec(&host, "source", "cat /dev/shm/mark /mark"), then);
    host.hearth(&["rm", "-f", "source"]).ok();
    host.hearth(&["snapshot", "restore", "then", "--name", "again"]).ok();
    host.wait_for_state("again", "running");
    assert_eq!(
        exec(&host, "again", "cat /dev/shm/mark /mark; hostname"),
        format!("{then}\nagain")
    );
    host.hearth(&["snapshot", "rm", "then"]).ok();
    host.hearth(&["snapshot", "restore", "then"]).failed(1, &["then"]);
    // Its next start is a boot: the disk is there, the memory is not.
    host.hearth(&["restart", "again"]).ok();
    host.wait_for_state("again", "running");
    assert_ne!(mark(&host, "again"), boot);
    assert_eq!(exec(&host, "again", "cat /mark"), "then");
    remove_all(&host, &["again"]);
}
