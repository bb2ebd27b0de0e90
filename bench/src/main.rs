//! Benchmarks: ratios against a baseline taken in the same run, printed as a table and kept in `bench/out/latest.json`.
//!
//! Each benchmark is a file in `benchmarks/`, entered in [`benchmarks::ALL`]. Ours and the baseline are measured
//! in turns, so that a drift of the host hits both; each figure is a median. A missed goal is no error.

mod bare;
mod benchmarks;
mod daemon;
mod figures;
mod fixtures;
mod graph;
mod host;
mod output;
mod servers;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{benchmarks::Benchmark, host::Ground, output::Row};

/// The allocator of the binary, since the gateway that is measured runs in this program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure Hearth against baselines taken in the same run.
#[derive(Debug, Parser)]
struct Options {
    /// The binary to measure
    #[arg(long)]
    hearth: PathBuf,
    /// Only this benchmark (may be given more than once)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Fewer rounds: to see that it works, not for figures
    #[arg(long)]
    quick: bool,
    /// Draw what was measured into this file, too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, servers::GATEWAY_COMMAND, listen, to] => servers::run_gateway(listen, to),
        _ => run(&Options::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "it starts real microVMs with namespaces and cgroups of their own: run it as root"
    );
    let chosen = benchmarks::choose(&options.only)?;
    let hearth = options
        .hearth
        .canonicalize()
        .with_context(|| format!("no program {}", options.hearth.display()))?;
    let ground = Ground::new(hearth, options.quick)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Whatever a benchmark made is taken away when its future is dropped, at Ctrl-C as well.
    let rows = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            rows = measure(&ground, &chosen) => rows,
            _ = interrupt.recv() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    })?;
    output::print(&rows);
    if let Some(path) = &options.svg {
        graph::write(&rows, path)?;
    }
    if options.quick || !options.only.is_empty() {
        eprintln!("bench/out/latest.json is left alone: this was not a full run");
        return Ok(());
    }
    output::write(&rows)
}

async fn measure(ground: &Ground, chosen: &[&Benchmark]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for benchmark in chosen {
        eprintln!("measuring {} …", benchmark.name);
        let found = (benchmark.run)(ground)
            .await
            .with_context(|| format!("benchmark {}", benchmark.name))?;
        rows.extend(found);
    }
    Ok(rows)
}
