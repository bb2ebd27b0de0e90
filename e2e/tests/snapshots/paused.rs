//! What is copied of a machine that is paused.

use std::collections::BTreeSet;

use hearth_e2e::{Host, wait_for};

use crate::shop::{exec, remove_all, run};

/// Its program draws random numbers all the time, as fast as it can.
const DRAWS: &str = "while :; do cat /proc/sys/kernel/random/uuid >> /dev/shm/drawn; done";

fn drawn(host: &Host, machine: &str) -> Vec<String> {
    let drawn = exec(host, machine, "cat /dev/shm/drawn");
    drawn.lines().map(str::to_owned).collect()
}

#[test]
fn copies_of_a_machine_that_is_paused_draw_nothing_in_common() {
    let host = Host::start();
    run(&host, "source", &[], DRAWS);
    wait_for("the program to draw", || {
        (drawn(&host, "source").len() > 20).then_some(())
    });
    for mode in [&["pause", "--memory"][..], &["pause"]] {
        host.hearth(&[mode, &["source"]].concat()).ok();
        // Neither has it been started by that.
        host.hearth(&["start", "source"]).failed(1, &["paused", "resume"]);
        host.hearth(&["fork", "--name", "one", "--name", "two", "source"]).ok();
        host.hearth(&["resume", "source"]).ok();
        let drew = |name| drawn(&host, name).len();
        let most = ["source", "one", "two"].map(drew).into_iter().max().unwrap();
        let all: Vec<_> = ["source", "one", "two"]
            .map(|name| wait_for("it to draw on", || (drew(name) > most + 5).then(|| drawn(&host, name))))
            .into();
        let common = all[0]
            .iter()
            .zip(&all[1])
            .take_while(|(one, other)| one == other)
            .count();
        assert!(common > 20, "they have no past in common: {common}");
        let mut since = BTreeSet::new();
        for (name, drawn) in ["source", "one", "two"].iter().zip(&all) {
            for number in &drawn[common..] {
                assert!(since.insert(number), "{mode:?}: {name} drew {number}, as another did");
            }
        }
        for name in ["one", "two"] {
            host.hearth(&["rm", "-f", name]).ok();
        }
    }
    remove_all(&host, &["source"]);
}
