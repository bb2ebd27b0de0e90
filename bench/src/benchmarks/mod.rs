//! The benchmarks. A new one is a file here and a line in [`ALL`].

mod boot;
mod create;
mod exec;
mod function;
mod gateway;
mod import;
mod sandboxes;
mod snapshots;

use futures::future::BoxFuture;

use crate::{host::Ground, output::Row};

/// Something that can be measured.
pub(crate) struct Benchmark {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// Measures; gives one row a figure.
    pub(crate) run: for<'a> fn(&'a Ground) -> BoxFuture<'a, anyhow::Result<Vec<Row>>>,
}

/// All of them, in the order in which they run.
pub(crate) const ALL: [Benchmark; 8] = [
    Benchmark {
        name: "boot",
        run: |ground| Box::pin(boot::measure(ground)),
    },
    Benchmark {
        name: "exec",
        run: |ground| Box::pin(exec::measure(ground)),
    },
    Benchmark {
        name: "create",
        run: |ground| Box::pin(create::measure(ground)),
    },
    Benchmark {
        name: "import",
        run: |ground| Box::pin(import::measure(ground)),
    },
    Benchmark {
        name: "function",
        run: |ground| Box::pin(function::measure(ground)),
    },
    Benchmark {
        name: "snapshots",
        run: |ground| Box::pin(snapshots::measure(ground)),
    },
    Benchmark {
        name: "sandboxes",
        run: |ground| Box::pin(sandboxes::measure(ground)),
    },
    Benchmark {
        name: "gateway",
        run: |ground| Box::pin(gateway::measure(ground)),
    },
];

/// Those that are named, or all.
pub(crate) fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Benchmark>> {
    let known: Vec<&str> = ALL.iter().map(|benchmark| benchmark.name).collect();
    for name in names {
        anyhow::ensure!(
            known.contains(&name.as_str()),
            "no benchmark {name:?}; there are {}",
            known.join(", ")
        );
    }
    Ok(ALL
        .iter()
        .filter(|benchmark| names.is_empty() || names.iter().any(|name| name == benchmark.name))
        .collect())
}
