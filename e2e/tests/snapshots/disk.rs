//! Not one write is lost over a hundred sleeps.

use std::{thread, time::Duration};

use hearth_e2e::{Host, wait_for};

use crate::shop::{MARK, exec, mark, remove_all, run};

/// Sleeps of the machine whose overlay lies on its disk.
const CYCLES: u64 = 100;
/// Sleeps of the one whose overlay lies in memory. Fewer, for they take time from the other's.
const CYCLES_IN_MEMORY: u64 = 40;

/// Writes files of random bytes to the overlay without end, has each where it stays before it goes on, and reads all of the
/// last ones back. The first that is not as it was written ends it.
const WRITER: &str = r#"
mkdir -p /files
n=0
while :; do
    n=$((n+1)); slot=/files/$((n % 20))
    head -c 40000 /dev/urandom > /files/new
    sum=$(md5sum < /files/new)
    sync /files/new 2>/dev/null || sync
    mv /files/new $slot
    echo "$sum" > $slot.sum
    for sum in /files/*.sum; do
        file=${sum%.sum}
        [ "$(md5sum < $file)" = "$(cat $sum)" ] || { echo "$file is not what was written"; exit 1; }
    done
    echo $n > /tmp/round.new
    mv /tmp/round.new /tmp/round
done
"#;

fn round(host: &Host, machine: &str) -> u64 {
    exec(host, machine, "cat /tmp/round 2>/dev/null || echo 0")
        .parse()
        .unwrap()
}

#[test]
fn a_hundred_sleeps_lose_no_write() {
    let host = Host::start();
    let script = format!("{MARK}\n{WRITER}");
    run(&host, "disk", &["--disk", "64m"], &script);
    run(&host, "memory", &[], &script);
    thread::scope(|scope| {
        scope.spawn(|| {
            sleep_and_wake(&host, "memory", CYCLES_IN_MEMORY);
            host.hearth(&["rm", "-f", "memory"]).ok();
        });
        sleep_and_wake(&host, "disk", CYCLES);
    });
    // And what is on its disk is a whole file system.
    host.hearth(&["stop", "disk"]).ok();
    let id = host.inspect("disk")["id"].as_str().unwrap().to_owned();
    let checked = std::process::Command::new("e2fsck")
        .args(["-fn"])
        .arg(host.state_dir().join("machines").join(id).join("disk.ext4"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    remove_all(&host, &["disk"]);
}

/// Has a machine sleep and wake so many times. It writes on, and finds all that it wrote.
fn sleep_and_wake(host: &Host, machine: &str, cycles: u64) {
    wait_for("it to write", || (round(host, machine) > 0).then_some(()));
    let boot = mark(host, machine);
    for cycle in 0..cycles {
        host.hearth(&["pause", machine]).ok();
        host.hearth(&["resume", machine]).ok();
        assert_eq!(
            host.state_of(machine).as_deref(),
            Some("running"),
            "cycle {cycle} of {machine}: {}",
            last_words(host, machine)
        );
        // In the middle of whatever it does then: each time somewhere else.
        thread::sleep(Duration::from_millis(13 * (cycle % 7)));
    }
    // One that boots finds nothing of what it had in memory, and would miss nothing.
    assert_eq!(mark(host, machine), boot);
    let here = round(host, machine);
    wait_for("it to write on", || (round(host, machine) > here + 1).then_some(()));
    assert!(here > 0);
    assert_eq!(last_words(host, machine), "");
}

fn last_words(host: &Host, machine: &str) -> String {
    host.hearth(&["logs", machine]).stdout.trim().to_owned()
}
