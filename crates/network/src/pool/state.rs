//! Who holds what, without any of the doing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use hearth_domain::{EgressRules, PortMapping};
use hearth_ids::MachineId;

use crate::{
    address::SlotAllocator,
    gate::SlotGate,
    policy::{BridgePort, Published},
    port::Reservation,
    slot::{Slot, SlotRequest},
};

/// A machine's claim on a slot.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) request: SlotRequest,
    /// What the machine may reach.
    pub(super) egress: EgressRules,
    /// Reads the names by which that is decided; once there, it stays as long as the claim.
    pub(super) gate: Option<SlotGate>,
    pub(super) phase: Phase,
}

/// Where a claim is.
#[derive(Debug)]
pub(super) enum Phase {
    /// On its way; if it was released meanwhile it is given back on arrival.
    Acquiring { released: bool },
    /// The machine's own. While it is busy its rules are being changed.
    Held {
        slot: Slot,
        reservations: Vec<Reservation>,
        busy: bool,
    },
    /// On its way back.
    Releasing,
}

/// A slot that nobody may have yet.
#[derive(Debug)]
struct Resting {
    index: u32,
    until: Instant,
    /// Whether the slot stands; else only its number (and address) rests.
    stands: bool,
}

/// Everything that the pool remembers.
#[derive(Debug)]
pub(super) struct State {
    pub(super) allocator: SlotAllocator,
    ready: VecDeque<u32>,
    resting: VecDeque<Resting>,
    /// Slots that the keeper is making or removing: soon ready, or free.
    in_work: usize,
    pub(super) claims: HashMap<MachineId, Claim>,
    pub(super) published: BTreeMap<u32, Vec<Published>>,
    pub(super) bridge_ports: BTreeMap<u32, BridgePort>,
}

/// What the keeper should do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Upkeep {
    build: Vec<u32>,
    remove: Vec<u32>,
    /// When to look again, if nothing changes.
    pub(super) wake_in: Option<Duration>,
}

/// A share of the upkeep that one thread carries out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) build: Vec<u32>,
    pub(super) remove: Vec<u32>,
}

impl Upkeep {
    pub(super) fn is_idle(&self) -> bool {
        self.build.is_empty() && self.remove.is_empty()
    }

    /// Deals the work out to so many threads.
    pub(super) fn jobs(&self, threads: usize) -> Vec<Job> {
        let mut jobs: Vec<Job> = (0..threads).map(|_| Job::default()).collect();
        for (turn, index) in self.build.iter().enumerate() {
            jobs[turn % threads].build.push(*index);
        }
        for (turn, index) in self.remove.iter().enumerate() {
            jobs[turn % threads].remove.push(*index);
        }
        jobs.retain(|job| *job != Job::default());
        jobs
    }
}

impl State {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            allocator: SlotAllocator::new(capacity),
            ready: VecDeque::new(),
            resting: VecDeque::new(),
            in_work: 0,
            claims: HashMap::new(),
            published: BTreeMap::new(),
            bridge_ports: BTreeMap::new(),
        }
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn resting_count(&self) -> usize {
        self.resting.len()
    }

    pub(super) fn take_ready(&mut self) -> Option<u32> {
        self.ready.pop_front()
    }

    /// Whether a slot will be ready, or a number free, in a moment.
    pub(super) fn is_in_work(&self) -> bool {
        self.in_work > 0
    }

    /// The keeper is done with one of the slots of [`State::plan_upkeep`]; whether it is ready now.
    pub(super) fn finish_work(&mut self, index: u32, ready: bool) {
        self.in_work = self.in_work.saturating_sub(1);
        if ready {
            self.ready.push_back(index);
        }
    }

    /// Puts a slot, or only its number, to rest.
    pub(super) fn rest(&mut self, index: u32, until: Instant, stands: bool) {
        self.resting.push_back(Resting { index, until, stands });
    }

    /// All slots that stand and that nobody holds; they are no longer the pool's.
    pub(super) fn take_idle(&mut self) -> Vec<u32> {
        let resting = self
            .resting
            .drain(..)
            .filter(|resting| resting.stands)
            .map(|resting| resting.index);
        self.ready.drain(..).chain(resting).collect()
    }

    /// Who has claimed a port that clashes with one of these.
    pub(super) fn port_holder(&self, ports: &[PortMapping]) -> Option<(MachineId, PortMapping)> {
        self.claims.iter().find_map(|(machine, claim)| {
            let clashing = |port: &&PortMapping| claim.request.ports.iter().any(|taken| taken.clashes_with(port));
            ports.iter().find(clashing).map(|port| (*machine, *port))
        })
    }

    /// Moves what has rested, and says what to make and what to remove. The numbers to make are taken from here on.
    pub(super) fn plan_upkeep(&mut self, now: Instant, warm: usize, max_idle: usize) -> Upkeep {
        let mut upkeep = Upkeep::default();
        while let Some(rested) = self.resting.pop_front_if(|resting| resting.until <= now) {
            match (rested.stands, self.ready.len() < max_idle) {
                (true, true) => self.ready.push_back(rested.index),
                (true, false) => upkeep.remove.push(rested.index),
                (false, _) => _ = self.allocator.release(rested.index),
            }
        }
        for _ in self.ready.len()..warm {
            upkeep.build.extend(self.allocator.allocate());
        }
        self.in_work += upkeep.build.len() + upkeep.remove.len();
        upkeep.wake_in = self
            .resting
            .front()
            .map(|resting| resting.until.saturating_duration_since(now));
        upkeep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(5);

    #[test]
    fn makes_what_is_wanted_and_no_more_than_there_are() {
        let mut state = State::new(3);
        let upkeep = state.plan_upkeep(Instant::now(), 5, 10);
        assert_eq!(upkeep.build, [0, 1, 2]);
        assert!(state.plan_upkeep(Instant::now(), 5, 10).is_idle());
    }

    #[test]
    fn rests_before_it_is_ready_again_and_the_longest_rested_is_first() {
        let start = Instant::now();
        let mut state = State::new(8);
        for index in [0, 1] {
            assert!(state.allocator.reserve(index));
            state.rest(index, start + REST * (index + 1), true);
        }
        let early = state.plan_upkeep(start, 0, 8);
        assert!(early.is_idle() && early.wake_in == Some(REST) && state.ready_count() == 0);
        state.plan_upkeep(start + REST * 2, 0, 8);
        assert_eq!(
            (state.take_ready(), state.take_ready(), state.take_ready()),
            (Some(0), Some(1), None)
        );
    }

    #[test]
    fn removes_what_is_too_much_and_frees_bare_numbers() {
        let start = Instant::now();
        let mut state = State::new(8);
        for index in 0..3 {
            assert!(state.allocator.reserve(index));
            state.rest(index, start, index != 2);
        }
        assert_eq!(state.plan_upkeep(start, 0, 1).remove, [1]);
        assert!(state.allocator.reserve(2), "the bare number is free again");
    }
}
