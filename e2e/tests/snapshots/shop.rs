//! What these tests have in common.

use hearth_e2e::{BUSYBOX, Host, wait_for};

/// What a script puts into memory alone: another mark at each boot, and the same for all that goes on from there. The boot ID
/// would not do, since copies get one of their own.
pub(crate) const MARK: &str = "cat /proc/sys/kernel/random/uuid > /dev/shm/mark";

/// Starts a machine that runs a script, and waits until it runs.
pub(crate) fn run(host: &Host, name: &str, flags: &[&str], script: &str) {
    let program = [BUSYBOX, "sh", "-c", script];
    let args = [&["run", "-d", "--name", name], flags, &program].concat();
    host.hearth(&args).ok();
    host.wait_for_state(name, "running");
}

/// What a script in a machine says.
pub(crate) fn exec(host: &Host, machine: &str, script: &str) -> String {
    host.hearth(&["exec", machine, "sh", "-c", script]).ok().to_owned()
}

/// The mark of a machine's boot, as soon as it is there.
pub(crate) fn mark(host: &Host, machine: &str) -> String {
    wait_for("the mark", || {
        let mark = exec(host, machine, "cat /dev/shm/mark 2>/dev/null || true");
        Some(mark).filter(|mark| !mark.is_empty())
    })
}

/// The number in a file, which is not there at first, and which whoever writes it anew empties first.
pub(crate) fn number(host: &Host, machine: &str, file: &str) -> u64 {
    let read = || {
        host.hearth(&["exec", machine, "sh", "-c", &format!("cat {file}")])
            .stdout
            .trim()
            .parse()
    };
    wait_for("a number", || read().ok())
}

pub(crate) fn lines(host: &Host, machine: &str) -> Vec<String> {
    let log = host.hearth(&["logs", machine]);
    log.ok().lines().map(str::to_owned).collect()
}

/// Nothing of any machine is left once all are removed.
pub(crate) fn remove_all(host: &Host, machines: &[&str]) {
    for machine in machines {
        host.hearth(&["rm", "-f", machine]).ok();
    }
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
