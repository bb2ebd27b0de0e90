//! A crowd at a function without instances, and nodes without room.

use std::{collections::BTreeMap, sync::Barrier};

use hearth_e2e::{HostOptions, PATIENCE, http::send};

use crate::shop::{host, instances, invoke, nothing_left, python, serving};

const CALLERS: usize = 1000;
const PROGRAM: &str = "
def handler(event, context):
    return {'machine': open('/proc/sys/kernel/random/boot_id').read().strip()}
";

#[test]
fn a_thousand_callers_at_once_are_served_by_one_cold_start() {
    let host = host(&HostOptions::default());
    let url = python(&host, "crowd", PROGRAM, &["--public", "--max", "1"]);
    let all_at_once = Barrier::new(CALLERS);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let call = || {
                    all_at_once.wait();
                    send(&url, "GET", &[], b"", PATIENCE)
                };
                let thread = std::thread::Builder::new().stack_size(128 * 1024);
                thread.spawn_scoped(scope, call).unwrap()
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers {
        let outcome = match answer {
            Ok(answer) if answer.status == 200 => answer.body,
            Ok(answer) if answer.status == 503 && !answer.header("retry-after").is_empty() => "refused".to_owned(),
            other => panic!("neither answered nor refused: {other:?}"),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    let refused = outcomes.remove("refused").unwrap_or_default();
    assert_eq!(outcomes.len(), 1, "more than one cold start: {outcomes:?}");
    assert!(refused < CALLERS / 2, "{refused} of {CALLERS} were refused");
    let instances = instances(&host, "crowd");
    assert_eq!(instances.len(), 1, "{instances:?}");
    nothing_left(&host, &["crowd"]);
}

#[test]
fn a_node_without_room_says_so_and_serves_again_once_there_is_some() {
    let total = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total_kib: u64 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    let host = host(&HostOptions::default().arg("--memory-overcommit").arg("0.1"));
    // Room for one instance, which touches little of it.
    let memory = format!("{}m", total_kib / 1024 / 10 * 6 / 10);
    let flags = ["--public", "--memory", &memory];
    python(&host, "one", PROGRAM, &flags);
    let url = python(&host, "two", PROGRAM, &flags);
    invoke(&host, "one", "{}").ok();
    let refused = send(&url, "GET", &[], b"", PATIENCE).unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{refused:?}");
    let machine = serving(&host, "one");
    invoke(&host, "one", "{}").ok();
    assert_eq!(serving(&host, "one"), machine, "who had room keeps it");
    host.hearth(&["fn", "rm", "one"]).ok();
    // Its room is free once its machine is gone.
    hearth_e2e::wait_for("room", || (invoke(&host, "two", "{}").code == 0).then_some(()));
    nothing_left(&host, &["two"]);
}
