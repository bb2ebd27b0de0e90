//! The gate of one guest: its doors, what is allowed at this moment, and the tasks that serve.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hearth_domain::EgressRules;
use tokio::{
    net::TcpStream,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    dns::{self, Upstream},
    web,
};

/// Connections that all guests of a node together have through their gates: each holds two files of the daemon.
pub const PROXIED_MAX: usize = 4096;
/// Connections that one guest has through its gate.
const CONNECTIONS_MAX: usize = 256;
/// Questions of one guest that are being asked.
const QUESTIONS_MAX: usize = 64;
/// How long a door rests that the system would not let somebody in by, such as for want of files.
pub(crate) const RETRY: Duration = Duration::from_millis(100);

/// The listening sockets, in the guest's network.
#[derive(Debug, Default)]
pub struct Doors {
    /// Where connections to a port of the world are led, by that port.
    pub web: Vec<(u16, TcpListener)>,
    /// Where questions by TCP are led.
    pub dns_tcp: Vec<TcpListener>,
    /// Where questions by UDP are led.
    pub dns_udp: Vec<UdpSocket>,
}

/// Opens connections to the world in a guest's name.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Connects, or refuses an address that no guest may reach. Bounded by the caller.
    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream>;
}

/// What lies beyond the gate.
#[derive(Clone)]
pub struct Outside {
    /// Name servers of the host.
    pub resolvers: Vec<SocketAddr>,
    /// The way out.
    pub dialer: Arc<dyn Dialer>,
    /// Room for connections that all gates share: [`PROXIED_MAX`] permits.
    pub room: Arc<Semaphore>,
}

/// A gate that is open. Dropped, it shuts, and its connections end.
#[derive(Debug)]
pub struct Gate {
    rules: watch::Sender<EgressRules>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What the tasks of a gate share.
pub(crate) struct Shared {
    rules: watch::Receiver<EgressRules>,
    upstream: Upstream,
    dialer: Arc<dyn Dialer>,
    room: [Arc<Semaphore>; 2],
    questions: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Who comes by a door.
#[derive(Debug, Clone, Copy)]
enum Visitor {
    /// On the way to this port.
    Web(u16),
    Dns,
}

impl Gate {
    /// Serves the doors on the runtime.
    pub fn open(runtime: &Handle, doors: Doors, rules: EgressRules, outside: Outside) -> io::Result<Self> {
        let _within = runtime.enter();
        let (sender, receiver) = watch::channel(rules);
        let gate = Self {
            rules: sender,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let shared = Arc::new(Shared {
            rules: receiver,
            upstream: Upstream::new(outside.resolvers),
            dialer: outside.dialer,
            room: [outside.room, Arc::new(Semaphore::new(CONNECTIONS_MAX))],
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            tasks: gate.tasks.clone(),
            stop: gate.stop.clone(),
        });
        let dns = doors.dns_tcp.into_iter().map(|listener| (Visitor::Dns, listener));
        let web = doors
            .web
            .into_iter()
            .map(|(port, listener)| (Visitor::Web(port), listener));
        for (visitor, listener) in web.chain(dns) {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            shared.spawn(receive(listener, visitor, Arc::clone(&shared)));
        }
        for socket in doors.dns_udp {
            socket.set_nonblocking(true)?;
            let socket = tokio::net::UdpSocket::from_std(socket)?;
            shared.spawn(dns::serve_udp(socket, Arc::clone(&shared)));
        }
        Ok(gate)
    }

    /// Goes by other rules from here on; connections that they allow neither by name nor by address are cut.
    pub fn set_rules(&self, rules: EgressRules) {
        self.rules.send_replace(rules);
    }

    /// Shuts the gate, and waits until nothing of it is left; false if that takes longer. Blocks.
    pub fn shut(self, within: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let deadline = Instant::now() + within;
        while !self.tasks.is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    pub(crate) fn rules(&self) -> watch::Receiver<EgressRules> {
        self.rules.clone()
    }

    pub(crate) fn permits_name(&self, name: &str) -> bool {
        self.rules.borrow().permits_name(name)
    }

    /// Whether a connection may be had that gave the name and leads to the address.
    pub(crate) fn permits(&self, name: &str, address: IpAddr) -> bool {
        permits(&self.rules.borrow(), name, address)
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn dialer(&self) -> &dyn Dialer {
        &*self.dialer
    }

    pub(crate) fn question_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.questions).try_acquire_owned().ok()
    }

    /// Room for one connection more.
    fn connection_permits(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let [all, own] = &self.room;
        let own = Arc::clone(own).try_acquire_owned().ok()?;
        Some([own, Arc::clone(all).try_acquire_owned().ok()?])
    }

    /// Runs a task until it is done or the gate is shut.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }
}

/// Whether the rules allow a connection by the name that it gave, or by the address that it led to. A name means something only
/// where all addresses are denied: elsewhere every name is allowed, and the address alone decides, as for packets.
pub(crate) fn permits(rules: &EgressRules, name: &str, address: IpAddr) -> bool {
    rules.permits(address) || (rules.denies_all() && rules.permits_name(name))
}

/// Lets visitors in by one door.
async fn receive(listener: tokio::net::TcpListener, visitor: Visitor, shared: Arc<Shared>) {
    loop {
        let guest = match listener.accept().await {
            Ok((guest, _)) => guest,
            Err(error) => {
                tracing::debug!(%error, "a guest's connection was not accepted");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let Some(permits) = shared.connection_permits() else {
            tracing::debug!("a guest has as many connections as it may");
            web::reset(&guest);
            continue;
        };
        let serving = Arc::clone(&shared);
        shared.spawn(async move {
            match visitor {
                Visitor::Web(port) => web::serve(guest, port, &serving).await,
                Visitor::Dns => {
                    if let Err(error) = dns::serve_tcp(guest, &serving).await {
                        tracing::debug!(%error, "a guest's connection to DNS ended");
                    }
                }
            }
            drop(permits);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_decides_only_where_all_addresses_are_denied() {
        let address = "198.51.100.7".parse().unwrap();
        for (allow, deny, permitted) in [
            (&["example.com"][..], &["0.0.0.0/0"][..], true),
            (&["198.51.100.0/24"], &["0.0.0.0/0"], true),
            (&["example.org"], &["0.0.0.0/0"], false),
            (&[], &["0.0.0.0/0"], false),
            (&[], &["198.51.100.0/24"], false),
            (&["198.51.100.7"], &["198.51.100.0/24"], true),
            (&[], &["192.0.2.0/24"], true),
            (&[], &[], true),
        ] {
            let rules = EgressRules::parse(allow, deny).unwrap();
            assert_eq!(permits(&rules, "example.com", address), permitted, "{allow:?} {deny:?}");
        }
    }
}
