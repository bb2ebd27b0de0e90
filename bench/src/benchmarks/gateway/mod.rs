//! The gateway against nginx and Envoy before the same upstream, each on one thread; routes and plans by themselves.

pub(crate) mod load;
mod memory;

use std::{net::SocketAddr, time::Duration};

use load::{Seen, load};

use crate::{
    figures::{Turns, median},
    host::Ground,
    output::Row,
    servers,
};

/// How long each load lasts.
const TIME: Duration = Duration::from_secs(2);

/// A load, and the names of its rows.
struct Case {
    path: &'static str,
    connections: u32,
    rate: &'static str,
    p99: &'static str,
}

macro_rules! case {
    ($path:literal, $size:literal, $connections:literal) => {
        Case {
            path: $path,
            connections: $connections,
            rate: concat!(
                "gateway, ",
                $size,
                " on ",
                $connections,
                ": time for a request, against nginx"
            ),
            p99: concat!("gateway, ", $size, " on ", $connections, ": p99, against Envoy"),
        }
    };
}

const CASES: [Case; 6] = [
    case!("/1k", "1 KiB", 1),
    case!("/1k", "1 KiB", 32),
    case!("/1k", "1 KiB", 256),
    case!("/1m", "1 MiB", 1),
    case!("/1m", "1 MiB", 32),
    case!("/1m", "1 MiB", 256),
];

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let upstream = servers::upstream(ground)?;
    let nginx = servers::nginx(ground, upstream.address)?;
    let gateway = servers::gateway(upstream.address)?;
    let envoy = servers::envoy(ground, upstream.address);
    if let Err(missing) = &envoy {
        eprintln!("SKIPPED: the comparison with Envoy: {missing:#}");
    }
    let mut rows = Vec::new();
    for case in &CASES {
        let rounds = ground.rounds(4);
        let (mut rate, mut p99) = (Turns::default(), Turns::default());
        let mut added = Turns::default();
        for _ in 0..rounds {
            let direct = case.on(upstream.address, "").await?;
            let ours = case.on(gateway.address, servers::GATEWAY_PATH).await?;
            let by_nginx = case.on(nginx.address, "").await?;
            rate.ours.push(1e6 / ours.rate);
            rate.baseline.push(1e6 / by_nginx.rate);
            added.ours.push((ours.p50 - direct.p50) * 1000.0);
            added.baseline.push((by_nginx.p50 - direct.p50) * 1000.0);
            if let Ok(envoy) = &envoy {
                p99.ours.push(ours.p99);
                p99.baseline.push(case.on(envoy.address, "").await?.p99);
            }
        }
        let (ours, baseline) = rate.medians();
        // As many requests as nine tenths of nginx's.
        rows.push(Row::new(case.rate, "µs", ours, baseline, 1.0 / 0.9));
        if envoy.is_ok() {
            let (ours, baseline) = p99.medians();
            rows.push(Row::new(case.p99, "ms", ours, baseline, 1.2));
        }
        if case.connections == 1 && case.path == "/1k" {
            let (ours, baseline) = added.medians();
            rows.push(Row::new(
                "gateway, 1 KiB on 1: added p50, against nginx's",
                "µs",
                ours,
                baseline,
                1.5,
            ));
        }
    }
    rows.extend(memory::measure(ground));
    Ok(rows)
}

impl Case {
    async fn on(&self, at: SocketAddr, prefix: &str) -> anyhow::Result<Seen> {
        load(at, &format!("{prefix}{}", self.path), self.connections, TIME).await
    }
}

/// The middle of some rounds of a measurement.
fn middle(rounds: usize, round: impl FnMut() -> f64) -> f64 {
    median(std::iter::repeat_with(round).take(rounds).collect())
}
