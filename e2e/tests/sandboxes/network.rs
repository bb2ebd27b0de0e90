//! What a sandbox reaches, on real machines: a little internet beside the host, and rules that are enforced outside the guest.

use std::{net::TcpListener, path::Path, process::Command, thread};

use hearth_e2e::{Host, HostOptions};
use hearth_network::in_netns;

use crate::shop::{TEMPLATE, agree, build, clear, create, exec};

/// Addresses for documentation (RFC 5737), which are nobody's, and not near for Hearth.
const GATEWAY: &str = "198.51.100.1/24";
const ONE: &str = "198.51.100.7";
const OTHER: &str = "198.51.100.8";
const PORT: u16 = 7000;

/// A network namespace with two addresses that answer, behind this host. It goes with this.
struct Internet {
    name: String,
}

impl Internet {
    fn begin() -> Self {
        let name = format!("hearth-e2e-{}", std::process::id());
        let link = format!("he{}", std::process::id());
        let internet = Self { name };
        let name = internet.name.as_str();
        ip(&["netns", "add", name]);
        ip(&[
            "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", name,
        ]);
        ip(&["address", "add", GATEWAY, "dev", &link]);
        ip(&["link", "set", &link, "up"]);
        for address in [ONE, OTHER] {
            ip(&["-n", name, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        }
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        let listen = || TcpListener::bind(("0.0.0.0", PORT));
        let listener = in_netns(&Path::new("/run/netns").join(name), listen).unwrap();
        // Until the tests' process ends: whoever connects has seen enough.
        thread::spawn(move || listener.incoming().for_each(drop));
        internet
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().unwrap();
    assert!(done.success(), "ip {}", args.join(" "));
}

/// Which of the two a sandbox reaches.
fn reached(host: &Host, sandbox: &str) -> Vec<&'static str> {
    let is_open = |address: &&str| {
        let script = format!("nc -w 3 {address} {PORT} < /dev/null && echo open || echo shut");
        exec(host, sandbox, &script) == "open"
    };
    [ONE, OTHER].into_iter().filter(is_open).collect()
}

#[test]
fn a_sandbox_reaches_what_its_rules_say() {
    let _internet = Internet::begin();
    let mut host = Host::start();
    build(&host, TEMPLATE);
    let id = create(&host);
    assert_eq!(reached(&host, &id), [ONE, OTHER]);
    let rules = |host: &Host, rules: &[&str]| {
        host.hearth(&[&["sandbox", "network", &id], rules].concat()).ok();
    };
    // Changed while it runs, and for a copy as for itself.
    rules(&host, &["--deny", ONE]);
    assert_eq!(reached(&host, &id), [OTHER]);
    let copy = host.hearth(&["sandbox", "fork", &id]).ok().to_owned();
    assert_eq!(reached(&host, &copy), [OTHER]);
    rules(&host, &["--no-internet", "--allow", ONE]);
    assert_eq!(reached(&host, &id), [ONE]);
    // A pause gives its way out back, and a resume takes another.
    host.hearth(&["sandbox", "pause", &id]).ok();
    host.hearth(&["sandbox", "resume", &id]).ok();
    assert_eq!(reached(&host, &id), [ONE]);
    // Rules outlive a daemon's death, and nothing is open meanwhile that was not.
    host.kill_daemon();
    host.up(&HostOptions::default());
    assert_eq!(reached(&host, &id), [ONE]);
    rules(&host, &[]);
    assert_eq!(reached(&host, &id), [ONE, OTHER]);

    let alone = host
        .hearth(&["sandbox", "create", "--no-internet", TEMPLATE])
        .ok()
        .to_owned();
    assert_eq!(reached(&host, &alone), Vec::<&str>::new());
    agree(&host, "rules");
    clear(&host, "rules");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
