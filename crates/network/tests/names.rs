//! What a machine reaches whose rules go by names, with real packets, TLS and DNS.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use common::{Guest, HOST_V4, Host, RESOLVER, SERVICE, WORLD_V4, WORLD_V6, eventually, netns, on_host};
use hearth_domain::{EgressRules, NetworkMode::Default};
use hearth_ids::MachineId;
use hearth_network::{Network, PoolConfig, Slot, SlotPool, in_netns};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

const OTHER_V4: &str = "198.51.100.66";
/// The name server that is the host's: private, as they are.
const NAMES: &str = "192.168.7.7";
/// An address of the world that nobody has.
const NOBODY: &str = "198.51.100.99";
const DEADLINE: Duration = Duration::from_secs(5);
/// What the name server knows.
const ZONE: [(&str, &str); 7] = [
    ("allowed.test.", WORLD_V4),
    ("allowed.test.", WORLD_V6),
    ("six.test.", WORLD_V6),
    ("other.test.", OTHER_V4),
    ("a.wild.test.", OTHER_V4),
    ("near.test.", RESOLVER),
    ("node.test.", HOST_V4),
];

/// The world's servers, and what its name server was asked.
struct World {
    asked: Arc<Mutex<Vec<String>>>,
    tls: Arc<ClientConfig>,
}

impl World {
    fn start() -> Self {
        let (world, asked) = (netns("world"), Arc::new(Mutex::new(Vec::new())));
        let (server, tls) = certificates();
        let listen = |port: u16| in_netns(&world, || TcpListener::bind(("::", port))).unwrap();
        serve(listen(80), |stream| _ = answer_http(&stream));
        serve(listen(443), move |stream| {
            let connection = ServerConnection::new(Arc::clone(&server)).unwrap();
            let local = stream.local_addr().unwrap();
            let _ = writeln!(StreamOwned::new(connection, stream), "{}", local.ip().to_canonical());
        });
        let socket = in_netns(&world, || UdpSocket::bind((NAMES, 53))).unwrap();
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&answer_dns(&buffer[..length], &seen), peer);
            }
        });
        Self { asked, tls }
    }

    fn was_asked(&self, name: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked.contains(name))
    }
}

fn serve(listener: TcpListener, answer: impl Fn(TcpStream) + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream));
        }
    });
}

/// Says by which address it was reached, and then sends back what it is sent.
fn answer_http(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    writeln!(&*stream, "{}", stream.local_addr()?.ip().to_canonical())?;
    io::copy(&mut reader, &mut &*stream).map(drop)
}

fn answer_dns(bytes: &[u8], seen: &Mutex<Vec<String>>) -> Vec<u8> {
    let asked = Message::from_vec(bytes).unwrap();
    let query = asked.queries[0].clone();
    let name = query.name.to_ascii().to_ascii_lowercase();
    seen.lock().unwrap().push(name.clone());
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.add_query(query.clone());
    for (_, address) in ZONE.iter().filter(|(known, _)| *known == name) {
        let data = match (address.parse().unwrap(), query.query_type) {
            (IpAddr::V4(address), RecordType::A) => RData::A(A(address)),
            (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(address)),
            _ => continue,
        };
        answer.add_answer(Record::from_rdata(query.name.clone(), 1, data));
    }
    answer.to_vec().unwrap()
}

fn certificates() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let names = ZONE.iter().map(|(name, _)| name.trim_end_matches('.').to_owned());
    let made = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// A guest of a host with names, and the world's servers.
fn with_guest(test: impl FnOnce(&Host, &SlotPool, &World, MachineId, &Slot, &Guest) + Send + 'static) {
    on_host(move |host| {
        common::sh(&format!("ip -n world addr add {OTHER_V4} dev lo"));
        let world = World::start();
        let pool = host.open(config(host), &[]);
        let (machine, slot) = host.acquire(&pool, Default, &[]);
        let guest = Guest::boot(&slot);
        for address in [WORLD_V4, WORLD_V6, OTHER_V4] {
            eventually(&format!("the guest reaches {address}"), || {
                guest.ask(address, SERVICE).is_some()
            });
        }
        test(host, &pool, &world, machine, &slot, &guest);
        host.close(&pool);
    });
}

fn config(host: &Host) -> PoolConfig {
    PoolConfig {
        resolvers: vec![NAMES.parse().unwrap()],
        capacity: 1,
        ..host.config()
    }
}

fn set(host: &Host, pool: &SlotPool, machine: MachineId, allow: &[&str]) {
    let rules = EgressRules::parse(allow, &["0.0.0.0/0"]).unwrap();
    host.runtime.block_on(pool.set_egress(machine, rules)).unwrap();
}

fn connect(netns: &Path, address: &str, port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let stream = in_netns(netns, || TcpStream::connect_timeout(&address, DEADLINE))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// The address of the server that answers for the host at the address, and the connection.
fn open_http(guest: &Guest, address: &str, host: &str) -> io::Result<(String, TcpStream)> {
    let mut stream = connect(&guest.netns, address, 80)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok((String::from_utf8_lossy(&answer).trim().to_owned(), stream))
}

fn http(guest: &Guest, address: &str, host: &str) -> Option<String> {
    open_http(guest, address, host).ok().map(|(server, _)| server)
}

fn tls(world: &World, guest: &Guest, address: &str, name: &str) -> Option<String> {
    let name = name.to_owned().try_into().unwrap();
    let stream = connect(&guest.netns, address, 443).ok()?;
    let connection = ClientConnection::new(Arc::clone(&world.tls), name).unwrap();
    let mut line = String::new();
    BufReader::new(StreamOwned::new(connection, stream))
        .read_line(&mut line)
        .ok()?;
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// What the guest is answered by a name server at the address: code, and addresses.
fn look_up(guest: &Guest, server: &str, name: &str, kind: RecordType) -> Option<(ResponseCode, usize)> {
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    let bind = || UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" });
    let socket = in_netns(&guest.netns, bind).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    // Connected, so that only an answer by that server counts.
    socket.connect(server).ok()?;
    socket.send(&question(name, kind)).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, 7);
    Some((answer.metadata.response_code, answer.answers.len()))
}

fn look_up_by_tcp(guest: &Guest, server: &str, name: &str) -> Option<(ResponseCode, usize)> {
    let mut stream = connect(&guest.netns, server, 53).ok()?;
    let asked = question(name, RecordType::A);
    stream
        .write_all(&u16::try_from(asked.len()).unwrap().to_be_bytes())
        .unwrap();
    stream.write_all(&asked).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).ok()?;
    let answer = Message::from_vec(&answer).unwrap();
    Some((answer.metadata.response_code, answer.answers.len()))
}

#[test]
fn a_connection_goes_to_the_name_that_it_gives_wherever_it_was_meant_for() {
    with_guest(|host, pool, world, machine, _, guest| {
        set(host, pool, machine, &["allowed.test", "*.wild.test", "six.test"]);
        let (here, there) = (Some(WORLD_V4.to_owned()), Some(OTHER_V4.to_owned()));
        for address in [
            WORLD_V4,
            WORLD_V6,
            OTHER_V4,
            NOBODY,
            RESOLVER,
            HOST_V4,
            "169.254.169.254",
        ] {
            assert_eq!(http(guest, address, "Allowed.test:80"), here, "{address}");
            assert_eq!(tls(world, guest, address, "allowed.test"), here, "{address}");
            for refused in ["other.test", "wild.test", "allowed.test.evil", WORLD_V4] {
                assert_eq!(http(guest, address, refused), None, "{address} {refused}");
            }
            assert_eq!(tls(world, guest, address, "other.test"), None, "{address}");
            // No name at all: an address is none in TLS.
            assert_eq!(tls(world, guest, address, WORLD_V4), None, "{address}");
        }
        assert_eq!(http(guest, NOBODY, "a.wild.test"), there);
        assert_eq!(tls(world, guest, NOBODY, "a.wild.test"), there);
        assert_eq!(http(guest, NOBODY, "six.test"), Some(WORLD_V6.to_owned()));
        let reset = open_http(guest, WORLD_V4, "other.test").unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        assert!(!world.was_asked("other.test"), "what is refused is not even resolved");
        // Names are for the web's ports.
        assert_eq!(guest.ask(WORLD_V4, SERVICE), None);
        assert_eq!(guest.ask_udp(WORLD_V4, SERVICE), None);
        assert_eq!(guest.ask_udp(WORLD_V4, 443), None);
        assert!(connect(&guest.netns, WORLD_V6, SERVICE).is_err());
    });
}

#[test]
fn an_allowed_address_needs_no_name() {
    with_guest(|host, pool, world, machine, _, guest| {
        set(host, pool, machine, &["allowed.test", OTHER_V4]);
        assert_eq!(http(guest, OTHER_V4, "whatever").as_deref(), Some(OTHER_V4));
        assert_eq!(tls(world, guest, OTHER_V4, "other.test").as_deref(), Some(OTHER_V4));
        assert!(guest.ask(OTHER_V4, SERVICE).is_some());
        assert_eq!(http(guest, WORLD_V4, "whatever"), None);
    });
}

#[test]
fn a_name_that_leads_near_leads_nowhere() {
    with_guest(|host, pool, world, machine, _, guest| {
        let here = TcpListener::bind("0.0.0.0:80").unwrap();
        serve(here, |stream| _ = answer_http(&stream));
        set(host, pool, machine, &["near.test", "node.test", "allowed.test"]);
        // That of the world's server has the private address as well.
        for name in ["near.test", "node.test"] {
            assert_eq!(http(guest, NOBODY, name), None, "{name}");
            assert_eq!(tls(world, guest, NOBODY, name), None, "{name}");
            assert!(world.was_asked(name), "it was allowed, and looked up");
        }
        assert!(http(guest, NOBODY, "allowed.test").is_some());
    });
}

#[test]
fn dns_tells_allowed_names_and_carries_no_others() {
    with_guest(|host, pool, world, machine, _, guest| {
        set(host, pool, machine, &["allowed.test", "*.wild.test"]);
        for server in [NAMES, RESOLVER, WORLD_V4, NOBODY, WORLD_V6, "169.254.0.1"] {
            let found = look_up(guest, server, "allowed.test.", RecordType::A);
            assert_eq!(found, Some((ResponseCode::NoError, 1)), "{server}");
            let refused = look_up(guest, server, "c2VjcmV0.tunnel.test.", RecordType::TXT);
            assert_eq!(refused, Some((ResponseCode::Refused, 0)), "{server}");
        }
        assert_eq!(
            look_up_by_tcp(guest, NOBODY, "a.wild.test."),
            Some((ResponseCode::NoError, 1))
        );
        assert_eq!(
            look_up_by_tcp(guest, NAMES, "secret.tunnel.test."),
            Some((ResponseCode::Refused, 0))
        );
        let hidden = look_up(guest, NAMES, "allowed.test.", RecordType::HTTPS);
        assert_eq!(hidden, Some((ResponseCode::NoError, 0)));
        assert!(world.was_asked("allowed.test") && !world.was_asked("tunnel"));
        // Without any name there is no DNS either.
        set(host, pool, machine, &[WORLD_V4]);
        assert_eq!(look_up(guest, NAMES, "allowed.test.", RecordType::A), None);
    });
}

fn carries(mut stream: &TcpStream) -> bool {
    let mut answer = [0];
    stream
        .write_all(b"x")
        .and_then(|()| stream.read_exact(&mut answer))
        .is_ok()
}

#[test]
fn a_change_cuts_connections_to_names_that_are_allowed_no_more() {
    with_guest(|host, pool, _, machine, _, guest| {
        let direct = open_http(guest, OTHER_V4, "other.test").unwrap().1;
        assert!(carries(&direct));
        set(host, pool, machine, &["allowed.test", "a.wild.test"]);
        assert!(!carries(&direct), "no name was read of it");
        let kept = open_http(guest, NOBODY, "allowed.test").unwrap().1;
        let cut = open_http(guest, NOBODY, "a.wild.test").unwrap().1;
        set(host, pool, machine, &["allowed.test", "other.test"]);
        assert!(carries(&kept) && !carries(&cut));
        assert!(http(guest, NOBODY, "other.test").is_some() && http(guest, NOBODY, "a.wild.test").is_none());
        // An address may take the name's place, and no rules at all.
        set(host, pool, machine, &[WORLD_V4]);
        assert!(carries(&kept));
        host.runtime
            .block_on(pool.set_egress(machine, EgressRules::default()))
            .unwrap();
        assert!(carries(&kept) && http(guest, WORLD_V4, "whatever").is_some());
        set(host, pool, machine, &["other.test"]);
        assert!(!carries(&kept));
    });
}

#[test]
fn a_change_to_denied_addresses_cuts_connections_that_were_had_by_name() {
    with_guest(|host, pool, _, machine, _, guest| {
        let deny = |address: &str| {
            let rules = EgressRules::parse::<&str, _>(&[], &[address]).unwrap();
            host.runtime.block_on(pool.set_egress(machine, rules)).unwrap();
        };
        set(host, pool, machine, &["other.test", "a.wild.test"]);
        // Both lead to the same address.
        let other = open_http(guest, NOBODY, "other.test").unwrap().1;
        let wild = open_http(guest, OTHER_V4, "a.wild.test").unwrap().1;
        deny("192.0.2.0/24");
        assert!(carries(&other) && carries(&wild), "it is not among these");
        deny(OTHER_V4);
        assert!(!carries(&other) && !carries(&wild), "names mean nothing now");
        assert!(http(guest, OTHER_V4, "other.test").is_none());
    });
}

/// How many sockets listen or are connected in the slot's own namespace.
fn sockets(slot: &Slot) -> usize {
    let listed = in_netns(slot.netns.as_deref().unwrap(), || {
        let tables = ["tcp", "tcp6", "udp", "udp6"].map(|file| format!("/proc/thread-self/net/{file}"));
        tables
            .iter()
            .map(std::fs::read_to_string)
            .collect::<io::Result<String>>()
    });
    // By the state: 0A listens, 01 is connected, 07 is a socket of UDP. What has ended is known for a while.
    let in_use = |line: &&str| [" 0A ", " 01 ", " 07 "].iter().any(|state| line.contains(state));
    listed.unwrap().lines().filter(in_use).count()
}

#[test]
fn nothing_of_a_gate_is_left_for_the_next_holder() {
    with_guest(|host, pool, _, machine, slot, guest| {
        assert_eq!(sockets(slot), 0);
        set(host, pool, machine, &["allowed.test"]);
        let open = open_http(guest, NOBODY, "allowed.test").unwrap().1;
        // Four doors of each family, and both ends of the connection.
        assert!(carries(&open) && sockets(slot) == 10, "{}", sockets(slot));
        host.release(pool, machine);
        assert_eq!(sockets(slot), 0);
        eventually("the slot has rested", || pool.ready() == 1);
        let (_, next) = host.acquire(pool, Default, &[]);
        assert_eq!(next.index, slot.index);
    });
}

#[test]
fn names_are_read_again_by_the_next_daemon() {
    on_host(|host| {
        let world = World::start();
        let pool = host.open(config(host), &[]);
        let (machine, slot) = host.acquire(&pool, Default, &[]);
        let guest = Guest::boot(&slot);
        set(host, &pool, machine, &["allowed.test"]);
        assert!(tls(&world, &guest, NOBODY, "allowed.test").is_some());
        drop(pool);
        eventually("nobody reads names", || {
            tls(&world, &guest, NOBODY, "allowed.test").is_none()
        });
        assert_eq!(guest.ask(WORLD_V4, SERVICE), None, "and nothing else is open");
        let pool = host.open(config(host), &[machine]);
        assert!(tls(&world, &guest, NOBODY, "allowed.test").is_some());
        assert_eq!(tls(&world, &guest, NOBODY, "other.test"), None);
        host.close(&pool);
    });
}

#[test]
fn a_guest_with_too_many_connections_is_told_and_goes_on_when_they_end() {
    with_guest(|host, pool, _, machine, _, guest| {
        set(host, pool, machine, &["allowed.test"]);
        let mut silent: Vec<TcpStream> = (0..300)
            .filter_map(|_| connect(&guest.netns, NOBODY, 80).ok())
            .collect();
        eventually("what is too much is reset", || {
            silent.retain(|stream| {
                stream.set_nonblocking(true).unwrap();
                matches!((&mut &*stream).read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            });
            silent.len() <= 256
        });
        assert_eq!(http(guest, NOBODY, "allowed.test"), None);
        drop(silent);
        eventually("there is room again", || http(guest, NOBODY, "allowed.test").is_some());
    });
}
