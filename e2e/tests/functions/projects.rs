//! Kept calls of two projects at once: what is one's is not there for the other.

use std::{fs, net::TcpListener, path::Path};

use hearth_e2e::{
    Host, HostOptions, Ran,
    http::{Url, send},
    wait_for,
};
use serde_json::Value;

use crate::shop::{PROMPT, host};

const CALLS: usize = 3;
/// Both projects have one of this name and this program.
const NAME: &str = "same";
const PROGRAM: &str = "
import os
def handler(event, context):
    if event.get('fail'):
        raise ValueError('of ' + os.environ['OWNER'])
    return {'owner': os.environ['OWNER'], 'mark': event['mark']}
";

/// A project on a host, and a developer of it who comes from afar.
struct Team<'a> {
    host: &'a Host,
    name: &'static str,
    address: &'a str,
    key: String,
    url: Url,
}

impl<'a> Team<'a> {
    fn new(host: &'a Host, address: &'a str, name: &'static str, source: &Path) -> Self {
        host.hearth(&["project", "create", name]).ok();
        let key = host.hearth(&["--project", name, "key", "create", "--role", "developer"]);
        let mut team = Self {
            host,
            name,
            address,
            key: key.ok().to_owned(),
            url: Url::of("http://nowhere/"),
        };
        let (source, owner) = (source.to_str().unwrap(), format!("OWNER={name}"));
        let program = ["--source", source, "--runtime", "python3", "--handler", "main.handler"];
        let deployed = team.hearth(&[&["--json", "fn", "deploy", NAME, "--env", &owner], &program[..]].concat());
        team.url = Url::of(deployed.json()["function"]["urls"][0].as_str().unwrap());
        team
    }

    /// Runs a command with the project's key, and nothing else.
    fn hearth(&self, args: &[&str]) -> Ran {
        let host = format!("http://{}", self.address);
        let mut command = self.host.command(&[&["--host", &host], args].concat());
        let command = command.env_remove("HEARTH_SOCKET").env("HEARTH_KEY", &self.key);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Has a call kept. Its ID.
    fn later(&self, event: &str, key: &str) -> String {
        let kept = self.hearth(&["fn", "invoke", NAME, "--async", "-d", event, "--idempotency-key", key]);
        kept.ok().to_owned()
    }

    fn calls(&self) -> Vec<Value> {
        let listed = self.hearth(&["--json", "fn", "invocations"]).json();
        listed.as_array().unwrap().clone()
    }

    /// A call of its list, once it has ended.
    fn ended(&self, id: &str) -> Value {
        wait_for("a kept call to end", || {
            let call = self.calls().into_iter().find(|call| call["id"] == id)?;
            matches!(call["state"].as_str()?, "succeeded" | "dead").then_some(call)
        })
    }

    /// Asks the API itself for something of a call.
    fn status_of(&self, method: &str, id: &str, more: &str) -> u16 {
        let url = Url::of(&format!("http://{}/v1/invocations/{id}{more}", self.address));
        self.send(&url, method, &[])
    }

    fn send(&self, url: &Url, method: &str, more: &[(&str, &str)]) -> u16 {
        let key = format!("Bearer {}", self.key);
        let headers = [&[("Authorization", key.as_str())], more].concat();
        send(url, method, &headers, b"", PROMPT).unwrap().status
    }
}

/// What another's key gets of a call: nothing, not even that it is there.
fn is_not_there_for(team: &Team, other: &Team, id: &str) {
    for (command, more) in [("result", "/result"), ("replay", "/replay")] {
        team.hearth(&["fn", command, id]).failed(1, &["there is no call", id]);
        let method = if command == "replay" { "POST" } else { "GET" };
        assert_eq!(team.status_of(method, id, more), 404, "{command}");
    }
    assert_eq!(team.status_of("GET", id, ""), 404);
    assert!(team.calls().iter().all(|call| call["id"] != id));
    // Naming the other's project opens nothing.
    let named = team.hearth(&["--project", other.name, "fn", "invocations"]);
    assert_ne!(named.code, 0, "{named:?}");
    assert!(!named.stdout.contains(id), "{named:?}");
}

#[test]
fn kept_calls_of_two_projects_are_each_its_own() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let host = host(&HostOptions::default().arg("--listen").arg(&address));
    let source = host.folder().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("main.py"), PROGRAM).unwrap();
    let teams = ["red", "blue"].map(|name| Team::new(&host, &address, name, &source));
    let [red, blue] = &teams;

    // All at once, on functions that are at zero; the same keys are other keys in another project.
    let calls: Vec<Vec<String>> = std::thread::scope(|scope| {
        let kept = teams.each_ref().map(|team| {
            scope.spawn(|| {
                let events = (0..CALLS).map(|mark| format!(r#"{{"mark":{mark}}}"#));
                events
                    .enumerate()
                    .map(|(mark, event)| team.later(&event, &format!("k{mark}")))
                    .collect()
            })
        });
        kept.into_iter().map(|kept| kept.join().unwrap()).collect()
    });
    let dead = red.later(r#"{"fail":true}"#, "dead");
    for ((team, ids), (other, theirs)) in [(red, &calls[0]), (blue, &calls[1])]
        .into_iter()
        .zip([(blue, &calls[1]), (red, &calls[0])])
    {
        for (mark, id) in ids.iter().enumerate() {
            assert_eq!(team.ended(id)["state"], "succeeded");
            let result = team.hearth(&["fn", "result", id]).json();
            assert_eq!(result, serde_json::json!({"owner": team.name, "mark": mark}));
            assert_eq!(team.later(&format!(r#"{{"mark":{mark}}}"#), &format!("k{mark}")), *id);
            assert!(!theirs.contains(id));
            is_not_there_for(other, team, id);
        }
    }
    assert_eq!((red.calls().len(), blue.calls().len()), (CALLS + 1, CALLS));

    // A dead one is there for its own project alone, and nobody else's attempt has touched it.
    let ended = red.ended(&dead);
    assert_eq!((&ended["state"], &ended["attempts"]), (&"dead".into(), &3.into()));
    is_not_there_for(blue, red, &dead);
    assert_eq!(red.ended(&dead), ended);
    red.hearth(&["fn", "replay", &dead]).ok();

    // Nor are calls kept for who may not make them.
    let foreign = [("Prefer", "respond-async")];
    assert_eq!(blue.send(&red.url, "POST", &foreign), 403);
    assert_eq!(red.calls().len(), CALLS + 1);

    for team in &teams {
        team.hearth(&["fn", "rm", NAME]).ok();
    }
    wait_for("functions to leave nothing", || {
        host.leftovers().is_empty().then_some(())
    });
}
