//! What a machine is given: CPUs, memory, a root, a disk.

use hearth_e2e::wait_for;

use crate::{detached, on_each_driver, sh};

#[test]
fn the_guest_sees_its_cpus_and_memory_and_a_root_to_write_to() {
    on_each_driver(|host| {
        let script = "busybox nproc; busybox awk '/MemTotal/ {print $2}' /proc/meminfo; grep ' / ' /proc/mounts; grep -c erofs.*ro /proc/mounts
            echo x >> /etc/passwd && busybox tail -n 1 /etc/passwd";
        let shown = sh(host, &["--cpus", "2", "--memory", "192m"], script).ok().to_owned();
        let lines: Vec<&str> = shown.lines().collect();
        let memory_kib: u64 = lines[1].parse().unwrap();
        assert_eq!(lines[0], "2");
        assert!((140 * 1024..=192 * 1024).contains(&memory_kib), "{shown}");
        assert!(lines[2].starts_with("overlay / overlay rw"), "{shown}");
        assert_eq!(lines[4], "x");
    });
}

#[test]
fn only_a_disk_outlives_a_restart() {
    on_each_driver(|host| {
        let script = "cat /kept; echo once > /kept; busybox df -m / | busybox tail -n 1; busybox sync; exec sleep 1000";
        let begun = |name: &str, times: usize| {
            wait_for(&format!("begin {times} of {name}"), || {
                (host.hearth(&["logs", name]).stdout.matches("overlay").count() == times).then_some(())
            });
        };
        detached(host, "disk", &["--disk", "300m"], script);
        detached(host, "none", &[], script);
        begun("disk", 1);
        begun("none", 1);
        host.hearth(&["stop", "disk", "none"]).ok();
        host.hearth(&["start", "disk", "none"]).ok();
        begun("disk", 2);
        begun("none", 2);
        let log = host.hearth(&["logs", "disk"]);
        assert_eq!(log.stderr.matches("can't open '/kept'").count(), 1, "{log:?}");
        assert!(log.stdout.contains("once\noverlay"), "{log:?}");
        let size: u64 = log.stdout.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!((200..=300).contains(&size), "{log:?}");
        let log = host.hearth(&["logs", "none"]);
        assert_eq!(log.stderr.matches("can't open '/kept'").count(), 2, "{log:?}");
    });
}
