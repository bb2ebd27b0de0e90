//! Starting and clearing up: the folder's records on one side, the host on the other.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    sync::{Condvar, Mutex},
};

use hearth_domain::{EgressRules, NetworkMode};
use hearth_ids::MachineId;
use ipnet::Ipv4Net;
use tokio::sync::Notify;

use super::{
    super::{
        PoolConfig,
        state::{Claim, Phase, State},
    },
    Core,
    egress::needs_gate,
};
use crate::{
    address::{AddressPlan, pool_prefix_len},
    gate::{Gates, SlotGate},
    link::{Links, overlap},
    netns,
    port::reserve,
    record::{Record, Records},
    site::{Site, host_has_ipv6, let_host_forward},
    slot::{NetworkError, SlotRequest},
};

impl Core {
    /// Takes up what machines in `alive` hold, and removes all else of the instance.
    pub(in crate::pool) fn open(
        config: PoolConfig,
        gates: Gates,
        alive: &HashSet<MachineId>,
    ) -> Result<Self, NetworkError> {
        let records =
            Records::open(&config.state_folder).map_err(NetworkError::at("open the folder of network records"))?;
        let loaded = records
            .load()
            .map_err(NetworkError::at("read the records of network slots"))?;
        let (held, dead): (Vec<Record>, Vec<Record>) =
            loaded.into_iter().partition(|record| alive.contains(&record.machine));
        let ipv6 = host_has_ipv6();
        let_host_forward(ipv6).map_err(NetworkError::at("let this host forward packets"))?;
        netns::prepare_folder(&config.netns_folder).map_err(NetworkError::at(format!(
            "prepare {} for the names of namespaces",
            config.netns_folder.display()
        )))?;
        // Fewer slots than last time must not cut off a machine.
        let capacity = held
            .iter()
            .map(|record| record.index + 1)
            .fold(config.capacity, u32::max);
        let pool = choose_pool(&config, &records, capacity, held.is_empty())?;
        let core = Self {
            site: site(&config, AddressPlan::new(&config.instance, pool, capacity)?, ipv6),
            gates,
            records,
            state: Mutex::new(State::new(capacity)),
            host_table: Mutex::new(()),
            changed: Notify::new(),
            worked: Condvar::new(),
            config,
        };
        let wanted: HashSet<u32> = held.iter().map(|record| record.index).collect();
        core.site.sweep(|index| wanted.contains(&index))?;
        for record in dead {
            core.drop_record(record.index)?;
        }
        for record in held {
            core.adopt(record)?;
        }
        core.write_host_table()?;
        Ok(core)
    }

    pub(in crate::pool) fn purge(config: &PoolConfig) -> Result<(), NetworkError> {
        let records =
            Records::open(&config.state_folder).map_err(NetworkError::at("open the folder of network records"))?;
        // The pool's network does not matter to what is removed by name.
        let plan = AddressPlan::new(&config.instance, Ipv4Net::default(), 1)?;
        let site = site(config, plan, false);
        if config.netns_folder.is_dir() {
            site.sweep(|_| false)?;
        }
        config.bridge.remove(&config.instance)?;
        site.remove_tables()?;
        for record in records
            .load()
            .map_err(NetworkError::at("read the records of network slots"))?
        {
            records
                .remove(record.index)
                .map_err(NetworkError::at("remove the record of a network slot"))?;
        }
        Ok(())
    }

    /// Takes a slot up again that a machine held before the daemon started.
    fn adopt(&self, record: Record) -> Result<(), NetworkError> {
        let Record {
            index,
            machine,
            request,
            egress,
        } = record;
        let mut gate = None;
        let bridged = request.mode == NetworkMode::Bridge;
        let renewed = if bridged {
            self.bridge_port(index).and_then(|port| {
                let bridge = &self.config.bridge;
                bridge.find_or_plug(&self.config.instance, &port, request.tap_owner)
            })
        } else if self.site.stands(index) {
            gate = self.needed_gate(index, &request, &egress);
            let ports = gate.as_ref().map(SlotGate::ports).unwrap_or_default();
            self.site.renew(index, self.site.holder(request.mode, &egress, ports))
        } else {
            Err(NetworkError::at("find it on this host")(io::Error::from(
                io::ErrorKind::NotFound,
            )))
        };
        if let Err(error) = renewed {
            tracing::warn!(%machine, index, error = &error as &dyn std::error::Error, "a machine has lost its network slot");
            self.site.destroy(index)?;
            return self.drop_record(index);
        }
        let mut reservations = Vec::new();
        for port in &request.ports {
            match reserve(port, self.site.ipv6) {
                Ok(reserved) => reservations.extend(reserved),
                Err(error) => {
                    tracing::warn!(%machine, %error, "a published port goes on, but another program has it too");
                }
            }
        }
        let slot = self.describe(index, &request)?;
        let mut state = self.state();
        state.allocator.reserve(index);
        self.note_host_rules(&mut state, index, &request)?;
        state.claims.insert(
            machine,
            Claim {
                request,
                egress,
                gate,
                phase: Phase::Held {
                    slot,
                    reservations,
                    busy: false,
                },
            },
        );
        Ok(())
    }
}

impl Core {
    /// The gate that the rules of an adopted slot need. Without it no name is allowed, which is better than no slot.
    fn needed_gate(&self, index: u32, request: &SlotRequest, rules: &EgressRules) -> Option<SlotGate> {
        if !needs_gate(request, rules) {
            return None;
        }
        let opened = self.open_gate(index, rules);
        let warn = |error: &NetworkError| {
            tracing::warn!(
                index,
                error = error as &dyn std::error::Error,
                "a machine reaches no domain until its rules are set again"
            );
        };
        opened.inspect_err(warn).ok()
    }
}

fn site(config: &PoolConfig, plan: AddressPlan, ipv6: bool) -> Site {
    Site {
        instance: config.instance.clone(),
        netns_folder: config.netns_folder.clone(),
        plan,
        ipv6,
        resolvers: config.resolvers.clone(),
        fault: config.fault,
    }
}

/// The configured network, or that of the last time, or the first that this host has no other use for.
fn choose_pool(
    config: &PoolConfig,
    records: &Records,
    capacity: u32,
    may_change: bool,
) -> Result<Ipv4Net, NetworkError> {
    let wanted = pool_prefix_len(capacity);
    let last = records.pool().filter(|pool| pool.prefix_len() <= wanted);
    let same = config.pool.is_none_or(|pool| Some(pool) == last);
    if let Some(last) = last.filter(|_| same || !may_change) {
        return Ok(last);
    }
    let foreign = foreign_routes(config).map_err(NetworkError::at("list this host's routes"))?;
    let conflict = |pool: Ipv4Net| foreign.iter().find(|(net, _)| overlap(*net, pool));
    let chosen = match config.pool {
        Some(pool) => match conflict(pool) {
            Some((other, link)) => {
                return Err(NetworkError::PoolConflict {
                    pool,
                    other: *other,
                    link: link.clone(),
                });
            }
            None => pool,
        },
        None => config
            .instance
            .pool_candidates(wanted)
            .find(|pool| conflict(*pool).is_none())
            .ok_or(NetworkError::NoPool { prefix_len: wanted })?,
    };
    records
        .write_pool(chosen)
        .map_err(NetworkError::at("record the pool's network"))?;
    Ok(chosen)
}

/// Networks that this host reaches by interfaces that are not the instance's own.
fn foreign_routes(config: &PoolConfig) -> io::Result<Vec<(Ipv4Net, String)>> {
    let mut links = Links::open()?;
    let names: BTreeMap<u32, String> = links.list()?.into_iter().map(|link| (link.index, link.name)).collect();
    let name = |index| names.get(&index).cloned().unwrap_or_default();
    let routes = links.ipv4_routes()?.into_iter().map(|(net, index)| (net, name(index)));
    Ok(routes.filter(|(_, link)| !config.instance.owns_link(link)).collect())
}
