//! What befalls a daemon: kills, orders, second daemons, full disks, floods and crowds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be made fails its test"
)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hearth_e2e::{BUSYBOX, Host, HostOptions, Mount, Ran, kill, wait_for};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Counts until it is told to end, and then ends with 5.
const COUNTER: &str = "i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); echo $i; sleep 0.1; done; exit 5";
/// Machines that are asked for at once.
const CROWD: usize = 200;
/// Each of a machine's two log files, with a record more and the rest of its folder.
const FOLDER_MAX_BYTES: u64 = 20 << 20;
/// A debug build's; the true figure is the bench's to measure.
const IDLE_RSS_MAX_KIB: u64 = 100 << 10;

fn detached(host: &Host, name: &str, flags: &[&str], script: &str) {
    let program = [BUSYBOX, "sh", "-c", script];
    host.hearth(&[&["run", "-d", "--name", name], flags, &program].concat())
        .ok();
    host.wait_for_state(name, "running");
}

/// A machine whose program heeds no signal.
fn deaf(host: &Host, flags: &[&str]) {
    detached(
        host,
        "deaf",
        flags,
        "trap '' TERM; echo no-longer; while :; do sleep 1; done",
    );
    wait_for("it not to listen any longer", || {
        host.hearth(&["logs", "deaf"])
            .stdout
            .contains("no-longer")
            .then_some(())
    });
}

fn exec(host: &Host, machine: &str, script: &str) -> String {
    host.hearth(&["exec", machine, "sh", "-c", script]).ok().to_owned()
}

/// The machine may be gone before the command's own end is heard.
fn end_counter(host: &Host, machine: &str) {
    host.hearth(&["exec", machine, "sh", "-c", "touch /tmp/end"]);
}

fn boot_id(host: &Host, machine: &str) -> String {
    exec(host, machine, "cat /proc/sys/kernel/random/boot_id")
}

fn nothing_left(host: &Host) {
    let machines = host.hearth(&["ps", "-aq"]).ok().to_owned();
    for machine in machines.split_whitespace() {
        // One that removes itself may have gone meanwhile.
        host.hearth(&["rm", "-f", machine]);
    }
    wait_for("all machines to be gone", || {
        host.hearth(&["ps", "-aq"]).ok().is_empty().then_some(())
    });
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_successor_adopts_what_runs() {
    let mut host = Host::start();
    detached(&host, "counter", &[], COUNTER);
    let (pid, boot) = (host.vmm("counter"), boot_id(&host, "counter"));
    assert!(pid.is_some());

    host.kill_daemon();
    // The guest goes on counting with nobody there.
    thread::sleep(Duration::from_secs(2));
    host.up(&HostOptions::default());
    assert_eq!((host.vmm("counter"), boot_id(&host, "counter")), (pid, boot.clone()));

    // An order to end is no order to end the machines either.
    host.down();
    thread::sleep(Duration::from_millis(500));
    host.up(&HostOptions::default());
    assert_eq!((host.vmm("counter"), boot_id(&host, "counter")), (pid, boot));

    end_counter(&host, "counter");
    host.wait_for_state("counter", "stopped");
    assert_eq!(host.inspect("counter")["exit"]["code"], 5);
    let logged: Vec<u64> = host
        .hearth(&["logs", "counter"])
        .ok()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(logged.len() > 25, "{logged:?}");
    assert_eq!(logged, (1..=logged.len() as u64).collect::<Vec<_>>());
    nothing_left(&host);
}

#[test]
fn a_vmm_that_is_killed_is_reported_or_restarted() {
    let mut host = Host::start();
    detached(&host, "plain", &[], "sleep 1000");
    detached(&host, "again", &["--restart", "always"], "sleep 1000");
    let first = host.vmm("again");

    kill(host.vmm("plain").unwrap());
    kill(host.vmm("again").unwrap());
    host.wait_for_state("plain", "failed");
    let shown = host.inspect("plain").to_string();
    assert!(shown.contains("ended unexpectedly"), "{shown}");
    let id = host.inspect("plain")["id"].as_str().unwrap().to_owned();
    let held = host.held();
    assert!(!held.iter().any(|what| what.contains(&id)), "{held:?}");
    wait_for("the machine to run again", || {
        (host.vmm("again")? != first?).then_some(())
    });
    host.wait_for_state("again", "running");

    host.hearth(&["start", "plain"]).ok();
    host.wait_for_state("plain", "running");
    let victims = [host.vmm("plain"), host.vmm("again")].map(Option::unwrap);
    host.kill_daemon();
    for victim in victims {
        kill(victim);
    }
    host.up(&HostOptions::default());
    host.wait_for_state("plain", "failed");
    let shown = host.inspect("plain").to_string();
    assert!(shown.contains("while the daemon was away"), "{shown}");
    host.wait_for_state("again", "running");
    // One that was stopped stays stopped, whatever its policy.
    host.hearth(&["stop", "-t", "1", "again"]).ok();
    // Slots, cgroups and VMMs are given back by the end, not by the removal.
    assert_eq!(host.held(), Vec::<String>::new());
    host.down();
    host.up(&HostOptions::default());
    thread::sleep(Duration::from_millis(500));
    assert_eq!(host.state_of("again").as_deref(), Some("stopped"));
    nothing_left(&host);
}

/// Brings a daemon to a fault point by a command on a machine whose program heeds no signal, and lets a successor finish.
fn cut_off(point: &str, command: &[&str], state: Option<&str>) -> Duration {
    let mut host = Host::start();
    host.down();
    host.up(&HostOptions::dying_at(point));
    // Whoever asks it to stop has to wait for longer than this test lasts.
    deaf(&host, &["--stop-timeout", "600"]);
    host.killed_at_by(point, command);
    let back = Instant::now();
    host.up(&HostOptions::default());
    match state {
        Some(state) => host.wait_for_state("deaf", state),
        None => wait_for("the machine to be gone", || {
            host.state_of("deaf").is_none().then_some(())
        }),
    }
    let took = back.elapsed();
    nothing_left(&host);
    took
}

#[test]
fn a_successor_kills_what_was_to_be_killed() {
    let commands: [(&[&str], Option<&str>); 2] = [(&["kill", "deaf"], Some("stopped")), (&["rm", "-f", "deaf"], None)];
    for (command, state) in commands {
        let took = cut_off("stop.recorded", command, state);
        assert!(took < Duration::from_secs(30), "{command:?} took {took:?}");
    }
}

#[test]
fn a_successor_waits_no_longer_than_whoever_asked() {
    let took = cut_off("stop.asked", &["stop", "-t", "1", "deaf"], Some("stopped"));
    assert!(took < Duration::from_mins(1), "{took:?}");
}

#[test]
fn one_that_removes_itself_outlives_its_restart() {
    let host = Host::start();
    host.hearth(&["run", "--rm", "-d", "--name", "again", BUSYBOX, "sleep", "1000"])
        .ok();
    host.wait_for_state("again", "running");
    let boot = boot_id(&host, "again");
    host.hearth(&["restart", "-t", "1", "again"]).ok();
    host.wait_for_state("again", "running");
    assert_ne!(boot_id(&host, "again"), boot);
    host.hearth(&["stop", "-t", "1", "again"]).ok();
    wait_for("the machine to be gone", || {
        host.state_of("again").is_none().then_some(())
    });
    nothing_left(&host);
}

/// Takes the place of the system's clock in a process, and follows a file that tells how far it is off.
const FAKE_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const DAY_SECS: i64 = 86_400;

/// A host whose wall clock can be moved. What runs in it, the command line included, sees it; guests have their own.
struct Clock {
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Self {
            file: folder.path().join("clock"),
            folder,
        };
        clock.jump_to(0);
        clock
    }

    /// Puts it so many seconds off.
    fn jump_to(&self, secs: i64) {
        let next = self.folder.path().join("next");
        fs::write(&next, format!("{secs:+}\n")).unwrap();
        fs::rename(next, &self.file).unwrap();
    }

    fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("LD_PRELOAD", FAKE_CLOCK),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().unwrap()),
            // For this many seconds it may believe what it read.
            ("FAKETIME_CACHE_DURATION", "1"),
            // Only the wall clock can be set; the other never jumps.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    fn hearth(&self, host: &Host, args: &[&str]) -> String {
        let mut command = host.command(args);
        let output = command.envs(self.environment()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// How far a guest's clock is behind the host's, in seconds.
    fn lag_of(&self, host: &Host, machine: &str) -> i64 {
        let theirs: i64 = exec(host, machine, "date +%s").parse().unwrap();
        let mut ours = Command::new("date");
        let ours = ours.arg("+%s").envs(self.environment()).output().unwrap();
        String::from_utf8(ours.stdout).unwrap().trim().parse::<i64>().unwrap() - theirs
    }
}

#[test]
fn the_hosts_clock_jumps_by_days() {
    if !Path::new(FAKE_CLOCK).exists() {
        return hearth_e2e::skip("faketime");
    }
    let clock = Clock::new();
    let options = |clock: &Clock| {
        let environment = clock.environment();
        let set = |options: HostOptions, (key, value): (&str, &str)| options.env(key, value);
        environment.into_iter().fold(HostOptions::default(), set)
    };
    let mut host = Host::with(&options(&clock));
    detached(&host, "counter", &[], COUNTER);
    let boot = boot_id(&host, "counter");
    for jump in [3 * DAY_SECS, -5 * DAY_SECS, 40 * DAY_SECS, 0] {
        clock.jump_to(jump);
        // It is told the new time, and what it writes from then on counts as new.
        wait_for("the guest to hear of the jump", || {
            (clock.lag_of(&host, "counter").abs() < 30).then_some(())
        });
        wait_for("lines of this moment", || {
            let lines = clock.hearth(&host, &["logs", "--since", "1m", "counter"]);
            (!lines.is_empty()).then_some(())
        });
        assert_eq!(boot_id(&host, "counter"), boot);
        assert!(clock.hearth(&host, &["ps"]).contains("counter"));
        clock.hearth(&host, &["events", "--no-follow"]);
        clock.hearth(&host, &["stats", "--no-stream", "counter"]);
    }

    // A stop waits as long as it was told, whatever the clock does meanwhile.
    for jump in [2 * DAY_SECS, -2 * DAY_SECS] {
        deaf(&host, &[]);
        let waiting = host.command(&["wait", "deaf"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut stopping = host.command(&["stop", "-t", "4", "deaf"]).spawn().unwrap();
        let begun = Instant::now();
        wait_for("the stop to begin", || {
            (host.state_of("deaf")? == "stopping").then_some(())
        });
        clock.jump_to(jump);
        assert!(stopping.wait().unwrap().success());
        let took = begun.elapsed();
        assert!((3..30).contains(&took.as_secs()), "{took:?}");
        let waited = waiting.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&waited.stdout), "137\n");
        clock.hearth(&host, &["rm", "deaf"]);
    }

    // Restarts come after their pauses, neither at once nor in days.
    let again = [
        "run",
        "-d",
        "--name",
        "again",
        "--restart",
        "on-failure:3",
        BUSYBOX,
        "false",
    ];
    clock.hearth(&host, &again);
    for jump in [-9 * DAY_SECS, 9 * DAY_SECS, 0] {
        clock.jump_to(jump);
        thread::sleep(Duration::from_millis(300));
    }
    wait_for("the last restart", || {
        let shown = host.inspect("again");
        (shown["restarts"] == 3 && shown["state"] == "stopped").then_some(())
    });

    // A daemon that comes back to another time finds its machines, and they find their time.
    host.kill_daemon();
    clock.jump_to(-30 * DAY_SECS);
    host.up(&options(&clock));
    wait_for("the guest to hear of the time", || {
        (clock.lag_of(&host, "counter").abs() < 30).then_some(())
    });
    assert_eq!(boot_id(&host, "counter"), boot);
    clock.jump_to(0);
    end_counter(&host, "counter");
    host.wait_for_state("counter", "stopped");
    assert_eq!(host.inspect("counter")["exit"]["code"], 5);
    let logged = host.hearth(&["logs", "counter"]).ok().lines().count();
    let expected: Vec<String> = (1..=logged).map(|number| number.to_string()).collect();
    assert_eq!(host.hearth(&["logs", "counter"]).ok(), expected.join("\n"));
    nothing_left(&host);
}

#[test]
fn a_second_daemon_is_refused() {
    let host = Host::start();
    let state = host.state_dir();
    let other = host.folder().join("other");
    let up = |state: &Path, socket: &Path| {
        let (state, socket) = (state.to_str().unwrap(), socket.to_str().unwrap());
        host.hearth(&["up", "--warm-slots", "0", "--state-dir", state, "--socket", socket])
    };
    up(&state, &host.folder().join("sock2")).failed(1, &["another daemon uses state folder", "--state-dir"]);
    up(&other, &host.socket()).failed(1, &["another daemon listens on", "--socket"]);
    host.hearth(&["node", "info"]).ok();

    let socket = host.folder().join("sock2");
    let arguments = [
        "up",
        "--detach",
        "--state-dir",
        state.to_str().unwrap(),
        "--socket",
        socket.to_str().unwrap(),
    ];
    host.hearth(&arguments)
        .failed(1, &["the daemon ended at once", "another daemon uses"]);

    // One of its own is left running, and ends when told to.
    let arguments = [
        "up",
        "--detach",
        "--state-dir",
        other.to_str().unwrap(),
        "--socket",
        socket.to_str().unwrap(),
    ];
    let said = host.hearth(&arguments).ok().to_owned();
    let pid = said
        .split("pid ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .expect("it names its process");
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    let info = Ran::ok(&host.hearth(&["--socket", socket.to_str().unwrap(), "node", "info"])).to_owned();
    assert!(!info.is_empty());
    kill_process(pid, Signal::TERM).unwrap();
    wait_for("the daemon to end", || (!socket.exists()).then_some(()));
    wait_for("the daemon to end", || test_kill_process(pid).is_err().then_some(()));
}

#[test]
fn firecracker_without_kvm_is_refused_at_once() {
    if hearth_driver::kvm::usable().is_ok() {
        return hearth_e2e::skip("a host without usable KVM");
    }
    let programs = match hearth_testkit::firecracker::firecracker() {
        Ok(programs) => programs,
        Err(missing) => return hearth_e2e::skip(&missing),
    };
    let folder = programs.firecracker.parent().unwrap().to_str().unwrap();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let host = Host::with(&HostOptions::default().env("PATH", &path));
    let info = host.hearth(&["node", "info"]).ok().to_owned();
    assert!(info.contains("firecracker (unusable: it needs KVM"), "{info}");
    assert!(info.contains("qemu (software emulation)"), "{info}");
    // Neither by itself nor by choice does it come to a boot that nobody can wait for.
    assert_eq!(
        host.hearth(&["--json", "node", "info"]).json()["default_driver"],
        "qemu"
    );
    let asked = Instant::now();
    let refused = host.hearth(&["run", "--rm", "--driver", "firecracker", BUSYBOX, "true"]);
    refused.failed(125, &["driver firecracker cannot be used", "KVM", "--driver qemu"]);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    nothing_left(&host);
}

#[test]
fn programs_and_bridge_are_as_the_flags_say() {
    // A bridge of this test's own: its name and network must not be another's.
    let number = std::process::id() % 200;
    let (bridge, subnet) = (format!("hbr-e2e-{number}"), format!("172.30.{number}.0/24"));
    let options = |args: &[&str]| {
        args.iter()
            .fold(HostOptions::default(), |options, arg| options.arg(arg))
    };
    let mut host = Host::with(&options(&["--bridge", &bridge, "--bridge-subnet", &subnet]));
    let shown = host.hearth(&["run", "--rm", "--network", "bridge", BUSYBOX, "ip", "addr"]);
    assert!(shown.ok().contains(&format!("inet 172.30.{number}.")), "{shown:?}");
    let link = Path::new("/sys/class/net").join(&bridge);
    assert!(link.exists());
    host.down();
    assert!(!link.exists(), "what nobody uses goes with the daemon");

    host.up(&options(&[
        "--qemu",
        "/nonexistent/qemu",
        "--firecracker",
        "/nonexistent/fc",
        "--accel",
        "kvm",
    ]));
    let info = host.hearth(&["node", "info"]).ok().to_owned();
    for lost in [
        "qemu (unusable: cannot find /nonexistent/qemu)",
        "firecracker (unusable: cannot find /nonexistent/fc)",
    ] {
        assert!(info.contains(lost), "{info}");
    }
    host.hearth(&["run", "--rm", BUSYBOX, "true"])
        .failed(125, &["/nonexistent/qemu", "apt-get install"]);
    for (flag, value) in [
        ("--bridge", "a/b"),
        ("--bridge-subnet", "172.30.0.0"),
        ("--accel", "hax"),
    ] {
        let refused = host.hearth(&["up", flag, value]);
        assert_ne!(refused.code, 0);
        assert!(
            refused.stderr.contains(flag) && refused.stderr.contains(value),
            "{refused:?}"
        );
    }
    assert_eq!(host.hearth(&["ps", "-aq"]).ok(), "");
}

#[test]
fn what_is_taken_is_refused_before_a_machine_is_made() {
    let host = Host::start();
    let refused = |flags: &[&str], words: &[&str]| {
        host.hearth(&[&["run", "-d"], flags, &[BUSYBOX, "sleep", "1000"]].concat())
            .failed(125, words);
    };
    refused(
        &["--disk", "16777216m"],
        &["disk of 16777216 MiB", "MiB free", "overcommit"],
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let publish = format!("127.0.0.1:{port}:80");
    refused(&["-p", &publish], &["in use", &port.to_string(), "process"]);
    assert_eq!(host.hearth(&["ps", "-aq"]).ok(), "", "what is refused leaves nothing");
    drop(listener);

    detached(&host, "holder", &["-p", &publish], "sleep 1000");
    refused(
        &["-p", &format!("{port}:81")],
        &["in use by machine holder", &port.to_string()],
    );
    assert_eq!(host.hearth(&["ps", "-aq"]).ok().lines().count(), 1);
    // Between the making of one and its start, a stranger takes the port.
    host.hearth(&["stop", "-t", "1", "holder"]).ok();
    let _stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    host.hearth(&["start", "holder"]);
    host.wait_for_state("holder", "failed");
    assert!(host.inspect("holder").to_string().contains("in use"));
    nothing_left(&host);
}

#[test]
fn what_cannot_be_read_costs_no_disk() {
    let mut host = Host::start();
    let write = "echo precious >> /file; sync; sleep 1000";
    detached(&host, "broken", &["--disk", "16m"], write);
    detached(&host, "unknown", &["--disk", "16m"], write);
    detached(&host, "whole", &[], "sleep 1000");
    for name in ["broken", "unknown"] {
        wait_for("the file to be written", || {
            (host.hearth(&["exec", name, "cat", "/file"]).stdout == "precious\n").then_some(())
        });
    }
    let folder = |name: &str| {
        let id = host.inspect(name)["id"].as_str().unwrap().to_owned();
        host.state_dir().join("machines").join(id)
    };
    let (broken, unknown) = (folder("broken"), folder("unknown"));
    host.kill_daemon();
    fs::write(broken.join("state.json"), "{\"state\":").unwrap();
    fs::write(unknown.join("spec.json"), "").unwrap();
    // What a daemon may leave that was cut off.
    fs::create_dir_all(host.state_dir().join("machines/.making-x/vmm")).unwrap();
    fs::create_dir_all(host.state_dir().join("machines/.going-x/vmm")).unwrap();
    host.up(&HostOptions::default());

    // Without its record a machine has failed, gives back what it held, and can be started again.
    host.wait_for_state("broken", "failed");
    host.hearth(&["start", "broken"]).ok();
    wait_for("the file to be written again", || {
        (host.hearth(&["exec", "broken", "cat", "/file"]).stdout == "precious\nprecious\n").then_some(())
    });
    // Without its spec it is no machine any more; its disk is put aside.
    host.wait_for_state("unknown", "failed");
    let aside = unknown.with_file_name(format!(".damaged-{}", unknown.file_name().unwrap().to_str().unwrap()));
    assert!(aside.join("disk.ext4").exists() && !unknown.exists());
    exec(&host, "whole", "true");
    let left = host.leftovers();
    assert!(!left.iter().any(|what| what.ends_with("ing-x")), "{left:?}");
    fs::remove_dir_all(aside).unwrap();
    nothing_left(&host);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _mount = Mount::new(folder.path(), "ro,size=64k");
    let socket = folder.path().with_extension("sock");
    let host = Host::empty(&HostOptions::default());
    let arguments = [
        "up",
        "--state-dir",
        folder.path().to_str().unwrap(),
        "--socket",
        socket.to_str().unwrap(),
    ];
    host.hearth(&arguments)
        .failed(1, &["state folder", "Read-only file system"]);
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let mut host = Host::start();
    host.down();
    let machines = host.state_dir().join("machines");
    let mount = Mount::new(&machines, "size=1m,mode=711");
    host.up(&HostOptions::default());
    detached(&host, "first", &[], COUNTER);

    let filler = host.state_dir().join("machines/first-filler");
    fill(&filler);
    let refused = host.hearth(&["run", "-d", "--name", "second", BUSYBOX, "true"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("No space left"), "{refused:?}");
    assert!(!matches!(
        host.state_of("second").as_deref(),
        Some("running" | "pending")
    ));
    host.hearth(&["rm", "-f", "second"]);

    // What runs goes on, and is adopted by a daemon that starts on the full disk (what is no machine it clears away).
    exec(&host, "first", "true");
    host.kill_daemon();
    host.up(&HostOptions::default());
    exec(&host, "first", "true");
    fill(&filler);
    end_counter(&host, "first");
    host.wait_for_state("first", "stopped");
    assert_eq!(host.inspect("first")["exit"]["code"], 5);
    host.hearth(&["rm", "first"]).ok();
    fs::remove_file(&filler).unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());

    host.hearth(&["run", "--rm", BUSYBOX, "true"]).ok();
    nothing_left(&host);
    host.down();
    drop(mount);
}

/// Takes all the room that there is.
fn fill(path: &Path) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut block = 4096;
    while block > 0 {
        if file.write(&vec![0; block]).is_err() {
            block /= 2;
        }
    }
}

#[test]
fn a_flood_fills_no_disk_and_blocks_nobody() {
    let host = Host::start();
    detached(&host, "flood", &[], "exec yes 0123456789abcdefghijklmnopqrstuvwxyz");
    let flooded = Instant::now();
    while flooded.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_eq!(exec(&host, "flood", "echo here"), "here");
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    }
    let tail = host.hearth(&["logs", "--tail", "3", "flood"]);
    // The last line may be cut where the program was heard last.
    assert!(
        tail.ok().contains(
            "0123456789abcdefghijklmnopqrstuvwxyz
"
        ),
        "{tail:?}"
    );
    // Ends, though the machine goes on.
    host.hearth(&["logs", "flood"]).ok();
    let size = folder_bytes(&host.state_dir().join("machines"));
    assert!(size < FOLDER_MAX_BYTES, "{size}");
    host.hearth(&["stop", "-t", "1", "flood"]).ok();
    nothing_left(&host);
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn a_crowd_is_served() {
    let options = HostOptions::default().env("HEARTH_FAKE_DRIVER", "1");
    let options = [
        "--driver",
        "fake",
        "--cpu-overcommit",
        "1000",
        "--memory-overcommit",
        "1000",
    ]
    .iter()
    .fold(options, |options, arg| options.arg(arg));
    let host = Host::with(&options);
    let socket = host.socket();
    let asking: Vec<_> = (0..CROWD)
        .map(|number| {
            let socket = socket.clone();
            thread::spawn(move || {
                let body = format!(r#"{{"image":"{BUSYBOX}","name":"crowd-{number}","memory_mib":16,"start":true}}"#);
                request(&socket, "POST", "/v1/machines", &body)
            })
        })
        .collect();
    for asked in asking {
        let answer = asked.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    let running = || host.hearth(&["ps", "-q"]).ok().lines().count();
    wait_for("the crowd to run", || (running() == CROWD).then_some(()));

    let removing: Vec<_> = (0..CROWD)
        .map(|number| {
            let socket = socket.clone();
            thread::spawn(move || {
                request(
                    &socket,
                    "DELETE",
                    &format!("/v1/machines/crowd-{number}?force=true"),
                    "",
                )
            })
        })
        .collect();
    for asked in removing {
        let answer = asked.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(host.hearth(&["ps", "-aq"]).ok(), "");
    nothing_left(&host);
    let info = host.hearth(&["--json", "node", "info"]).json();
    assert_eq!(info["memory_mib"]["allocated"], 0, "{info}");
    let status = fs::read_to_string(format!("/proc/{}/status", host.daemon_pid())).unwrap();
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    assert!(rss.is_some_and(|rss: u64| rss < IDLE_RSS_MAX_KIB), "{rss:?} KiB");
}

/// One request on a connection of its own; its whole answer.
fn request(socket: &Path, method: &str, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: hearth\r\nConnection: close\r\n");
    let kind = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{kind}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
