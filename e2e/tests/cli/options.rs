//! Options that change how a machine, or the daemon, behaves.

use std::{
    net::{TcpListener, UdpSocket},
    time::Duration,
};

use hearth_e2e::{BUSYBOX, Host, HostOptions, PYTHON, wait_for};

use crate::{detached, exec, on_each_driver, sh, sleeper};

#[test]
fn a_daemon_listens_on_loopback_when_told_to() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let host = Host::with(&HostOptions::default().arg("--listen").arg(&address));
    sleeper(&host, "m", &[]);
    let key = host.hearth(&["key", "create", "--role", "developer"]).ok().to_owned();
    let over_tcp = |key: &str| {
        let mut command = host.command(&["--host", &address, "exec", "m", "echo", "by tcp"]);
        command.env_remove("HEARTH_SOCKET").env("HEARTH_KEY", key);
        command.output().unwrap()
    };
    let output = over_tcp(&key);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "by tcp\n", "{output:?}");
    let refused = String::from_utf8_lossy(&over_tcp("").stderr).into_owned();
    assert!(refused.contains("HEARTH_KEY"), "{refused}");
}

#[test]
fn the_daemon_logs_json_and_names_the_servers_that_it_is_told() {
    let options = HostOptions::default().arg("--log-json").arg("--dns").arg("192.0.2.53");
    let host = Host::with(&options);
    sleeper(&host, "m", &[]);
    assert_eq!(exec(&host, "m", "cat /etc/resolv.conf"), "nameserver 192.0.2.53");
    for line in host.log().lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(record["level"].is_string() && record["timestamp"].is_string(), "{line}");
    }
    assert!(host.log().contains("machine changed state"));
}

#[test]
fn a_program_is_stopped_by_the_signal_of_its_choice() {
    on_each_driver(|host| {
        let script = "trap 'exit 42' USR1; trap '' TERM; echo ready; while :; do sleep 0.1; done";
        detached(host, "m", &["--stop-signal", "USR1"], script);
        wait_for("the program", || {
            host.hearth(&["logs", "m"]).ok().contains("ready").then_some(())
        });
        host.hearth(&["stop", "m"]).ok();
        assert_eq!(host.hearth(&["wait", "m"]).ok(), "42");
        host.hearth(&["run", "--stop-signal", "NOPE", BUSYBOX, "true"])
            .failed(125, &["NOPE", "TERM"]);
    });
}

#[test]
fn a_program_that_eats_the_memory_is_killed_and_told_why() {
    on_each_driver(|host| {
        let eaten = sh(host, &["--memory", "128m"], "busybox tail /dev/zero; exit 3");
        // The shell outlives what it started, and goes on.
        assert_eq!(eaten.code, 3, "{eaten:?}");
        let eaten = host.hearth(&[
            "run",
            "--memory",
            "128m",
            "--name",
            "eater",
            BUSYBOX,
            "busybox",
            "tail",
            "/dev/zero",
        ]);
        assert_eq!(eaten.code, 137, "{eaten:?}");
        let exit = &host.inspect("eater")["exit"];
        assert_eq!(exit["oom_killed"], true, "{exit}");
        assert!(exit["message"].as_str().unwrap().contains("--memory"), "{exit}");
    });
}

#[test]
fn datagrams_reach_a_published_port() {
    on_each_driver(|host| {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let publish = format!("127.0.0.1:{port}:9/udp");
        let echo =
            "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9)); print('ready', flush=True)
while True: data, peer = s.recvfrom(2048); s.sendto(b'guest: ' + data, peer)";
        host.hearth(&[
            "run", "-d", "--name", "echo", "-p", &publish, PYTHON, "python3", "-c", echo,
        ])
        .ok();
        wait_for("the program", || {
            host.hearth(&["logs", "echo"]).ok().contains("ready").then_some(())
        });
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        let mut answer = [0; 64];
        let length = wait_for("an answer", || {
            socket.send(b"hello").unwrap();
            socket.recv(&mut answer).ok()
        });
        assert_eq!(&answer[..length], b"guest: hello");
    });
}

#[test]
fn kernels_come_from_plain_files_and_go() {
    let unpacked = hearth_testkit::kernel::debian_kernel_files();
    let host = Host::start();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(unpacked.join("boot")).unwrap().flatten() {
        files.extend(
            entry
                .path()
                .to_str()
                .filter(|path| path.contains("/vmlinuz-"))
                .map(str::to_owned),
        );
    }
    let modules = unpacked.join("lib/modules");
    let modules = std::fs::read_dir(modules).unwrap().flatten().next().unwrap().path();
    let import = [
        "kernel",
        "import",
        "--vmlinuz",
        &files[0],
        "--modules",
        modules.to_str().unwrap(),
    ];
    let said = host.hearth(&import).ok().to_owned();
    let id = said.split_whitespace().next().unwrap().to_owned();
    // Their package makes the same bundle of them.
    let kernels = host.hearth(&["kernel", "ls", "--json"]).json();
    assert_eq!(
        (kernels.as_array().unwrap().len(), kernels[0]["id"] == *id),
        (1, true),
        "{kernels}"
    );
    host.hearth(&["run", "-d", "--name", "m", "--kernel", &id, BUSYBOX, "sleep", "1000"])
        .ok();
    host.wait_for_state("m", "running");
    host.hearth(&["kernel", "rm", &id]).failed(1, &["m"]);
    host.hearth(&["rm", "-f", "m"]).ok();
    host.hearth(&["kernel", "rm", &id]).ok();
    host.hearth(&["kernel", "rm", &id]).failed(1, &[&id]);
    host.hearth(&["kernel", "import", "--vmlinuz", "/no/such/file"])
        .failed(1, &["/no/such/file"]);
}
