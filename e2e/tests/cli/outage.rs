//! A daemon that is killed while clients look at machines: they wait for the next one and go on.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
    time::Duration,
};

use hearth_e2e::{BUSYBOX, Host, HostOptions, drivers, wait_for};

use crate::detached;

/// Counts to a hundred on both streams, for long enough that the daemon goes and comes meanwhile.
const COUNT: &str = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; echo e$i >&2; sleep 0.05; done; exit 7";

fn counted(prefix: &str) -> String {
    let lines: Vec<_> = (1..=100).map(|i| format!("{prefix}{i}")).collect();
    lines.join("\n") + "\n"
}

fn spawn(host: &Host, args: &[&str]) -> Child {
    let mut command = host.command(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What a client gave: code, output, errors without what it says itself.
fn given(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let own = stderr
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("hearth: "));
    let stderr = own.collect();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr,
    )
}

fn on_each_driver_with_its_daemon(test: impl Fn(&mut Host, &HostOptions)) {
    for driver in drivers() {
        let options = HostOptions::default().arg("--driver").arg(&driver);
        test(&mut Host::with(&options), &options);
    }
}

#[test]
fn clients_go_on_with_the_next_daemon() {
    on_each_driver_with_its_daemon(|host, options| {
        let run = spawn(host, &["run", "--name", "m", BUSYBOX, "sh", "-c", COUNT]);
        host.wait_for_state("m", "running");
        let logs = spawn(host, &["logs", "-f", "m"]);
        let wait = spawn(host, &["wait", "m"]);
        let mut events = spawn(host, &["events", "--since", "1m", "--machine", "m"]);
        wait_for("some output", || {
            host.hearth(&["logs", "m"]).stdout.contains("10\n").then_some(())
        });
        host.kill_daemon();
        host.up(options);
        // In order, too: the daemon says farewell, and the machine goes on.
        host.down();
        host.up(options);
        assert_eq!(given(run), (Some(7), counted(""), counted("e")));
        assert_eq!(given(logs), (Some(0), counted(""), counted("e")));
        assert_eq!(given(wait), (Some(0), "7\n".to_owned(), String::new()));
        let stopped = || {
            BufReader::new(events.stdout.take()?)
                .lines()
                .find(|line| line.as_ref().is_ok_and(|line| line.contains(" stopped")))
        };
        wait_for("the end to be among the events", stopped).unwrap();
        events.kill().unwrap();
        events.wait().unwrap();
    });
}

#[test]
fn input_goes_on_with_the_next_daemon() {
    on_each_driver_with_its_daemon(|host, options| {
        let script = "echo begun; read line; echo got $line; cat; exit 5";
        let mut run = spawn(host, &["run", "--rm", "-i", "--name", "m", BUSYBOX, "sh", "-c", script]);
        let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "begun");
        host.kill_daemon();
        host.up(options);
        run.stdin.take().unwrap().write_all(b"word\nmore\n").unwrap();
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        assert_eq!(rest, ["got word", "more"], "and then its end");
        assert_eq!(run.wait().unwrap().code(), Some(5));
    });
}

#[test]
fn what_a_machine_wrote_while_no_daemon_was_there_is_read_though_it_removes_itself() {
    on_each_driver_with_its_daemon(|host, options| {
        let script = "echo begun; sleep 2; echo end; exit 5";
        let mut run = spawn(host, &["run", "--rm", BUSYBOX, "sh", "-c", script]);
        let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "begun");
        host.kill_daemon();
        // The guest goes its own way meanwhile, and nothing on the host tells when it has.
        std::thread::sleep(Duration::from_secs(4));
        host.up(options);
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        assert_eq!(rest, ["end"]);
        assert_eq!(run.wait().unwrap().code(), Some(5));
        assert_eq!(
            host.hearth(&["ps", "-aq"]).ok(),
            "",
            "it is gone as soon as its output is read"
        );
    });
}

#[test]
fn patience_with_an_absent_daemon_has_an_end() {
    on_each_driver_with_its_daemon(|host, options| {
        detached(host, "m", &[], "while :; do echo x; sleep 0.1; done");
        let mut clients = ["wait", "logs -f", "attach"].map(|verb| {
            let args: Vec<_> = verb.split(' ').chain(["m"]).collect();
            (spawn(host, &args), format!("hearth {verb} m"))
        });
        // A line a tenth of a second: by then all of them have called. They are read from to the end: one that nobody reads
        // ends in peace.
        let mut readers = Vec::new();
        for (client, _) in &mut clients[1..] {
            let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
            assert_eq!(lines.by_ref().take(20).flatten().count(), 20);
            readers.push(lines);
        }
        host.kill_daemon();
        for (client, hint) in clients {
            let output = client.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains(&hint), "{output:?}");
        }
        host.up(options);
        assert_eq!(host.state_of("m").as_deref(), Some("running"));
    });
}
