//! Whether this host can have slots, found out by making one of everything in a namespace that goes away with it.

use std::{fs::OpenOptions, io, net::Ipv4Addr, path::Path};

use hearth_domain::{EgressRules, NetworkMode};
use ipnet::Ipv4Net;
use nix::sched::{CloneFlags, unshare};
use serde::Serialize;

use crate::{
    address::{AddressPlan, InstanceId},
    netlink::Netlink,
    netns::on_own_thread,
    nft::Batch,
    policy::{self, Holder, HostPolicy},
    sysctl,
    tap::open_tap,
};

/// One thing that slots need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// Whether it works.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// How to mend it.
    pub advice: Option<String>,
}

impl Check {
    fn of(name: &'static str, result: io::Result<String>, advice: &str) -> Self {
        match result {
            Ok(detail) => Self {
                name,
                ok: true,
                detail,
                advice: None,
            },
            Err(error) => {
                let cause = error
                    .get_ref()
                    .and_then(|inner| inner.source())
                    .map(|cause| format!(": {cause}"));
                let detail = format!("{error}{}", cause.unwrap_or_default());
                Self {
                    name,
                    ok: false,
                    detail,
                    advice: Some(advice.to_owned()),
                }
            }
        }
    }
}

/// Tries everything that slots need. Blocking, for a moment; changes nothing on the host.
pub fn detect() -> Vec<Check> {
    vec![
        Check::of(
            "network namespaces",
            in_new_netns(|| Ok("can be made".into())),
            "run as root (or with CAP_SYS_ADMIN and CAP_NET_ADMIN), on a kernel with CONFIG_NET_NS",
        ),
        Check::of(
            "tap devices",
            in_new_netns(|| open_tap(None, "hearth-probe").map(|_| "can be made".into())),
            "load the module (`modprobe tun`) and check that /dev/net/tun is there and may be opened",
        ),
        Check::of(
            "nf_tables",
            in_new_netns(try_rules),
            "load the modules `nf_tables nft_nat nft_masq nft_ct nft_fib_inet nft_reject_inet nft_connlimit`",
        ),
        Check::of(
            "forwarding",
            forwarding(),
            "switch it on (`sysctl -w net.ipv4.ip_forward=1`) or let the daemon write to /proc/sys",
        ),
    ]
}

fn in_new_netns(work: impl FnOnce() -> io::Result<String> + Send) -> io::Result<String> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// Loads the rules of a slot and of a host, each expression that there is.
fn try_rules() -> io::Result<String> {
    let instance = InstanceId::of_folder(Path::new("/"));
    let pool = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 31);
    let plan = AddressPlan::new(&instance, pool, 1).map_err(io::Error::other)?;
    let host = HostPolicy {
        instance: &instance,
        pool,
        prefix_v6: plan.prefix_v6,
        resolvers: &[],
        published: &[policy::Published {
            port: hearth_domain::PortMapping {
                host_ip: None,
                host_port: 1,
                guest_port: 1,
                protocol: hearth_domain::Protocol::Tcp,
            },
            to_ipv4: Ipv4Addr::LOCALHOST,
            to_ipv6: None,
        }],
        owner_uid: 0,
        bridge: None,
    };
    let rules = EgressRules::parse(&["192.0.2.1", "example.com"], &["0.0.0.0/0"]).map_err(io::Error::other)?;
    let mut netfilter = Netlink::netfilter()?;
    let batches: [Batch; 3] = [
        policy::inside(&plan.addresses(0)),
        policy::inside_egress(Some(Holder {
            mode: NetworkMode::Default,
            resolvers: &[],
            rules: &rules,
            uid: 0,
            doors: &[],
        })),
        host.replace(),
    ];
    for batch in batches {
        batch.commit(&mut netfilter).map_err(io::Error::other)?;
    }
    Ok("takes the rules of slots".into())
}

fn forwarding() -> io::Result<String> {
    if sysctl::read("ipv4/ip_forward").as_deref() == Some("1") {
        return Ok("is on".into());
    }
    OpenOptions::new().write(true).open("/proc/sys/net/ipv4/ip_forward")?;
    Ok("is off, and will be switched on when the daemon starts".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes_or_says_what_it_lacks() {
        let checks = detect();
        assert_eq!(checks.len(), 4);
        for check in &checks {
            assert_eq!(check.ok, check.advice.is_none(), "{check:?}");
        }
        if rustix::process::geteuid().is_root() {
            assert!(checks.iter().all(|check| check.ok), "{checks:?}");
        }
    }
}
