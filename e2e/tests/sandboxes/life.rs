//! One sandbox on a real machine: of another size than its template, and one whose VMM dies.

use hearth_e2e::{Host, kill, wait_for};

use crate::shop::{TEMPLATE, agree, build, clear, create, exec, sandboxes};

/// A number that a script says.
fn number(host: &Host, sandbox: &str, script: &str) -> u64 {
    let said = exec(host, sandbox, script);
    said.trim().parse().unwrap_or_else(|_| panic!("{script}: {said}"))
}

#[test]
fn a_sandbox_of_another_size_has_what_its_template_left_on_disk() {
    let host = Host::start();
    host.hearth(&crate::shop::build_of(TEMPLATE)).ok();
    let first = create(&host);
    exec(&host, &first, "echo kept > /root/kept");
    host.hearth(&["sandbox", "snapshot", &first, "--no-memory", "--name", "grown"])
        .ok();
    let sizes = ["--cpus", "2", "--memory", "256m", "--disk", "256m"];
    let args = [&["sandbox", "create", "--timeout", "10m"], sizes.as_slice(), &["grown"]].concat();
    let larger = host.hearth(&args).ok().to_owned();
    assert_eq!(exec(&host, &larger, "cat /root/kept").trim(), "kept");
    assert_eq!(number(&host, &larger, "nproc"), 2);
    let memory_kib = number(
        &host,
        &larger,
        "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo",
    );
    assert!((180 << 10..=256 << 10).contains(&memory_kib), "{memory_kib} KiB");
    // The file system has grown with the disk, and takes what the template's would not have.
    let disk_kib = number(&host, &larger, "df -k / | awk 'END { print $2 }'");
    assert!(disk_kib > 180 << 10, "{disk_kib} KiB");
    exec(
        &host,
        &larger,
        "dd if=/dev/zero of=/root/large bs=1M count=100 2>/dev/null; sync",
    );
    assert_eq!(number(&host, &larger, "wc -c < /root/large"), 100 << 20);
    let smaller = host.hearth(&["sandbox", "create", "--disk", "32m", "grown"]);
    assert!(smaller.code != 0 && smaller.stderr.contains("disk"), "{smaller:?}");
    agree(&host, "sizes");
    clear(&host, "sizes");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_sandbox_goes_on_from_its_last_recovery_point() {
    let host = Host::start();
    build(&host, TEMPLATE);
    let args = [
        "sandbox",
        "create",
        "--timeout",
        "10m",
        "--recover",
        "snapshot:1s",
        TEMPLATE,
    ];
    let id = host.hearth(&args).ok().to_owned();
    exec(&host, &id, "echo in memory > /dev/shm/kept; echo on disk > /root/kept");
    let point = || {
        let shown = host.inspect(&id);
        shown["recovery_point_at"].as_str().unwrap_or_default().to_owned()
    };
    let first = point();
    // The one that follows may have begun before the files were written.
    for _ in 0..2 {
        let last = point();
        wait_for("a recovery point", || (point() > last).then_some(()));
    }
    assert!(point() > first);
    kill(host.vmm(&id).unwrap());
    wait_for("the sandbox to come back", || {
        let shown = host.inspect(&id);
        (shown["state"] == "running" && shown["restarts"] == 1).then_some(())
    });
    assert_eq!(exec(&host, &id, "cat /dev/shm/kept /root/kept"), "in memory\non disk");
    assert_eq!(sandboxes(&host).len(), 1);

    // One without recovery points is over with its VMM.
    let plain = create(&host);
    kill(host.vmm(&plain).unwrap());
    wait_for("the end of the other one", || {
        (!sandboxes(&host).contains(&plain)).then_some(())
    });
    agree(&host, "recovery");
    clear(&host, "recovery");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
