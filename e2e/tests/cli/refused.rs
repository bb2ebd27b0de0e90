//! Machines that cannot be, and what is said about them.

use hearth_e2e::BUSYBOX;

use crate::{on_each_driver, sh};

#[test]
fn what_the_node_does_not_have_is_refused_with_what_is_free() {
    on_each_driver(|host| {
        sh(host, &["--memory", "1000g"], "true").failed(125, &["1024000 MiB", "free"]);
        let info = host.hearth(&["node", "info", "--json"]).json();
        if info["cpus"]["total"].as_u64().unwrap() < 32 {
            sh(host, &["--cpus", "32"], "true").failed(125, &["32 vCPUs", "free"]);
        }
        sh(host, &["--name", "no/name"], "true").failed(125, &["no/name"]);
        host.hearth(&["run", "--rm", "--kernel", "no-such", BUSYBOX])
            .failed(125, &["no-such"]);
        assert_eq!(host.hearth(&["ps", "-aq"]).ok(), "", "what is refused leaves nothing");
    });
}

#[test]
fn too_little_memory_to_boot_is_said_with_the_consoles_last_lines() {
    on_each_driver(|host| {
        // The kernel would not fit at all, and could not even say so: refused before it is tried.
        let refused = sh(host, &["--memory", "16m"], "true");
        refused.failed(125, &["memory 16 MiB is too little", "--memory"]);
        let filled = refused.stderr.split("fills ").nth(1).unwrap();
        let min_mib: u64 = filled.split(' ').next().unwrap().parse().unwrap();
        assert!((32..128).contains(&min_mib), "{refused:?}");
        // Hardly more: it begins to boot, and panics. Now and then one only hangs, which its boot timeout ends.
        let panicked = [3, 1, 2].into_iter().find_map(|more_mib| {
            let memory = format!("{}m", min_mib + more_mib);
            let ran = sh(host, &["--memory", &memory], "true");
            ran.failed(125, &["did not come up", "console", "too little memory", "--memory"]);
            ran.stderr.contains("Kernel panic").then_some(())
        });
        assert!(panicked.is_some());
    });
}
