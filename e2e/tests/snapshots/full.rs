//! Disks that are full, or several.

use std::fs;

use hearth_e2e::{Host, HostOptions, Mount};

use crate::shop::{MARK, mark, remove_all, run};

#[test]
fn a_full_disk_costs_no_machine_its_memory() {
    let mut host = Host::start();
    host.down();
    // Less than a guest has written by the time that it runs; machines and snapshots each on a disk of their own.
    let machines = Mount::new(&host.state_dir().join("machines"), "size=24m,mode=711");
    let snapshots = Mount::new(&host.state_dir().join("snapshots"), "size=24m,mode=700");
    host.up(&HostOptions::default());
    run(&host, "source", &[], &format!("{MARK}; sleep 1000"));
    let boot = mark(&host, "source");
    for refused in [
        host.hearth(&["pause", "source"]),
        host.hearth(&["snapshot", "create", "source"]),
        host.hearth(&["fork", "source"]),
    ] {
        assert_ne!(refused.code, 0, "{refused:?}");
        assert!(refused.stderr.contains("No space left"), "{refused:?}");
        assert_eq!(host.state_of("source").as_deref(), Some("running"));
        assert_eq!(mark(&host, "source"), boot);
    }
    assert_eq!(fs::read_dir(host.state_dir().join("snapshots")).unwrap().count(), 0);
    assert_eq!(host.hearth(&["snapshot", "ls", "--json"]).json(), serde_json::json!([]));

    machines.resize("400m");
    snapshots.resize("400m");
    host.hearth(&["pause", "source"]).ok();
    host.hearth(&["resume", "source"]).ok();
    host.hearth(&["fork", "source", "--name", "copy"]).ok();
    host.wait_for_state("copy", "running");
    for machine in ["source", "copy"] {
        assert_eq!(mark(&host, machine), boot);
    }
    remove_all(&host, &["source", "copy"]);
    host.down();
}
