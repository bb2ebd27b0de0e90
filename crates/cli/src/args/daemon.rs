//! The daemon and its host.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use hearth_domain::DriverKind;
use hearth_driver_qemu::AccelChoice;
use ipnet::Ipv4Net;

use super::value::{driver, interface_name, part_of_one, ratio};

/// Where the daemon keeps everything.
const DEFAULT_STATE_DIR: &str = "/var/lib/hearth";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct UpArgs {
    /// Folder for everything that the daemon keeps
    #[arg(long, env = "HEARTH_STATE_DIR", default_value = DEFAULT_STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// Also listen on TCP, for whoever has a key: with TLS, or without TLS on loopback only
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Also tell metrics at http://ADDR:PORT/metrics without a key, on loopback only
    #[arg(long, env = "HEARTH_METRICS", value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Where functions are called, by whoever holds a key or, for public ones, by anybody; port 0 takes a free one. With
    /// TLS, unless it is on loopback
    #[arg(
        long,
        env = "HEARTH_GATEWAY",
        default_value = "127.0.0.1:8480",
        value_name = "ADDR:PORT"
    )]
    pub(crate) gateway: SocketAddr,
    /// Call functions without TLS though others reach the address: for a proxy of your own that has it
    #[arg(long)]
    pub(crate) gateway_plain: bool,
    /// Domain of functions' host names: NAME.PROJECT.fn.DOMAIN
    #[arg(long, env = "HEARTH_DOMAIN", default_value = "localhost", value_name = "DOMAIN")]
    pub(crate) domain: String,
    /// With TLS on loopback, too
    #[arg(long, requires = "listen")]
    pub(crate) tls: bool,
    /// Certificate for TLS, as a PEM file [default: an own one, made once]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key, as a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Return once the daemon answers, and leave it running
    #[arg(long, short = 'd')]
    pub(crate) detach: bool,
    /// Driver of machines that name none [default: firecracker where KVM works, else qemu]
    #[arg(long, env = "HEARTH_DRIVER", value_parser = driver())]
    pub(crate) driver: Option<DriverKind>,
    /// What a volume that sandboxes share may hold, in GiB
    #[arg(long, default_value_t = 10, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) volume_gib: u64,
    /// Virtual CPUs given out for each CPU
    #[arg(long, default_value_t = 16.0, value_parser = ratio)]
    pub(crate) cpu_overcommit: f64,
    /// Guest memory given out for each byte of memory
    #[arg(long, default_value_t = 1.0, value_parser = ratio)]
    pub(crate) memory_overcommit: f64,
    /// Size of machines' own disks given out for each byte that is free where they lie
    #[arg(long, default_value_t = 1.0, value_parser = ratio)]
    pub(crate) disk_overcommit: f64,
    /// Memory for machines and instances of functions that wait, restored and paused, such as 2g
    #[arg(long, default_value = "0", value_name = "SIZE", value_parser = hearth_domain::parse_size_mib)]
    pub(crate) warm_memory: u64,
    #[command(flatten)]
    pub(crate) vmm: VmmArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Registries spoken to without TLS, by all projects; those on loopback are anyway, by admins of the host
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    pub(crate) insecure_registries: Vec<String>,
    /// Registries at addresses that are not public from which all projects may pull, with TLS
    #[arg(long = "private-registry", value_name = "HOST[:PORT]")]
    pub(crate) private_registries: Vec<String>,
    /// A further certificate authority for registries, as a PEM file
    #[arg(long = "registry-ca", value_name = "FILE")]
    pub(crate) registry_ca: Vec<PathBuf>,
    /// Send traces of calls to this OTLP receiver, as http://HOST:4318
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// The part of the traces that begin here which is recorded, from 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_parser = part_of_one, value_name = "PART")]
    pub(crate) trace_ratio: f64,
    /// Log lines as JSON
    #[arg(long, env = "HEARTH_LOG_JSON")]
    pub(crate) log_json: bool,
}

/// The programs that run machines.
#[derive(Debug, Args)]
pub(crate) struct VmmArgs {
    /// QEMU's program [default: qemu-system-x86_64 on PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) qemu: Option<PathBuf>,
    /// Firecracker's program [default: on PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) firecracker: Option<PathBuf>,
    /// Firecracker's jailer [default: beside firecracker, or on PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) jailer: Option<PathBuf>,
    /// Further settings of Firecracker, as JSON: see the handbook
    #[arg(long, value_name = "FILE")]
    pub(crate) firecracker_config: Option<PathBuf>,
    /// Hardware virtualisation: auto (if it works when it is tried), kvm (whatever the trial says) or tcg (never, for QEMU)
    #[arg(long, default_value = "auto", value_name = "auto|kvm|tcg")]
    pub(crate) accel: AccelChoice,
}

/// Where guests are plugged in.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Network slots that are kept ready
    #[arg(long, default_value_t = 4)]
    pub(crate) warm_slots: u32,
    /// Network slots at most, and so machines that run at a time
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=i64::from(hearth_network::MAX_CAPACITY)))]
    pub(crate) max_slots: u32,
    /// Network of the slots' addresses on this host [default: a free part of 100.64.0.0/10]
    #[arg(long, value_name = "NETWORK/BITS")]
    pub(crate) slot_network: Option<Ipv4Net>,
    /// Bridge of machines with --network bridge; made if need be
    #[arg(long, default_value = "fc-bridge0", value_name = "NAME", value_parser = interface_name)]
    pub(crate) bridge: String,
    /// Network of that bridge, which gets the first address
    #[arg(long, default_value = "172.16.0.0/24", value_name = "NETWORK/BITS")]
    pub(crate) bridge_subnet: Ipv4Net,
    /// Name servers for guests [default: the host's]
    #[arg(long = "dns", value_name = "ADDR")]
    pub(crate) dns: Vec<std::net::IpAddr>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Show what the node is, has and holds
    Info,
}

#[derive(Debug, Args)]
#[command(after_help = "The exit code is 1 if something fails that machines need.")]
pub(crate) struct DoctorArgs {
    /// Folder of the daemon that is to be; one that runs knows its own
    #[arg(long, env = "HEARTH_STATE_DIR", default_value = DEFAULT_STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    #[command(flatten)]
    pub(crate) vmm: VmmArgs,
}
