//! Watches of folders, as a stream and by asking.

use std::path::Path;

use serde_json::{Value, json};

use crate::rig::{Agent, wait_until};

struct Watcher<'a> {
    agent: &'a Agent,
    id: Value,
    events: Vec<(String, String)>,
}

impl<'a> Watcher<'a> {
    fn new(agent: &'a Agent, folder: &Path, recursive: bool) -> Self {
        let request = json!({"path": folder, "recursive": recursive});
        let id = agent.rpc("filesystem.Filesystem/CreateWatcher", &request).json()["watcherId"].clone();
        let events = Vec::new();
        Self { agent, id, events }
    }

    fn ask(&mut self) -> Value {
        let request = json!({"watcherId": self.id});
        let answer = self
            .agent
            .rpc("filesystem.Filesystem/GetWatcherEvents", &request)
            .json();
        for event in answer["events"].as_array().into_iter().flatten() {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            self.events.push((text("type"), text("name")));
        }
        answer
    }

    fn expect(&mut self, kind: &str, name: &str) {
        let wanted = (format!("EVENT_TYPE_{kind}"), name.to_owned());
        wait_until(&format!("{kind} of {name}"), || {
            self.ask();
            self.events.contains(&wanted)
        });
    }
}

#[test]
fn a_folder_that_vanishes_ends_its_watch() {
    let (agent, folder) = (Agent::start(), tempfile::tempdir().unwrap());
    for (what, away) in [("REMOVE", None), ("RENAME", Some(folder.path().join("elsewhere")))] {
        let watched = folder.path().join("watched");
        std::fs::create_dir(&watched).unwrap();
        let mut asked = Watcher::new(&agent, &watched, true);
        let end = std::thread::scope(|scope| {
            let streamed =
                scope.spawn(|| agent.stream("filesystem.Filesystem/WatchDir", "", &json!({"path": watched})));
            // The stream's own watch is one of two.
            wait_until("the stream's watch", || agent.inotify_instances() == 2);
            match &away {
                None => std::fs::remove_dir(&watched).unwrap(),
                Some(away) => std::fs::rename(&watched, away).unwrap(),
            }
            streamed.join().unwrap()
        });
        asked.expect(what, ".");
        assert_eq!(asked.ask(), json!({}));
        let last = &end[end.len() - 2]["filesystem"];
        assert_eq!(
            (&last["name"], &last["type"]),
            (&json!("."), &json!(format!("EVENT_TYPE_{what}")))
        );
        assert_eq!(end.last(), Some(&json!({})));
        agent.rpc("filesystem.Filesystem/RemoveWatcher", &json!({"watcherId": asked.id}));
        wait_until("the end of the watches", || agent.inotify_instances() == 0);
    }
}

#[test]
fn folders_are_followed_to_their_new_names_and_not_beyond() {
    let (agent, folder, other) = (
        Agent::start(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("a/b")).unwrap();
    let mut watcher = Watcher::new(&agent, folder.path(), true);
    std::fs::rename(at("a"), at("c")).unwrap();
    watcher.expect("CREATE", "c");
    std::fs::write(at("c/b/file"), "x").unwrap();
    watcher.expect("CREATE", "c/b/file");
    std::fs::rename(at("c"), other.path().join("c")).unwrap();
    watcher.expect("RENAME", "c");
    std::fs::write(other.path().join("c/b/unseen"), "x").unwrap();
    std::fs::write(at("last"), "x").unwrap();
    watcher.expect("CREATE", "last");
    let names: Vec<_> = watcher.events.iter().map(|(_, name)| name.as_str()).collect();
    assert!(
        !names.contains(&"a/b/file") && !names.contains(&"c/b/unseen"),
        "{names:?}"
    );
}

#[test]
fn events_that_were_lost_are_not_passed_over() {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let (agent, folder) = (Agent::start(), tempfile::tempdir().unwrap());
    let mut watcher = Watcher::new(&agent, folder.path(), false);
    // While it stands still nobody takes events.
    agent.stopped(|| {
        for number in 0..=limit {
            let path = folder.path().join((number % 100).to_string());
            std::fs::write(&path, "").unwrap();
            std::fs::remove_file(&path).unwrap();
        }
    });
    wait_until("to be told", || watcher.ask()["code"] == "data_loss");
}
