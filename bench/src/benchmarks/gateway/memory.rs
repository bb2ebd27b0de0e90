//! What needs no network: finding a route, planning a size.

use std::{hint::black_box, time::Instant};

use hearth_domain::{ScaleFacts, ScaleMemory, ScaleRule, plan_scale};
use hearth_gateway::RouteTable;

use super::middle;
use crate::{host::Ground, output::Row, servers::route};

const LOOKUPS: u32 = 200_000;
const PLANS: u32 = 200_000;

pub(super) fn measure(ground: &Ground) -> Vec<Row> {
    let rounds = ground.rounds(8);
    let (few, many) = (table(10), table(10_000));
    let ours = middle(rounds, || lookups_ns(&many, 10_000));
    let baseline = middle(rounds, || lookups_ns(&few, 10));
    vec![
        // The names themselves leave the processor's cache; it is not the number of routes that is searched.
        Row::new("route among 10,000, against among 10", "ns", ours, baseline, 2.0),
        // 50,000 in a second.
        Row::within("a plan of a function's size", "µs", middle(rounds, plans_us), 20.0),
    ]
}

fn table(count: u32) -> RouteTable {
    let routes = (0..count).map(|number| route(&format!("f{number}"))).collect();
    RouteTable::new("localhost", routes)
}

fn lookups_ns(table: &RouteTable, count: u32) -> f64 {
    let hosts: Vec<String> = (0..10)
        .map(|step| format!("f{}.bench.fn.localhost", step * count / 10))
        .collect();
    let started = Instant::now();
    for at in 0..LOOKUPS as usize {
        assert!(black_box(table.find_function(Some(&hosts[at % hosts.len()]), "/path")).is_some());
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}

fn plans_us() -> f64 {
    let rule = ScaleRule {
        min: 1,
        max: 100,
        concurrency: 10,
        idle_ms: 60_000,
    };
    let mut memory = ScaleMemory::default();
    let started = Instant::now();
    for number in 0..PLANS {
        let facts = ScaleFacts {
            in_flight: number % 500,
            queued: number % 7,
            ready: number % 50,
            starting: number % 3,
            room: 10,
        };
        let (next, plan) = plan_scale(rule, memory, facts, u64::from(number) * 10);
        memory = next;
        black_box(plan);
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(PLANS)
}
