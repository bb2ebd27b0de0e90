//! Ports, and the walls around a machine.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use hearth_e2e::{BUSYBOX, Host, wait_for};

use crate::{detached, exec, on_each_driver, sh, sleeper};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a web server answers.
fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_published_port_leads_into_the_machine() {
    on_each_driver(|host| {
        let port = free_port();
        let publish = format!("127.0.0.1:{port}:80");
        let serve = "mkdir /www; echo hello-from-the-guest > /www/index.html; exec busybox httpd -f -p 80 -h /www";
        detached(host, "web", &["-p", &publish], serve);
        wait_for("the guest's web server", || {
            get(port).filter(|answer| answer.contains("hello-from-the-guest"))
        });
        let refused = sh(host, &["-p", &publish], "true");
        refused.failed(125, &[&port.to_string()]);
        host.hearth(&["rm", "-f", "web"]).ok();
        assert_eq!(get(port), None);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = taken.local_addr().unwrap().port();
        sh(host, &["-p", &format!("127.0.0.1:{number}:80")], "true").failed(125, &[&number.to_string(), "in use"]);
    });
}

/// An address of this host, as others see it.
fn own_address() -> Option<std::net::IpAddr> {
    // Nothing is sent: a datagram socket only asks for the route.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.200:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

/// Whether a machine can open a connection to an address.
fn is_open(host: &Host, machine: &str, address: &str, port: u16) -> bool {
    let script = format!("nc -w 2 {address} {port} < /dev/null && echo open || echo shut");
    exec(host, machine, &script) == "open"
}

#[test]
fn a_machine_reaches_its_link_and_nothing_near() {
    on_each_driver(|host| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        sleeper(host, "m", &[]);
        // Its link stays without a network, too, for the node to speak to the agent; nothing goes out over it.
        sleeper(host, "alone", &["--network", "none"]);
        assert_eq!(exec(host, "alone", "cat /etc/resolv.conf"), "");
        let gateway = exec(host, "m", "ip route | busybox awk '/default/ {print $3}'");
        assert!(!gateway.is_empty());
        assert!(exec(host, "m", "ip -6 addr show scope global").contains("inet6 fd"));
        let six = "gateway=$(ip -6 route | busybox awk '/default/ {print $3}')
            for i in 1 2 3; do ping -c 1 -W 2 $gateway > /dev/null && echo up && break; done";
        assert_eq!(exec(host, "m", six), "up");
        // Without this the rest proves nothing: its own agent.
        for machine in ["m", "alone"] {
            assert!(is_open(host, machine, "169.254.0.2", 49983), "{machine}");
        }
        let mut near = vec![gateway, "169.254.169.254".to_owned()];
        near.extend(own_address().map(|ip| ip.to_string()));
        for address in &near {
            assert!(!is_open(host, "m", address, port), "{address}");
            assert!(!is_open(host, "alone", address, port), "{address}");
        }
        host.hearth(&["run", "--rm", "--network", "none", "-p", "1:1", BUSYBOX, "true"])
            .failed(125, &["network"]);
    });
}
