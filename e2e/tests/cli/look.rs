//! What one sees of machines: `ps`, `inspect`, `logs`, `events`, `stats`.

use hearth_e2e::{BUSYBOX, Host};
use serde_json::Value;

use crate::{detached, on_each_driver, sleeper};

/// Each line of a stream of JSON.
fn lines(host: &Host, args: &[&str]) -> Vec<Value> {
    host.hearth(args)
        .ok()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn machines_are_listed_shown_and_measured() {
    on_each_driver(|host| {
        sleeper(host, "runs", &["--memory", "200m"]);
        host.hearth(&["run", "--name", "ended", BUSYBOX, "sh", "-c", "exit 4"]);
        let table = host.hearth(&["ps"]).stdout;
        assert!(
            table.starts_with("ID") && table.contains("runs") && !table.contains("ended"),
            "{table}"
        );
        let table = host.hearth(&["ps", "-a"]).stdout;
        let ended = table.lines().find(|line| line.contains("stopped (4) ")).unwrap();
        assert!(table.contains("runs") && ended.matches(" ago").count() == 2, "{table}");
        let all = host.hearth(&["ps", "-a", "--json"]).json();
        assert_eq!(all.as_array().unwrap().len(), 2);
        let shown = host.inspect("runs");
        assert_eq!(host.hearth(&["ps", "-q"]).ok(), shown["id"]);
        assert_eq!(
            (&shown["image"], &shown["resources"]["memory_mib"]),
            (&BUSYBOX.into(), &200.into())
        );
        assert!(
            shown["pid"].as_u64().is_some() && shown["address"].is_string(),
            "{shown}"
        );
        let history: Vec<_> = shown["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["to"].as_str().unwrap())
            .collect();
        assert_eq!(history, ["preparing", "starting", "running"]);
        let id = shown["id"].as_str().unwrap();
        assert_eq!(
            host.inspect(&id[..id.len() - 4])["name"],
            "runs",
            "a beginning of the ID will do"
        );
        assert_eq!(host.inspect("ended")["exit"]["code"], 4);
        assert_eq!(host.hearth(&["wait", "ended"]).ok(), "4");

        let table = host.hearth(&["stats", "--no-stream"]).ok().to_owned();
        let cpu = table.lines().nth(1).unwrap().split_whitespace().nth(2).unwrap();
        assert!(cpu.parse::<u64>().is_ok(), "the use of the CPU is measured: {table}");
        let stats = lines(host, &["stats", "--no-stream", "--json"]);
        assert_eq!((stats.len(), &stats[0]["machine_name"]), (1, &"runs".into()));
        for figure in [
            "cpu_usec",
            "memory_bytes",
            "memory_limit_bytes",
            "guest_memory_used_bytes",
            "processes",
        ] {
            assert!(stats[0][figure].as_u64().unwrap() > 0, "{figure}: {stats:?}");
        }

        let events = lines(host, &["events", "--no-follow", "--json", "--machine", "ended"]);
        let kinds: Vec<_> = events.iter().map(|event| event["state"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            ["pending", "preparing", "starting", "running", "stopping", "stopped"]
        );
        assert_eq!(events[5]["exit_code"], 4);
        assert_eq!(host.hearth(&["events", "--no-follow", "--since", "0s"]).ok(), "");
    });
}

#[test]
fn logs_are_kept_and_followed_to_the_end() {
    on_each_driver(|host| {
        detached(
            host,
            "m",
            &["-i"],
            "echo one; sleep 0.5; echo two >&2; sleep 0.5; echo three; exec sleep 3",
        );
        let followed = host.hearth(&["logs", "-f", "m"]);
        assert_eq!((&*followed.stdout, &*followed.stderr), ("one\nthree\n", "two\n"));
        assert_eq!(
            host.state_of("m").as_deref(),
            Some("stopped"),
            "following ends with the machine"
        );
        assert_eq!(host.hearth(&["logs", "--tail", "1", "m"]).ok(), "three");
        assert_eq!(host.hearth(&["logs", "--tail", "all", "m"]).ok(), "one\nthree");
        assert_eq!(host.hearth(&["logs", "--since", "1h", "m"]).ok(), "one\nthree");
        assert_eq!(
            host.hearth(&["logs", "--since", "2000-01-01T00:00:00Z", "m"]).ok(),
            "one\nthree"
        );
        assert_eq!(host.hearth(&["logs", "--since", "0s", "m"]).ok(), "");
    });
}
