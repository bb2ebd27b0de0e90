//! A host with runtimes, and what tests do with its functions.

use std::{fs, time::Duration};

use hearth_e2e::{
    Host, HostOptions, PATIENCE, Ran,
    http::{Answer, Url, send},
    runtime_archive, wait_for,
};
use serde_json::Value;

/// The image of the Python runtime.
pub(crate) const PYTHON3: &str = "hearth/runtime-python3";

/// A host that can run Python functions.
pub(crate) fn host(options: &HostOptions) -> Host {
    let host = Host::with(options);
    import(&host, "python3");
    host
}

/// Imports a runtime's image.
pub(crate) fn import(host: &Host, runtime: &str) {
    let archive = runtime_archive(runtime);
    let name = format!("hearth/runtime-{runtime}");
    host.hearth(&["image", "import", archive.to_str().unwrap(), "--name", &name])
        .ok();
}

/// Deploys `program` as the file `file` of a source. What the daemon answered.
pub(crate) fn try_deploy(host: &Host, name: &str, file: &str, program: &str, flags: &[&str]) -> Ran {
    let folder = host.folder().join(format!("source-{name}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(file), program).unwrap();
    let source = folder.to_str().unwrap();
    let args = [&["--json", "fn", "deploy", name, "--source", source], flags].concat();
    host.hearth(&args)
}

/// Deploys a Python function whose handler is `main.handler`. Where it is called.
pub(crate) fn python(host: &Host, name: &str, program: &str, flags: &[&str]) -> Url {
    let flags = [&["--runtime", "python3", "--handler", "main.handler"], flags].concat();
    url(&try_deploy(host, name, "main.py", program, &flags))
}

/// Deploys a Python program that listens on `$PORT`. Where it is called.
pub(crate) fn server(host: &Host, name: &str, program: &str, flags: &[&str]) -> Url {
    let image = ["--image", PYTHON3, "--entrypoint", "python3"];
    let args = [
        &["--json", "fn", "deploy", name],
        &image[..],
        flags,
        &["--", "-uc", program],
    ]
    .concat();
    url(&host.hearth(&args))
}

fn url(deployed: &Ran) -> Url {
    Url::of(deployed.json()["function"]["urls"][0].as_str().unwrap())
}

/// Calls a function by the command line.
pub(crate) fn invoke(host: &Host, name: &str, event: &str) -> Ran {
    host.hearth(&["fn", "invoke", name, "-d", event])
}

/// The answer of a call that succeeds.
pub(crate) fn answer(host: &Host, name: &str, event: &str) -> Value {
    invoke(host, name, event).json()
}

/// Gets a path of a function.
pub(crate) fn get(url: &Url) -> Answer {
    send(url, "GET", &[], b"", PATIENCE).unwrap()
}

/// A function's instances, those on their way in or out too.
pub(crate) fn instances(host: &Host, name: &str) -> Vec<Value> {
    let shown = host.hearth(&["--json", "fn", "instances", name]).json();
    shown.as_array().unwrap().clone()
}

/// The machine of the one instance that serves.
pub(crate) fn serving(host: &Host, name: &str) -> String {
    wait_for("an instance that serves", || {
        let all = instances(host, name);
        let mut serving = all.iter().filter(|instance| instance["serving"] == true);
        Some(serving.next()?["machine"].as_str()?.to_owned())
    })
}

/// Waits until a function has no instance.
pub(crate) fn wait_for_zero(host: &Host, name: &str) {
    wait_for("the function to have no instance", || {
        instances(host, name).is_empty().then_some(())
    });
}

/// Removes functions, and waits until nothing is left of their machines.
pub(crate) fn nothing_left(host: &Host, names: &[&str]) {
    host.hearth(&[&["fn", "rm"], names].concat()).ok();
    wait_for("functions to leave nothing", || {
        host.leftovers().is_empty().then_some(())
    });
}

/// A kept call's state, once it is one of these.
pub(crate) fn wait_for_call(host: &Host, id: &str, states: &[&str]) -> Value {
    wait_for("a kept call to end", || {
        let list = host.hearth(&["--json", "fn", "invocations"]).json();
        let found = list.as_array()?.iter().find(|call| call["id"] == id)?;
        states.contains(&found["state"].as_str()?).then(|| found.clone())
    })
}

/// Longer than a call may take that is answered at once.
pub(crate) const PROMPT: Duration = Duration::from_secs(20);
