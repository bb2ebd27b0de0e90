//! The doing: each function here runs from start to end on one thread, and leaves state and host in agreement.

mod egress;
mod open;
mod release;
mod served;

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hearth_domain::{EgressRules, NetworkMode, PortMapping};
use hearth_ids::MachineId;
use ipnet::Ipv4Net;
use tokio::sync::Notify;

use super::{
    PoolConfig,
    state::{Claim, Job, Phase, State, Upkeep},
};
use crate::{
    address::GUEST_MAC,
    gate::Gates,
    netlink::Netlink,
    policy::{BridgePolicy, BridgePort, HostPolicy, Published, TAP},
    port::{Reservation, protocol_name, reserve},
    record::{Record, Records},
    site::Site,
    slot::{NetworkError, Slot, SlotRequest},
};

/// How long an acquire waits for the last slot that is being made.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Core {
    config: PoolConfig,
    site: Site,
    gates: Gates,
    records: Records,
    state: Mutex<State>,
    /// Held while the host's table is read off the state and written, so that an older view never overwrites a newer.
    host_table: Mutex<()>,
    changed: Notify,
    /// The keeper is done with a slot.
    worked: Condvar,
}

/// A place that is being set up for a machine.
struct Place {
    index: u32,
    /// Whether its namespace is there already.
    stands: bool,
}

/// Whether no machine has claimed any of the ports.
fn check_claims(state: &State, ports: &[PortMapping]) -> Result<(), NetworkError> {
    let Some((holder, port)) = state.port_holder(ports) else {
        return Ok(());
    };
    Err(NetworkError::PortInUse {
        port: port.host_port,
        protocol: protocol_name(port.protocol),
        address: port.host_ip.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        holder: format!("machine {holder}"),
    })
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ready(&self) -> usize {
        self.state().ready_count()
    }

    pub(super) fn pool(&self) -> Ipv4Net {
        self.site.plan.pool
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn slot_of(&self, machine: MachineId) -> Option<Slot> {
        match &self.state().claims.get(&machine)?.phase {
            Phase::Held { slot, .. } => Some(slot.clone()),
            Phase::Acquiring { .. } | Phase::Releasing => None,
        }
    }

    fn drop_record(&self, index: u32) -> Result<(), NetworkError> {
        self.records
            .remove(index)
            .map_err(NetworkError::at(format!("remove the record of slot {index}")))
    }

    fn describe(&self, index: u32, request: &SlotRequest) -> Result<Slot, NetworkError> {
        if request.mode == NetworkMode::Bridge {
            let port = self.bridge_port(index)?;
            return Ok(Slot {
                index,
                netns: None,
                kernel_ip: Some(self.config.bridge.kernel_ip(&port)),
                guest_mac: port.mac(),
                guest_addr: IpAddr::V4(port.address),
                guest_addr_v6: None,
                tap: port.tap,
                resolvers: self.site.resolvers.clone(),
            });
        }
        let addresses = self.site.plan.addresses(index);
        let resolvers = match request.mode {
            // It could not ask them.
            NetworkMode::None => Vec::new(),
            NetworkMode::Default | NetworkMode::Bridge => self.site.resolvers.clone(),
        };
        Ok(Slot {
            index,
            netns: Some(self.site.netns(index)),
            tap: TAP.to_owned(),
            guest_mac: GUEST_MAC,
            guest_addr: IpAddr::V4(addresses.slot_ipv4),
            guest_addr_v6: self.site.ipv6.then_some(addresses.slot_ipv6),
            kernel_ip: None,
            resolvers,
        })
    }

    fn bridge_port(&self, index: u32) -> Result<BridgePort, NetworkError> {
        self.config.bridge.port(&self.config.instance, index)
    }

    /// Gives an announced machine its slot.
    pub(super) fn acquire(&self, machine: MachineId, request: &SlotRequest) -> Result<Slot, NetworkError> {
        let place = self.take_place(request).inspect_err(|_| self.withdraw(machine))?;
        self.changed.notify_one();
        let done = self.set_up(machine, &place, request);
        let (slot, reservations) = match done {
            Ok(done) => done,
            Err(error) => {
                self.give_up(machine, place.index, request);
                return Err(error);
            }
        };
        let released = {
            let mut state = self.state();
            let claim = state.claims.get_mut(&machine);
            let released = claim
                .as_ref()
                .is_none_or(|claim| matches!(claim.phase, Phase::Acquiring { released: true }));
            if let Some(claim) = claim {
                claim.phase = Phase::Held {
                    slot: slot.clone(),
                    reservations,
                    busy: false,
                };
            }
            released
        };
        if released {
            self.release(machine)?;
            return Err(NetworkError::Released { machine });
        }
        Ok(slot)
    }

    /// Whether nobody has any of the ports.
    pub(super) fn check_ports(&self, ports: &[PortMapping]) -> Result<(), NetworkError> {
        check_claims(&self.state(), ports)?;
        // Bound and let go again, one after another.
        ports
            .iter()
            .try_for_each(|port| reserve(port, self.site.ipv6).map(drop))
    }

    /// Notes that the machine wants a slot, if its ports are nobody's. From here on a release finds it.
    pub(super) fn announce(&self, machine: MachineId, request: &SlotRequest) -> Result<(), NetworkError> {
        let mut state = self.state();
        if state.claims.contains_key(&machine) {
            return Err(NetworkError::Taken { machine });
        }
        check_claims(&state, &request.ports)?;
        let claim = Claim {
            request: request.clone(),
            egress: EgressRules::default(),
            gate: None,
            phase: Phase::Acquiring { released: false },
        };
        state.claims.insert(machine, claim);
        Ok(())
    }

    /// Forgets a machine that was announced and got nothing.
    pub(super) fn withdraw(&self, machine: MachineId) {
        self.state().claims.remove(&machine);
        self.worked.notify_all();
    }

    /// Takes a number, of a ready slot if there is one.
    fn take_place(&self, request: &SlotRequest) -> Result<Place, NetworkError> {
        let mut state = self.state();
        let deadline = Instant::now() + WORK_TIMEOUT;
        loop {
            let ready = if request.mode == NetworkMode::Bridge {
                None
            } else {
                state.take_ready()
            };
            if let Some(index) = ready {
                return Ok(Place { index, stands: true });
            }
            if let Some(index) = state.allocator.allocate() {
                return Ok(Place { index, stands: false });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !state.is_in_work() || left.is_zero() {
                return Err(NetworkError::Exhausted {
                    capacity: self.config.capacity,
                    held: state.claims.len().saturating_sub(1),
                    resting: state.resting_count(),
                });
            }
            let waited = self.worked.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn set_up(
        &self,
        machine: MachineId,
        place: &Place,
        request: &SlotRequest,
    ) -> Result<(Slot, Vec<Reservation>), NetworkError> {
        let index = place.index;
        let slot = self.describe(index, request)?;
        let mut reservations = Vec::new();
        for port in &request.ports {
            reservations.extend(reserve(port, self.site.ipv6)?);
        }
        self.records
            .write(&Record {
                index,
                machine,
                request: request.clone(),
                egress: EgressRules::default(),
            })
            .map_err(NetworkError::at(format!("write the record of slot {index}")))?;
        (self.site.fault)("record-written");
        if request.mode == NetworkMode::Bridge {
            self.config.bridge.ensure(&self.config.instance)?;
            self.config.bridge.plug(&self.bridge_port(index)?, request.tap_owner)?;
        } else {
            if !place.stands {
                self.site.build(index)?;
            }
            let rules = EgressRules::default();
            self.site
                .grant(index, request.tap_owner, self.site.holder(request.mode, &rules, &[]))?;
        }
        (self.site.fault)("policy-set");
        if needs_host_rules(request) {
            self.note_host_rules(&mut self.state(), index, request)?;
            self.write_host_table()?;
        }
        (self.site.fault)("ports-published");
        Ok((slot, reservations))
    }

    /// Undoes an acquire that failed, as far as it went.
    fn give_up(&self, machine: MachineId, index: u32, request: &SlotRequest) {
        if let Err(error) = self.take_down(index, request) {
            tracing::warn!(%machine, index, error = &error as &dyn std::error::Error, "a failed network slot stays until the next start");
            self.withdraw(machine);
            return;
        }
        self.state().allocator.release(index);
        self.withdraw(machine);
        self.changed.notify_one();
    }

    fn take_down(&self, index: u32, request: &SlotRequest) -> Result<(), NetworkError> {
        self.forget_host_rules(index, request)?;
        if request.mode == NetworkMode::Bridge {
            if let Ok(port) = self.bridge_port(index) {
                port.unplug()?;
            }
        } else {
            self.site.destroy(index)?;
        }
        self.drop_record(index)
    }

    fn note_host_rules(&self, state: &mut State, index: u32, request: &SlotRequest) -> Result<(), NetworkError> {
        let slot = self.describe(index, request)?;
        if let IpAddr::V4(to_ipv4) = slot.guest_addr {
            let published = |port: &_| Published {
                port: *port,
                to_ipv4,
                to_ipv6: slot.guest_addr_v6,
            };
            state
                .published
                .insert(index, request.ports.iter().map(published).collect());
        }
        if request.mode == NetworkMode::Bridge {
            state.bridge_ports.insert(index, self.bridge_port(index)?);
        }
        Ok(())
    }

    fn forget_host_rules(&self, index: u32, request: &SlotRequest) -> Result<(), NetworkError> {
        if !needs_host_rules(request) {
            return Ok(());
        }
        let mut state = self.state();
        state.published.remove(&index);
        state.bridge_ports.remove(&index);
        drop(state);
        self.write_host_table()
    }

    /// Brings the host's table into agreement with the state.
    fn write_host_table(&self) -> Result<(), NetworkError> {
        let _turn = self.host_table.lock().unwrap_or_else(PoisonError::into_inner);
        let (published, ports): (Vec<Published>, Vec<BridgePort>) = {
            let state = self.state();
            let all: &BTreeMap<u32, Vec<Published>> = &state.published;
            (
                all.values().flatten().cloned().collect(),
                state.bridge_ports.values().cloned().collect(),
            )
        };
        let bridge = &self.config.bridge;
        let policy = HostPolicy {
            instance: &self.config.instance,
            pool: self.site.plan.pool,
            prefix_v6: self.site.plan.prefix_v6,
            resolvers: &self.site.resolvers,
            published: &published,
            owner_uid: rustix::process::geteuid().as_raw(),
            bridge: (!ports.is_empty()).then_some(BridgePolicy {
                name: &bridge.name,
                subnet: bridge.subnet,
                ports: &ports,
            }),
        };
        let write = || -> io::Result<()> {
            policy
                .replace()
                .commit(&mut Netlink::netfilter()?)
                .map_err(io::Error::other)
        };
        write().map_err(NetworkError::at(format!(
            "write the host's table {}",
            self.config.instance.table_name()
        )))
    }

    pub(super) fn plan_upkeep(&self) -> Upkeep {
        self.state()
            .plan_upkeep(Instant::now(), self.config.warm as usize, self.config.max_idle as usize)
    }

    /// Carries out a share of the upkeep; whether all of it worked.
    pub(super) fn carry_out(&self, job: &Job) -> bool {
        let mut worked = true;
        for index in &job.build {
            let built = self.site.build(*index);
            if let Err(error) = &built {
                tracing::warn!(
                    index,
                    error = error as &dyn std::error::Error,
                    "cannot make a network slot ahead"
                );
                self.remove(*index);
            }
            worked &= built.is_ok();
            self.state().finish_work(*index, built.is_ok());
            self.worked.notify_all();
        }
        for index in &job.remove {
            worked &= self.remove(*index);
            self.state().finish_work(*index, false);
            self.worked.notify_all();
        }
        worked
    }

    /// Removes a slot that nobody holds. One that will not go keeps its number.
    fn remove(&self, index: u32) -> bool {
        match self.site.destroy(index) {
            Ok(()) => self.state().allocator.release(index),
            Err(error) => {
                tracing::warn!(
                    index,
                    error = &error as &dyn std::error::Error,
                    "a network slot stays until the next start"
                );
                false
            }
        }
    }

    pub(super) fn remove_idle(&self) -> Result<(), NetworkError> {
        let (idle, unused) = {
            let mut state = self.state();
            (state.take_idle(), state.claims.is_empty())
        };
        for index in idle {
            self.site.destroy(index)?;
            self.state().allocator.release(index);
        }
        if unused {
            self.config.bridge.remove(&self.config.instance)?;
            self.site.remove_tables()?;
        }
        Ok(())
    }
}

fn needs_host_rules(request: &SlotRequest) -> bool {
    !request.ports.is_empty() || request.mode == NetworkMode::Bridge
}
