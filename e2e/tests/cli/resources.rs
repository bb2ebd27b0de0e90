//! What a machine is given: CPUs, memory, a root, a disk.

use crate::{detached, exec, on_each_driver, sh};

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
        detached(host, "disk", &["--disk", "300m"], script);
        detached(host, "none", &[], script);
        host.hearth(&["stop", "disk", "none"]).ok();
        for name in ["disk", "none"] {
            assert_eq!(host.state_of(name).as_deref(), Some("stopped"));
            host.hearth(&["start", name]).ok();
            host.wait_for_state(name, "running");
        }
        assert_eq!(exec(host, "none", "cat /etc/hostname /kept"), "none\nonce");
        let log = host.hearth(&["logs", "disk"]);
        assert!(log.stdout.contains("\nonce\n"), "{log:?}");
        let size: u64 = log.stdout.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!((200..=300).contains(&size), "{log:?}");
        let log = host.hearth(&["logs", "none"]);
        assert_eq!(log.stderr.matches("can't open '/kept'").count(), 2, "{log:?}");
    });
}
