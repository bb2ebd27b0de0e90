//! Forks in crowds: how fast many come, and what memory each takes.

use std::{hint::black_box, time::Instant};

use futures::{StreamExt as _, stream};

use super::{
    machines::{MEMORY_MIB, Machines},
    process,
};
use crate::{
    bare,
    daemon::Daemon,
    figures::{median, millis},
    host::Ground,
    output::Row,
};

/// How many come at once, and so many more make the hundred.
const AT_ONCE: u32 = 50;
/// The share of the cores that a crowd is to make use of: 0.8.
const THROUGHPUT_GOAL: f64 = 1.25;
/// What a fork may hold beside what its VMM does, in MiB.
const OWN_LIMIT_MIB: f64 = 3.0;
const REMOVED_AT_ONCE: usize = 8;
/// Steps of a loop that takes some 0.2 s, and how often it is timed.
const LOOP: u64 = 200_000_000;
const LOOP_ROUNDS: usize = 9;

pub(super) async fn measure(ground: &Ground, daemon: &Daemon, machines: &Machines) -> anyhow::Result<Vec<Row>> {
    let source = machines.start(Machines::sleeper()).await?;
    let booted = bare::pid_of(&source)?;
    let (booted_own, booted_share) = (process::own_memory(booted)?, process::share(booted)?);
    let one_cpu = one_by_one(ground, daemon, machines, &source).await?;
    let count = u32::try_from(ground.rounds(AT_ONCE as usize))?;
    let before = Beside::now(ground, daemon)?;
    let started = Instant::now();
    let mut forks = crowd(machines, &source, count).await?;
    let each = millis(started.elapsed()) / f64::from(count);
    let at_rest = held(ground, daemon, &before, &forks)?;
    forks.extend(crowd(machines, &source, count).await?);
    let full = held(ground, daemon, &before, &forks)?;
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let (wanted, came) = (f64::from(2 * count), forks.len() as f64);
    let removed = stream::iter(forks).map(|id| async move { machines.remove(&id).await });
    let removed: Vec<anyhow::Result<()>> = removed.buffer_unordered(REMOVED_AT_ONCE).collect().await;
    removed.into_iter().collect::<anyhow::Result<()>>()?;
    machines.remove(&source).await?;
    daemon.settle().await?;
    let cores = std::thread::available_parallelism()?.get();
    let (alone, together) = (loops(1), loops(cores));
    let cores = f64::from(u32::try_from(cores)?);
    Ok(vec![
        Row::new(
            "50 forks at once: time for each, against one's CPU time by the cores",
            "ms",
            each,
            one_cpu / cores,
            THROUGHPUT_GOAL,
        ),
        Row::informative(
            "what the cores are at once: a loop on each of them, against one alone",
            "ms",
            together,
            alone,
        ),
        Row::within(
            "memory of a running fork's own, beside its VMM's",
            "MiB",
            at_rest.guest + at_rest.beside,
            OWN_LIMIT_MIB,
        ),
        Row::informative("of that, what its guest wrote", "MiB", at_rest.guest, OWN_LIMIT_MIB),
        Row::informative(
            "pages of its VMM's own, against a booted one's",
            "MiB",
            at_rest.vmm,
            booted_own.vmm,
        ),
        Row::informative("100 forks of a machine of 128 MiB: how many came", "", came, wanted),
        Row::informative(
            "the same: memory for each, all told, against a booted one",
            "MiB",
            full.all_told,
            booted_share,
        ),
        Row::informative(
            "the same, against what its guest was given",
            "MiB",
            full.all_told,
            f64::from(u32::try_from(MEMORY_MIB)?),
        ),
    ])
}

/// How long a loop takes that so many threads run at once, in milliseconds: cores may share what makes them fast, and hosts
/// share cores.
fn loops(threads: usize) -> f64 {
    let round = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..LOOP).fold(1_u64, |drawn, n| black_box(drawn.rotate_left(5) ^ n)));
            }
        });
        millis(started.elapsed())
    };
    median((0..LOOP_ROUNDS).map(|_| round()).collect())
}

/// The CPU time of one machine from a snapshot of that one, of all who have a part in it, until it runs, in milliseconds.
async fn one_by_one(ground: &Ground, daemon: &Daemon, machines: &Machines, source: &str) -> anyhow::Result<f64> {
    let snapshot = machines.snapshot(source).await?;
    let (mut vmms, mut daemons) = (Vec::new(), Vec::new());
    // The first reads the snapshot.
    for round in 0..=ground.rounds(16) {
        let before = process::cpu_with_children(daemon.pid())?;
        let id = machines.start(Machines::from(&snapshot)).await?;
        if round > 0 {
            vmms.push(process::cpu_of_threads(bare::pid_of(&id)?)?);
            daemons.push(process::cpu_with_children(daemon.pid())? - before);
        }
        machines.remove(&id).await?;
    }
    if std::env::var_os("HEARTH_BENCH_VERBOSE").is_some() {
        eprintln!("  one fork's CPU time: daemon {daemons:.1?}\n  VMM {vmms:.1?}");
    }
    // Ticks are coarse: their mean is right where their median is not.
    let daemon = daemons.iter().sum::<f64>() / f64::from(u32::try_from(daemons.len())?);
    Ok(daemon + median(vmms))
}

/// Forks so many at once. All of them run; their IDs.
async fn crowd(machines: &Machines, source: &str, count: u32) -> anyhow::Result<Vec<String>> {
    let forks = machines.fork(source, count).await?.machines;
    let ids: Vec<String> = forks.iter().map(|fork| fork.id.to_string()).collect();
    for id in &ids {
        machines.until_running(id).await?;
    }
    Ok(ids)
}

/// What stands beside the VMMs, in MiB.
struct Beside {
    daemon: f64,
    keepers: f64,
}

impl Beside {
    fn now(ground: &Ground, daemon: &Daemon) -> anyhow::Result<Self> {
        let keepers = process::others_of(&ground.hearth, daemon.pid())?;
        // One that ends while we look has nothing.
        let held = keepers
            .into_iter()
            .map(|keeper| process::private(keeper).unwrap_or(0.0));
        Ok(Self {
            daemon: process::private(daemon.pid())?,
            keepers: held.sum(),
        })
    }
}

/// What one of some forks holds, in MiB.
struct Held {
    /// Pages that its guest wrote.
    guest: f64,
    /// Other pages of its VMM's own.
    vmm: f64,
    /// What was added outside of the VMMs.
    beside: f64,
    /// All of it, with its part of what it shares.
    all_told: f64,
}

fn held(ground: &Ground, daemon: &Daemon, before: &Beside, forks: &[String]) -> anyhow::Result<Held> {
    let now = Beside::now(ground, daemon)?;
    let (mut guest, mut vmm, mut shares) = (Vec::new(), Vec::new(), 0.0);
    for id in forks {
        let pid = bare::pid_of(id)?;
        let own = process::own_memory(pid)?;
        guest.push(own.guest);
        vmm.push(own.vmm);
        shares += process::share(pid)?;
    }
    let count = f64::from(u32::try_from(forks.len())?);
    // A daemon that gave something back meanwhile does not make up for its keepers.
    let beside = ((now.daemon - before.daemon).max(0.0) + now.keepers - before.keepers) / count;
    if std::env::var_os("HEARTH_BENCH_VERBOSE").is_some() {
        let (daemon, keepers) = (now.daemon - before.daemon, now.keepers - before.keepers);
        eprintln!("  {count} forks: daemon {daemon:+.1} MiB, keepers {keepers:+.1} MiB");
    }
    Ok(Held {
        guest: median(guest),
        vmm: median(vmm),
        beside,
        all_told: shares / count + beside,
    })
}
