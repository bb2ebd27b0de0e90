//! Ports that a program in the guest listens on at the loopback alone, made reachable at the guest's own address.
//!
//! The wire contract has it so: a development server that binds `localhost` can be called from outside like one that binds every
//! address. Whoever starts the machine asks for it ([`hearth_guest_api::guest::InitRequest`]), since to others the loopback is
//! where nobody from outside comes. What listens is looked up now and then; a relay goes when its listener has gone.
//! Never forwarded are the agent's own ports, and those where something listens at the guest's address already.

mod listeners;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hearth_guest_api::AGENT_PORT;
use hearth_guest_api::runtime::RUNTIME_API_ADDRESS;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::server::places::Place;

/// Between two looks, which are two small files each.
const PERIOD: Duration = Duration::from_secs(1);
const MAX_RELAYS: usize = 64;
/// Through all relays; one more is closed at once.
const MAX_CONNECTIONS: usize = 512;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Held for a connection, each way.
const BUFFER_BYTES: usize = 16 * 1024;

/// The forwarding of this guest, if it was asked for.
#[derive(Default)]
pub(crate) struct Forwarding(RefCell<Option<JoinHandle<()>>>);

impl Forwarding {
    /// Begins, goes on or ends, as the host has it. Connections that are there stay.
    pub(crate) fn set(&self, own: Option<IpAddr>) {
        let mut running = self.0.borrow_mut();
        match (own, &*running) {
            (Some(own), None) => {
                let forwarder = Forwarder::new(own, PathBuf::from("/proc/net"), MAX_CONNECTIONS);
                *running = Some(tokio::task::spawn_local(forwarder.run(PERIOD)));
            }
            (None, Some(task)) => {
                task.abort();
                *running = None;
            }
            _ => {}
        }
    }
}

/// A port that is forwarded, until this is dropped.
struct Relay {
    target: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Forwarder {
    own: IpAddr,
    procfs: PathBuf,
    relays: BTreeMap<u16, Relay>,
    places: Rc<Semaphore>,
}

impl Forwarder {
    fn new(own: IpAddr, procfs: PathBuf, connections: usize) -> Self {
        Self {
            own,
            procfs,
            relays: BTreeMap::new(),
            places: Rc::new(Semaphore::new(connections)),
        }
    }

    async fn run(mut self, period: Duration) {
        loop {
            self.look();
            tokio::time::sleep(period).await;
        }
    }

    fn look(&mut self) {
        let listening = listeners::listening(&self.procfs);
        let mut wanted = listeners::wanted(&listening, self.own, |port| self.relays.contains_key(&port));
        wanted.retain(|port, _| !is_the_agents(*port));
        self.relays
            .retain(|port, relay| wanted.get(port) == Some(&relay.target));
        for (port, target) in wanted {
            if self.relays.len() >= MAX_RELAYS {
                return;
            }
            if self.relays.contains_key(&port) {
                continue;
            }
            // Where something that was not there a moment ago holds the port, that is what is reached.
            if let Ok(listener) = listen(SocketAddr::new(self.own, port)) {
                let serving = tokio::task::spawn_local(serve(listener, target, Rc::clone(&self.places)));
                self.relays.insert(port, Relay { target, serving });
            }
        }
    }
}

fn is_the_agents(port: u16) -> bool {
    let runtime_api = RUNTIME_API_ADDRESS.parse::<SocketAddr>();
    port == AGENT_PORT || runtime_api.is_ok_and(|address| address.port() == port)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn serve(listener: TcpListener, target: SocketAddr, places: Rc<Semaphore>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if let Some(place) = Place::take(&places) {
            tokio::task::spawn_local(relay(stream, target, place));
        }
    }
}

/// Ends when both sides have. Whichever breaks ends the other.
async fn relay(mut outer: TcpStream, target: SocketAddr, _place: Place) {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await;
    let Ok(Ok(mut inner)) = connected else { return };
    for stream in [&outer, &inner] {
        // It only costs time.
        let _ = stream.set_nodelay(true);
    }
    // Who is on either side learns of a failure by the other's end.
    let _ = tokio::io::copy_bidirectional_with_sizes(&mut outer, &mut inner, BUFFER_BYTES, BUFFER_BYTES).await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net;
    use std::time::Instant;

    use super::*;

    const OWN: &str = "127.0.0.77";

    /// What the kernel would write of a guest in which these listen.
    fn write_listeners(procfs: &std::path::Path, ports: &[u16]) {
        let lines = ports
            .iter()
            .map(|port| format!("0: 0100007F:{port:04X} 00000000:0000 0A"));
        let text: Vec<_> = std::iter::once("heading".to_owned()).chain(lines).collect();
        std::fs::write(procfs.join("tcp"), text.join("\n")).unwrap();
    }

    /// A program that answers with what it was sent, on a thread, until its test has ended.
    fn echo() -> u16 {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    // Fails where its test does not listen any more.
                    let _ = std::io::copy(&mut stream, &mut back).and_then(|_| back.shutdown(net::Shutdown::Write));
                });
            }
        });
        port
    }

    async fn ask(port: u16) -> std::io::Result<String> {
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = net::TcpStream::connect((OWN, port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"hello")?;
            stream.shutdown(net::Shutdown::Write)?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        asked.await.unwrap()
    }

    /// A connection that has got through, and stays.
    async fn hold(port: u16) -> net::TcpStream {
        let held = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                let mut stream = net::TcpStream::connect((OWN, port)).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                // Closed while those from before are still there.
                let echoed = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0]));
                if echoed.is_ok() {
                    return stream;
                }
                assert!(Instant::now() < deadline, "no connection gets through");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        held.await.unwrap()
    }

    async fn until(what: &str, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds().await {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn with_forwarder(connections: usize, test: impl AsyncFnOnce(&std::path::Path)) {
        let procfs = tempfile::tempdir().unwrap();
        let forwarder = Forwarder::new(OWN.parse().unwrap(), procfs.path().to_owned(), connections);
        let run = async {
            let running = tokio::task::spawn_local(forwarder.run(Duration::from_millis(5)));
            test(procfs.path()).await;
            running.abort();
        };
        tokio::task::LocalSet::new().run_until(run).await;
    }

    #[tokio::test]
    async fn a_port_is_reached_for_as_long_as_it_is_listened_on() {
        with_forwarder(8, async |procfs| {
            let port = echo();
            assert!(ask(port).await.is_err());
            write_listeners(procfs, &[port, AGENT_PORT]);
            until("forwarded", async || ask(port).await.is_ok_and(|text| text == "hello")).await;
            assert!(ask(AGENT_PORT).await.is_err());
            write_listeners(procfs, &[]);
            until("ended", async || ask(port).await.is_err()).await;
        })
        .await;
    }

    #[tokio::test]
    async fn what_listens_at_the_address_already_is_left_alone() {
        with_forwarder(8, async |procfs| {
            let own = net::TcpListener::bind((OWN, 0)).unwrap();
            let (taken, free) = (own.local_addr().unwrap().port(), echo());
            // Not in the list: it began to listen a moment ago.
            write_listeners(procfs, &[taken, free]);
            until("the other is forwarded", async || ask(free).await.is_ok()).await;
            let asking = tokio::task::spawn_local(ask(taken));
            let answering = tokio::task::spawn_blocking(move || {
                let (mut stream, _) = own.accept().unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
                stream.write_all(b"mine").unwrap();
            });
            answering.await.unwrap();
            assert_eq!(asking.await.unwrap().unwrap(), "mine");
        })
        .await;
    }

    #[tokio::test]
    async fn connections_and_ports_have_bounds() {
        with_forwarder(2, async |procfs| {
            let ports: Vec<u16> = (0..MAX_RELAYS + 3).map(|_| echo()).collect();
            write_listeners(procfs, &ports);
            let reached = || {
                let is_taken = |port: &&u16| net::TcpListener::bind((OWN, **port)).is_err();
                ports.iter().filter(is_taken).count()
            };
            until("as many as may be", async || reached() == MAX_RELAYS).await;
            let port = *ports.iter().min().unwrap();
            until("places", async || ask(port).await.is_ok_and(|text| text == "hello")).await;
            let held = [hold(port).await, hold(port).await];
            until("one too many is closed", async || {
                ask(port).await.is_ok_and(|text| text.is_empty()) || ask(port).await.is_err()
            })
            .await;
            drop(held);
            until("a place again", async || {
                ask(port).await.is_ok_and(|text| text == "hello")
            })
            .await;
        })
        .await;
    }
}
