//! What a node has, what its machines hold, and whether one more fits.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{DiskMib, Resources};

/// What a node has, before overcommit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// CPUs, in thousandths: a cgroup may grant half a core.
    pub cpu_millis: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// How many times what it has a node may give out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overcommit {
    /// Virtual CPUs for each CPU.
    pub cpu: f64,
    /// Guest memory for each byte of memory.
    pub memory: f64,
    /// Bytes of machines' own disks for each byte that is free where they lie.
    #[serde(default = "once")]
    pub disk: f64,
}

fn once() -> f64 {
    1.0
}

/// The file system that machines' own disks lie on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskRoom {
    /// Free now, in MiB.
    pub free_mib: u64,
    /// What the disks that there are may still come to take, in MiB: they are sparse.
    pub promised_mib: u64,
}

impl Default for Overcommit {
    /// CPUs are shared in time, so many vCPUs fit on one; memory that runs out kills, and a disk that cannot grow
    /// breaks what is on it, so these are given out once.
    fn default() -> Self {
        Self {
            cpu: 16.0,
            memory: 1.0,
            disk: once(),
        }
    }
}

/// What machines hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Allocation {
    /// What is held with one machine more.
    #[must_use]
    pub fn plus(self, resources: &Resources) -> Self {
        Self {
            vcpus: self.vcpus + u64::from(resources.vcpus.get()),
            memory_mib: self.memory_mib + u64::from(resources.memory_mib.get()),
        }
    }

    /// What is held with one machine less.
    #[must_use]
    pub fn minus(self, resources: &Resources) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(resources.vcpus.get().into()),
            memory_mib: self.memory_mib.saturating_sub(resources.memory_mib.get().into()),
        }
    }
}

/// Why a machine does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Too many vCPUs.
    #[error(
        "the machine wants {wanted} vCPUs but the node has {free} free of {total}; stop a machine, ask for fewer, or raise the CPU overcommit"
    )]
    Cpu {
        /// Wanted.
        wanted: u64,
        /// Free now.
        free: u64,
        /// All that may be given out.
        total: u64,
    },
    /// Too much memory.
    #[error(
        "the machine wants {wanted} MiB of memory but the node has {free} MiB free of {total} MiB; stop a machine, ask for less, or raise the memory overcommit"
    )]
    Memory {
        /// Wanted, in MiB.
        wanted: u64,
        /// Free now, in MiB.
        free: u64,
        /// All that may be given out, in MiB.
        total: u64,
    },
    /// Too large a disk.
    #[error(
        "the machine wants a disk of {wanted} MiB but its file system has {free} MiB free, of which other machines' disks may come to take {promised} MiB; ask for less, remove machines or images, or raise the disk overcommit"
    )]
    Disk {
        /// Wanted, in MiB.
        wanted: u64,
        /// Free now, in MiB.
        free: u64,
        /// Promised to others already, in MiB.
        promised: u64,
    },
}

impl Capacity {
    /// What may be given out.
    pub fn total(&self, overcommit: Overcommit) -> Allocation {
        Allocation {
            vcpus: times(self.cpu_millis, overcommit.cpu) / 1000,
            memory_mib: times(self.memory_mib, overcommit.memory),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float cast saturates, and capacities are far below 2^53"
)]
fn times(amount: u64, ratio: f64) -> u64 {
    (amount as f64 * ratio.max(0.0)) as u64
}

/// Whether a disk more may be promised. A sparse disk takes its place when it is written to, long after it was made:
/// so what counts is what all of them may still come to take.
pub fn admit_disk(room: DiskRoom, overcommit: Overcommit, wanted: DiskMib) -> Result<(), Refusal> {
    let wanted = u64::from(wanted.get());
    if room.promised_mib.saturating_add(wanted) <= times(room.free_mib, overcommit.disk) {
        return Ok(());
    }
    Err(Refusal::Disk {
        wanted,
        free: room.free_mib,
        promised: room.promised_mib,
    })
}

/// The allocation after a machine of `wanted` resources came, or why it cannot.
pub fn admit(
    capacity: &Capacity,
    overcommit: Overcommit,
    held: Allocation,
    wanted: &Resources,
) -> Result<Allocation, Refusal> {
    let total = capacity.total(overcommit);
    let after = held.plus(wanted);
    if after.vcpus > total.vcpus {
        return Err(Refusal::Cpu {
            wanted: wanted.vcpus.get().into(),
            free: total.vcpus.saturating_sub(held.vcpus),
            total: total.vcpus,
        });
    }
    if after.memory_mib > total.memory_mib {
        return Err(Refusal::Memory {
            wanted: wanted.memory_mib.get().into(),
            free: total.memory_mib.saturating_sub(held.memory_mib),
            total: total.memory_mib,
        });
    }
    Ok(after)
}

/// How many more machines of one size [`admit`] would let in, one after another.
pub fn room_for(capacity: &Capacity, overcommit: Overcommit, held: Allocation, each: Allocation) -> u32 {
    let total = capacity.total(overcommit);
    let fit = |total: u64, held: u64, each: u64| total.saturating_sub(held).checked_div(each);
    let by_cpu = fit(total.vcpus, held.vcpus, each.vcpus);
    let by_memory = fit(total.memory_mib, held.memory_mib, each.memory_mib);
    // What takes nothing is bounded by nothing.
    let fewest = [by_cpu, by_memory].into_iter().flatten().min().unwrap_or(u64::MAX);
    u32::try_from(fewest).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resources(vcpus: u64, memory_mib: u64) -> Resources {
        Resources {
            vcpus: vcpus.try_into().unwrap(),
            memory_mib: memory_mib.try_into().unwrap(),
            disk_mib: None,
        }
    }

    proptest! {
        #[test]
        fn what_is_held_never_passes_what_may_be_given(
            cpu_millis in 0_u64..64_000,
            memory_mib in 0_u64..65_536,
            ratio in 0.5_f64..8.0,
            wants in proptest::collection::vec((1_u64..=32, 16_u64..8192), 0..60),
        ) {
            let capacity = Capacity { cpu_millis, memory_mib };
            let overcommit = Overcommit { cpu: ratio, memory: ratio, disk: 1.0 };
            let total = capacity.total(overcommit);
            let mut held = Allocation::default();
            let mut inside = Vec::new();
            for (vcpus, memory) in wants {
                let wanted = resources(vcpus, memory);
                if let Ok(after) = admit(&capacity, overcommit, held, &wanted) {
                    held = after;
                    inside.push(wanted);
                }
                prop_assert!(held.vcpus <= total.vcpus && held.memory_mib <= total.memory_mib);
            }
            for machine in inside {
                held = held.minus(&machine);
            }
            prop_assert_eq!(held, Allocation::default());
        }
    }

    proptest! {
        #[test]
        fn there_is_room_for_as_many_as_are_admitted(
            cpu_millis in 0_u64..64_000,
            memory_mib in 0_u64..65_536,
            ratio in 0.5_f64..8.0,
            held in (0_u64..300, 0_u64..100_000),
            each in (1_u64..=32, 16_u64..8192),
        ) {
            let capacity = Capacity { cpu_millis, memory_mib };
            let overcommit = Overcommit { cpu: ratio, memory: ratio, disk: 1.0 };
            let held = Allocation { vcpus: held.0, memory_mib: held.1 };
            let machine = resources(each.0, each.1);
            let each = Allocation::default().plus(&machine);
            let mut after = held;
            let mut admitted = 0;
            while let Ok(more) = admit(&capacity, overcommit, after, &machine) {
                after = more;
                admitted += 1;
            }
            prop_assert_eq!(room_for(&capacity, overcommit, held, each), admitted);
        }
    }

    #[test]
    fn disks_are_promised_once_unless_told_otherwise() {
        let room = DiskRoom {
            free_mib: 1000,
            promised_mib: 600,
        };
        let disk = |mib: u64| mib.try_into().unwrap();
        let twice = Overcommit {
            disk: 2.0,
            ..Overcommit::default()
        };
        assert_eq!(admit_disk(room, Overcommit::default(), disk(400)), Ok(()));
        assert_eq!(admit_disk(room, twice, disk(1400)), Ok(()));
        let refused = admit_disk(room, Overcommit::default(), disk(401)).unwrap_err();
        assert_eq!(
            refused,
            Refusal::Disk {
                wanted: 401,
                free: 1000,
                promised: 600
            }
        );
        assert!(refused.to_string().contains("1000 MiB free"));
    }

    #[test]
    fn refusal_says_what_is_free() {
        let capacity = Capacity {
            cpu_millis: 2000,
            memory_mib: 1024,
        };
        let held = Allocation {
            vcpus: 1,
            memory_mib: 1000,
        };
        let refused = admit(&capacity, Overcommit::default(), held, &resources(1, 512)).unwrap_err();
        assert_eq!(
            refused,
            Refusal::Memory {
                wanted: 512,
                free: 24,
                total: 1024
            }
        );
    }
}
