//! Not one write is lost over a hundred sleeps.

use std::time::Duration;

use hearth_e2e::{Host, wait_for};

use crate::shop::{exec, remove_all, run};

/// Sleeps of one machine.
const CYCLES: usize = 100;

/// Writes files of random bytes to the overlay and to its disk without end, has each on disk before it goes on, and reads
/// all of the last ones back. The first that is not as it was written ends it.
const WRITER: &str = r#"
mkdir -p /tmp/files /files
n=0
while :; do
    n=$((n+1)); slot=$((n % 20))
    for place in /tmp/files /files; do
        head -c 40000 /dev/urandom > $place/new
        sum=$(md5sum < $place/new)
        sync $place/new 2>/dev/null || sync
        mv $place/new $place/$slot
        echo "$sum" > $place/$slot.sum
    done
    for place in /tmp/files /files; do
        for sum in $place/*.sum; do
            file=${sum%.sum}
            [ "$(md5sum < $file)" = "$(cat $sum)" ] || { echo "$file is not what was written"; exit 1; }
        done
    done
    echo $n > /tmp/round
done
"#;

fn round(host: &Host) -> u64 {
    exec(host, "writer", "cat /tmp/round 2>/dev/null || echo 0")
        .parse()
        .unwrap()
}

#[test]
fn a_hundred_sleeps_lose_no_write() {
    let host = Host::start();
    run(&host, "writer", &["--disk", "64m"], WRITER);
    wait_for("it to write", || (round(&host) > 0).then_some(()));
    for cycle in 0..CYCLES {
        host.hearth(&["pause", "writer"]).ok();
        host.hearth(&["resume", "writer"]).ok();
        assert_eq!(
            host.state_of("writer").as_deref(),
            Some("running"),
            "cycle {cycle}: {}",
            last_words(&host)
        );
        // In the middle of whatever it does then: each time somewhere else.
        std::thread::sleep(Duration::from_millis(13 * (cycle as u64 % 7)));
    }
    let here = round(&host);
    wait_for("it to write on", || (round(&host) > here + 1).then_some(()));
    assert!(here > 0);
    assert_eq!(last_words(&host), "");
    // And what is on its disk is a whole file system.
    host.hearth(&["stop", "writer"]).ok();
    let disk = host.state_dir().join("machines");
    let machine = std::fs::read_dir(disk).unwrap().next().unwrap().unwrap().path();
    let checked = std::process::Command::new("e2fsck")
        .args(["-fn"])
        .arg(machine.join("disk.ext4"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    remove_all(&host, &["writer"]);
}

fn last_words(host: &Host) -> String {
    host.hearth(&["logs", "writer"]).stdout.trim().to_owned()
}
