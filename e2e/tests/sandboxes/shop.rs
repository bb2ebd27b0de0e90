//! What these tests have in common.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use hearth_e2e::{BUSYBOX, Host, PATIENCE, wait_for};
use serde_json::Value;

/// The template that is there.
pub(crate) const TEMPLATE: &str = "small";

/// What a template of the smallest machines is built by.
pub(crate) fn build_of(template: &str) -> [&str; 11] {
    [
        "template", "build", template, "--image", BUSYBOX, "--cpus", "1", "--memory", "96m", "--disk", "64m",
    ]
}

/// Builds a template of the smallest machines.
pub(crate) fn build(host: &Host, template: &str) {
    host.hearth(&build_of(template)).ok();
}

/// Makes a sandbox of the template.
pub(crate) fn create(host: &Host) -> String {
    let made = host.hearth(&["sandbox", "create", "--timeout", "10m", TEMPLATE]);
    made.ok().to_owned()
}

/// What a script in a sandbox says.
pub(crate) fn exec(host: &Host, sandbox: &str, script: &str) -> String {
    let said = host.hearth(&["sandbox", "exec", sandbox, "sh", "-c", script]);
    said.ok().to_owned()
}

/// Status and body of an answer of the API; nothing if the daemon died before it had answered. What the command line does not
/// offer is asked for so.
pub(crate) fn ask(host: &Host, method: &str, path: &str, headers: &str, body: &Value) -> Option<(u16, Value)> {
    let mut stream = UnixStream::connect(host.socket()).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: hearth\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

/// The sandboxes that there are.
pub(crate) fn sandboxes(host: &Host) -> BTreeSet<String> {
    words(host, &["sandbox", "ls", "-q"])
}

/// Sees that each machine is a sandbox's and each sandbox has its machine, in the rows and on the node.
pub(crate) fn agree(host: &Host, point: &str) {
    let machines = || host.hearth(&["ps", "-a", "--json"]).json();
    let named = |machines: &Value| {
        let names = machines.as_array().unwrap().iter();
        let names = names.map(|machine| machine["name"].as_str().unwrap().to_owned());
        names.collect::<BTreeSet<_>>()
    };
    // What was being removed is removed by the next daemon, in its time.
    let (mut of_machines, mut of_sandboxes) = (BTreeSet::new(), BTreeSet::new());
    wait_for(&format!("machines and sandboxes to agree after {point}"), || {
        (of_machines, of_sandboxes) = (named(&machines()), sandboxes(host));
        let folders = entries(&host.state_dir().join("machines"));
        (of_machines == of_sandboxes && folders == of_sandboxes.len()).then_some(())
    });
}

/// Removes all sandboxes and templates, and sees that nothing is left of them.
pub(crate) fn clear(host: &Host, point: &str) {
    for sandbox in sandboxes(host) {
        host.hearth(&["sandbox", "kill", &sandbox]).ok();
    }
    let templates = host.hearth(&["template", "ls", "--json"]).json();
    for template in templates.as_array().unwrap() {
        host.hearth(&["template", "rm", template["id"].as_str().unwrap()]).ok();
    }
    host.hearth(&["template", "prune"]).ok();
    let snapshots = host.hearth(&["snapshot", "ls", "--json"]).json();
    assert_eq!(snapshots, serde_json::json!([]), "{point}");
    assert_eq!(entries(&host.state_dir().join("snapshots")), 0, "{point}");
}

fn words(host: &Host, args: &[&str]) -> BTreeSet<String> {
    let listed = host.hearth(args);
    listed.ok().split_whitespace().map(ToOwned::to_owned).collect()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}
