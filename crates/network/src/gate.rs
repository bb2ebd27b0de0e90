//! The gate of a slot: sockets in its namespace behind which names are read, and the way out again.
//!
//! Connections go out from within the namespace as well, so that the rules of slot and host hold for them as for the
//! guest's own: neither this node nor another machine is reached by a name that leads there.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hearth_domain::EgressRules;
use hearth_egress::{Dialer, Doors, Gate, Outside};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::{net::TcpSocket, runtime::Handle, sync::Semaphore};

use crate::{
    address::{GATEWAY_IPV4, GATEWAY_IPV6},
    netns,
    policy::{DoorPorts, HTTP, HTTPS, is_world},
    pool::on_thread,
};

/// How long a gate's tasks have to end.
const SHUT_TIMEOUT: Duration = Duration::from_secs(2);
const DNS: u16 = 53;

/// What the gates of all slots share.
#[derive(Debug, Clone)]
pub(crate) struct Gates {
    runtime: Handle,
    room: Arc<Semaphore>,
}

/// An open gate, and where its doors are.
#[derive(Debug)]
pub(crate) struct SlotGate {
    gate: Gate,
    ports: Vec<DoorPorts>,
}

impl Gates {
    /// Gates that are served on the runtime.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            room: Arc::new(Semaphore::new(hearth_egress::PROXIED_MAX)),
        }
    }

    /// Opens a gate in the namespace. Nothing comes to it until rules lead there.
    pub(crate) fn open(
        &self,
        netns: PathBuf,
        ipv6: bool,
        resolvers: &[IpAddr],
        rules: EgressRules,
    ) -> io::Result<SlotGate> {
        let (doors, ports) = netns::in_netns(&netns, || open_doors(ipv6))?;
        let outside = Outside {
            resolvers: resolvers
                .iter()
                .map(|resolver| SocketAddr::new(*resolver, DNS))
                .collect(),
            dialer: Arc::new(FromNamespace(netns)),
            room: Arc::clone(&self.room),
        };
        let gate = Gate::open(&self.runtime, doors, rules, outside)?;
        Ok(SlotGate { gate, ports })
    }
}

impl SlotGate {
    /// Where its doors are.
    pub(crate) fn ports(&self) -> &[DoorPorts] {
        &self.ports
    }

    /// Goes by other rules from here on.
    pub(crate) fn set_rules(&self, rules: &EgressRules) {
        self.gate.set_rules(rules.clone());
    }

    /// Ends it and all its connections; false if something of it is left.
    pub(crate) fn shut(self) -> bool {
        self.gate.shut(SHUT_TIMEOUT)
    }
}

/// Opens the doors in the calling thread's namespace, at ports that nobody has.
fn open_doors(ipv6: bool) -> io::Result<(Doors, Vec<DoorPorts>)> {
    let (mut doors, mut ports) = (Doors::default(), Vec::new());
    let gateways = [Some(IpAddr::from(GATEWAY_IPV4)), ipv6.then_some(GATEWAY_IPV6.into())];
    for gateway in gateways.into_iter().flatten() {
        let listen = || {
            let listener = TcpListener::bind((gateway, 0))?;
            let port = listener.local_addr()?.port();
            io::Result::Ok((listener, port))
        };
        let ((for_http, http), (for_https, https), (for_dns, dns_tcp)) = (listen()?, listen()?, listen()?);
        let socket = UdpSocket::bind((gateway, 0))?;
        ports.push(DoorPorts {
            is_v4: gateway.is_ipv4(),
            http,
            https,
            dns_tcp,
            dns_udp: socket.local_addr()?.port(),
        });
        doors.web.extend([(HTTP, for_http), (HTTPS, for_https)]);
        doors.dns_tcp.push(for_dns);
        doors.dns_udp.push(socket);
    }
    Ok((doors, ports))
}

/// Connects from within a namespace.
struct FromNamespace(PathBuf);

#[async_trait]
impl Dialer for FromNamespace {
    async fn dial(&self, to: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        // The namespace's rules refuse it too.
        if !is_world(to.ip()) {
            let message = format!("{} is not of the world", to.ip());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let netns = self.0.clone();
        // A socket is of the namespace that it was made in, wherever it is used afterwards.
        let made = on_thread(move || netns::enter(&netns).and_then(|()| socket_for(to)));
        let socket = made.await.map_err(io::Error::other)??;
        TcpSocket::from_std_stream(socket).connect(to).await
    }
}

fn socket_for(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?.into())
}
