//! Very many sandboxes at once.

use std::{collections::BTreeSet, sync::Mutex};

use hearth_e2e::{Host, HostOptions};

use crate::shop::{TEMPLATE, agree, build, clear, create, exec, sandboxes};

const ALL: usize = 100;
/// Who asks at once.
const CLIENTS: usize = 10;

/// Does something for each of these, by several clients at once.
fn by_all<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else {
                        return;
                    };
                    work(item);
                }
            });
        }
    });
}

#[test]
fn a_hundred_run_at_once() {
    // Of a guest's memory only that is taken which it writes to.
    let options = HostOptions::default();
    let host = Host::with(
        &options
            .arg("--memory-overcommit")
            .arg("4")
            .arg("--cpu-overcommit")
            .arg("100"),
    );
    build(&host, TEMPLATE);
    let made = Mutex::new(BTreeSet::new());
    by_all(&[(); ALL], |()| {
        let id = create(&host);
        made.lock().unwrap().insert(id);
    });
    let made: Vec<String> = made.into_inner().unwrap().into_iter().collect();
    assert_eq!(made.len(), ALL);
    assert_eq!(sandboxes(&host), made.iter().cloned().collect());
    agree(&host, "creation");

    // Each is a machine of its own, with what it was given and what it makes up by itself.
    let own = Mutex::new(BTreeSet::new());
    by_all(&made, |id| {
        let said = exec(
            &host,
            id,
            &format!("echo {id} > /mine; cat /proc/sys/kernel/random/uuid"),
        );
        own.lock().unwrap().insert(said);
    });
    assert_eq!(own.into_inner().unwrap().len(), ALL);
    by_all(&made, |id| assert_eq!(exec(&host, id, "cat /mine"), *id));

    by_all(&made, |id| {
        host.hearth(&["sandbox", "kill", id]).ok();
    });
    assert_eq!(sandboxes(&host), BTreeSet::new());
    agree(&host, "removal");
    clear(&host, "removal");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
