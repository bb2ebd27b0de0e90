//! How many instances of a function there should be.
//!
//! Up at once: what runs and what waits needs so many instances, and those on their way count. Down slowly, by three
//! rules, each of which lets instances go by itself:
//!
//! | rule | after | down to |
//! |---|---|---|
//! | *cooldown* | `idle_ms`, [30 s](COOLDOWN_MAX_MS) at most | what was needed in that time, and not quite one instance's worth of calls more |
//! | *spare* | `idle_ms`, [5 min](SPARE_MIN_MS) at least | what was needed in that time |
//! | *idle* | `idle_ms` without any call | `min` |
//!
//! The first two leave one instance. That the first leaves room for some calls more is why load that wavers about what one
//! instance can bear neither starts nor stops any; that the spare instance which this may keep is not kept for ever is
//! why there is the second.

use crate::ScaleRule;

/// The longest that load must have been lower before instances go while others stay, in milliseconds.
pub const COOLDOWN_MAX_MS: u64 = 30_000;
/// The shortest that an instance is kept which wavering load may need again, in milliseconds.
pub const SPARE_MIN_MS: u64 = 5 * 60 * 1000;
/// When to plan anew if the node had no room for all, in milliseconds.
const ROOM_RECHECK_MS: u64 = 1000;

/// What there is of a version of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScaleFacts {
    /// Calls that run.
    pub in_flight: u32,
    /// Calls that wait for an instance.
    pub queued: u32,
    /// Instances that serve. One that only finishes its calls before it goes is not among them.
    pub ready: u32,
    /// Instances that are on their way.
    pub starting: u32,
    /// How many more instances there is room for.
    pub room: u32,
}

/// What the planner must know of its earlier plans. It returns it with each; the first time it is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScaleMemory {
    cooldown: Option<Low>,
    spare: Option<Low>,
    idle_since_ms: Option<u64>,
}

/// A time in which fewer instances were needed than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Low {
    since_ms: u64,
    /// The most that were needed in it.
    peak: u32,
}

/// What is to be done. It stays the same until the facts or the time change, so carrying it out may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScalePlan {
    /// How many instances there should be.
    pub wanted: u32,
    /// How many to start now: what is wanted beyond those that serve or are on their way, as far as there is room.
    pub start: u32,
    /// How many more would be started if there were room for them.
    pub lacking: u32,
    /// How many to let go: those with the fewest calls, which they finish first, or those on their way.
    pub stop: u32,
    /// In how many milliseconds the plan may be another though the facts are the same.
    pub recheck_after_ms: Option<u64>,
}

/// Plans how many instances there should be, and what follows from it.
///
/// To be asked whenever a call comes or ends, an instance comes or goes, and when the last plan said so. `now_ms` are
/// milliseconds of a clock that never goes back.
pub fn plan_scale(rule: ScaleRule, memory: ScaleMemory, facts: ScaleFacts, now_ms: u64) -> (ScaleMemory, ScalePlan) {
    let calls = u64::from(facts.in_flight) + u64::from(facts.queued);
    let have = facts.ready.saturating_add(facts.starting);
    let slack = u64::from(rule.concurrency.saturating_sub(1));
    let memory = ScaleMemory {
        cooldown: low(memory.cooldown, instances(rule, calls + slack).max(1), have, now_ms),
        spare: low(memory.spare, instances(rule, calls).max(1), have, now_ms),
        idle_since_ms: (calls == 0).then(|| memory.idle_since_ms.unwrap_or(now_ms)),
    };
    let allowances = memory.allowances(rule, now_ms);
    let allowances = || allowances.iter().flatten();
    let keep = allowances().filter(|it| it.in_ms == 0).map(|it| it.keep).min();
    let wanted = keep.unwrap_or(have).max(instances(rule, calls)).min(rule.max);
    let missing = wanted.saturating_sub(have);
    let to_come = allowances().filter(|it| it.in_ms > 0 && it.keep < wanted.min(have));
    let for_room = (missing > facts.room).then_some(ROOM_RECHECK_MS);
    let plan = ScalePlan {
        wanted,
        start: missing.min(facts.room),
        lacking: missing.saturating_sub(facts.room),
        stop: have.saturating_sub(wanted),
        recheck_after_ms: to_come.map(|it| it.in_ms).chain(for_room).min(),
    };
    (memory, plan)
}

/// That in so many milliseconds, should nothing change, all but so many instances may go.
struct Allowance {
    in_ms: u64,
    keep: u32,
}

impl ScaleMemory {
    fn allowances(&self, rule: ScaleRule, now_ms: u64) -> [Option<Allowance>; 3] {
        let after = |since_ms: u64, wait_ms: u64, keep| Allowance {
            in_ms: wait_ms.saturating_sub(now_ms.saturating_sub(since_ms)),
            keep,
        };
        let after_low = |wait_ms| move |low: Low| after(low.since_ms, wait_ms, low.peak);
        [
            self.cooldown.map(after_low(rule.idle_ms.min(COOLDOWN_MAX_MS))),
            self.spare.map(after_low(rule.idle_ms.max(SPARE_MIN_MS))),
            self.idle_since_ms
                .map(|since_ms| after(since_ms, rule.idle_ms, instances(rule, 0))),
        ]
    }
}

/// How many instances so many calls need, within the rule's bounds.
fn instances(rule: ScaleRule, calls: u64) -> u32 {
    let needed = calls.div_ceil(u64::from(rule.concurrency.max(1)));
    u32::try_from(needed).unwrap_or(u32::MAX).max(rule.min).min(rule.max)
}

/// The low time that goes on, begins or ends, now that `needed` of the `have` instances are needed.
///
/// It begins anew once the instances are as few as its peak: what it allowed has been done.
fn low(before: Option<Low>, needed: u32, have: u32, now_ms: u64) -> Option<Low> {
    if needed >= have {
        return None;
    }
    let goes_on = before.map(|low| Low {
        peak: low.peak.max(needed),
        ..low
    });
    let begins = Low {
        since_ms: now_ms,
        peak: needed,
    };
    Some(goes_on.filter(|low| low.peak < have).unwrap_or(begins))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: ScaleRule = ScaleRule {
        min: 0,
        max: 10,
        concurrency: 1,
        idle_ms: 60_000,
    };

    fn facts(in_flight: u32, queued: u32, ready: u32, starting: u32) -> ScaleFacts {
        ScaleFacts {
            in_flight,
            queued,
            ready,
            starting,
            room: 1000,
        }
    }

    fn first(rule: ScaleRule, facts: ScaleFacts) -> ScalePlan {
        plan_scale(rule, ScaleMemory::default(), facts, 0).1
    }

    /// A gateway and a node that do what is planned: instances take `boot_ms` to start, calls run where there is a place.
    struct World {
        rule: ScaleRule,
        memory: ScaleMemory,
        now_ms: u64,
        ready: u32,
        starting: Vec<u64>,
        room: u32,
        boot_ms: u64,
    }

    impl World {
        fn new(rule: ScaleRule) -> Self {
            Self {
                rule,
                memory: ScaleMemory::default(),
                now_ms: 1_000_000,
                ready: 0,
                starting: Vec::new(),
                room: 10_000,
                boot_ms: 700,
            }
        }

        fn facts(&self, calls: u32) -> ScaleFacts {
            let in_flight = calls.min(self.ready.saturating_mul(self.rule.concurrency));
            ScaleFacts {
                in_flight,
                queued: calls - in_flight,
                ready: self.ready,
                starting: u32::try_from(self.starting.len()).unwrap(),
                room: self.room,
            }
        }

        /// Lets time pass, plans, and does it.
        fn step(&mut self, calls: u32, step_ms: u64) -> ScalePlan {
            self.now_ms += step_ms;
            let up = self.starting.iter().filter(|at| **at <= self.now_ms).count();
            self.starting.retain(|at| *at > self.now_ms);
            self.ready += u32::try_from(up).unwrap();
            let (memory, plan) = plan_scale(self.rule, self.memory, self.facts(calls), self.now_ms);
            self.memory = memory;
            for _ in 0..plan.start {
                self.starting.push(self.now_ms + self.boot_ms);
            }
            self.room -= plan.start;
            let from_ready = plan.stop.min(self.ready);
            self.ready -= from_ready;
            self.starting
                .truncate(self.starting.len() - (plan.stop - from_ready) as usize);
            self.room += plan.stop;
            plan
        }

        fn have(&self) -> u32 {
            self.ready + u32::try_from(self.starting.len()).unwrap()
        }
    }

    #[test]
    fn what_waits_is_started_at_once_and_only_once() {
        assert_eq!(first(RULE, facts(0, 3, 0, 0)).start, 3);
        assert_eq!(first(RULE, facts(0, 3, 0, 2)).start, 1);
        assert_eq!(first(RULE, facts(2, 3, 2, 3)).start, 0);
        let shared = ScaleRule { concurrency: 4, ..RULE };
        assert_eq!(first(shared, facts(4, 1, 1, 0)).start, 1);
        assert_eq!(first(shared, facts(0, 1000, 0, 0)).start, 10, "never more than max");
    }

    #[test]
    fn no_more_are_started_than_there_is_room_for() {
        let full = ScaleFacts {
            room: 1,
            ..facts(0, 3, 0, 0)
        };
        let plan = first(RULE, full);
        assert_eq!((plan.wanted, plan.start, plan.lacking), (3, 1, 2));
        assert_eq!(plan.recheck_after_ms, Some(ROOM_RECHECK_MS));
    }

    #[test]
    fn fewer_calls_let_instances_go_after_the_cooldown_but_for_one() {
        let mut world = World::new(RULE);
        world.step(5, 0);
        world.step(5, 1000);
        assert_eq!(world.step(2, 1000).recheck_after_ms, Some(COOLDOWN_MAX_MS));
        assert_eq!(world.step(2, COOLDOWN_MAX_MS - 1).stop, 0);
        assert_eq!(world.step(2, 1).stop, 3);
        assert_eq!(world.have(), 2);
    }

    #[test]
    fn the_peak_of_the_cooldown_stays() {
        let mut world = World::new(RULE);
        world.step(5, 0);
        world.step(1, 1000);
        world.step(4, 10_000);
        assert_eq!(world.step(1, 20_000).stop, 1);
        assert_eq!(world.step(1, 0).wanted, 4);
        assert_eq!(world.step(1, COOLDOWN_MAX_MS - 1).wanted, 4);
        assert_eq!(world.step(1, 1).wanted, 1);
    }

    #[test]
    fn a_spare_instance_goes_in_the_end() {
        let mut world = World::new(ScaleRule {
            concurrency: 10,
            ..RULE
        });
        world.step(11, 0);
        assert_eq!(world.step(5, 1000).wanted, 2);
        assert_eq!(world.step(5, COOLDOWN_MAX_MS).wanted, 2);
        assert_eq!(world.step(5, SPARE_MIN_MS - COOLDOWN_MAX_MS).wanted, 1);
    }

    #[test]
    fn the_last_goes_after_the_idle_time() {
        let mut world = World::new(RULE);
        world.step(1, 0);
        world.step(1, 1000);
        assert_eq!(world.step(0, 1000).recheck_after_ms, Some(RULE.idle_ms));
        assert_eq!(world.step(0, RULE.idle_ms - 1).recheck_after_ms, Some(1));
        let plan = world.step(0, 1);
        assert_eq!((plan.wanted, plan.stop, plan.recheck_after_ms), (0, 1, None));
    }

    #[test]
    fn a_call_begins_the_idle_time_anew() {
        let mut world = World::new(RULE);
        world.step(1, 0);
        for _ in 0..5 {
            assert_eq!(world.step(0, 1000).stop, 0);
            assert_eq!(world.step(0, RULE.idle_ms - 1).stop, 0);
            assert_eq!(world.step(1, 1).stop, 0);
        }
    }

    #[test]
    fn instances_found_without_a_memory_have_their_time() {
        let mut world = World::new(RULE);
        world.ready = 3;
        assert_eq!(world.step(0, 0).stop, 0);
        assert_eq!(world.step(0, COOLDOWN_MAX_MS).stop, 2);
        assert_eq!(world.step(0, RULE.idle_ms - COOLDOWN_MAX_MS).stop, 1);
    }

    #[test]
    fn a_plan_that_was_not_carried_out_stays() {
        let before = ScaleMemory::default();
        let (memory, _) = plan_scale(RULE, before, facts(1, 0, 4, 0), 0);
        let (memory, plan) = plan_scale(RULE, memory, facts(1, 0, 4, 0), COOLDOWN_MAX_MS);
        assert_eq!(plan.stop, 3);
        assert_eq!(
            plan_scale(RULE, memory, facts(1, 0, 4, 0), COOLDOWN_MAX_MS + 1).1.stop,
            3
        );
    }

    #[test]
    fn a_smaller_maximum_lets_go_at_once() {
        assert_eq!(first(RULE, facts(12, 5, 12, 3)).stop, 5);
    }

    prop_compose! {
        fn rules()(max in 1_u32..40)(
            min in 0..=max,
            max in Just(max),
            concurrency in prop_oneof![Just(1_u32), 1_u32..20],
            idle_ms in prop_oneof![Just(0_u64), 0_u64..120_000, 0_u64..1_000_000],
        ) -> ScaleRule {
            ScaleRule { min, max, concurrency, idle_ms }
        }
    }

    /// So long that whatever goes has gone.
    fn settled_ms(rule: ScaleRule) -> u64 {
        3 * rule.idle_ms.max(SPARE_MIN_MS) + 10_000
    }

    proptest! {
        #[test]
        fn it_keeps_its_bounds(
            rule in rules(),
            all in proptest::collection::vec(
                (any::<[u16; 4]>(), prop_oneof![0_u32..4, any::<u32>()], 0_u64..200_000), 1..60),
        ) {
            let (mut memory, mut now_ms) = (ScaleMemory::default(), 0);
            for ([in_flight, queued, ready, starting], room, pause_ms) in all {
                now_ms += pause_ms;
                let facts = ScaleFacts {
                    in_flight: u32::from(in_flight) % 512,
                    queued: u32::from(queued) % 512,
                    ready: u32::from(ready) % 64,
                    starting: u32::from(starting) % 64,
                    room,
                };
                let again = plan_scale(rule, memory, facts, now_ms);
                let plan;
                (memory, plan) = plan_scale(rule, memory, facts, now_ms);
                prop_assert_eq!((memory, plan), again, "deterministic");
                let have = facts.ready + facts.starting;
                let calls = u64::from(facts.in_flight + facts.queued);
                prop_assert!((rule.min..=rule.max).contains(&plan.wanted));
                prop_assert!(plan.start <= room && (plan.start == 0 || plan.stop == 0));
                prop_assert_eq!(plan.start, plan.wanted.saturating_sub(have).min(room));
                prop_assert_eq!(plan.start + plan.lacking, plan.wanted.saturating_sub(have));
                prop_assert!(plan.lacking == 0 || plan.recheck_after_ms.is_some_and(|ms| ms <= ROOM_RECHECK_MS));
                prop_assert_eq!(plan.stop, have.saturating_sub(plan.wanted));
                prop_assert!(plan.wanted <= have || plan.wanted == instances(rule, calls), "no more than is needed");
                prop_assert!(u64::from(plan.wanted) * u64::from(rule.concurrency) >= calls || plan.wanted == rule.max);
                prop_assert_ne!(plan.recheck_after_ms, Some(0));
            }
        }

        #[test]
        fn more_calls_never_mean_fewer_instances(
            rule in rules(),
            past in proptest::collection::vec((0_u32..200, 0_u64..100_000), 0..20),
            calls in 0_u32..200,
            more in 0_u32..200,
            pause_ms in 0_u64..1_000_000,
        ) {
            let mut world = World::new(rule);
            for (calls, pause_ms) in past {
                world.step(calls, pause_ms);
            }
            let now_ms = world.now_ms + pause_ms;
            let wanted = |calls| plan_scale(rule, world.memory, world.facts(calls), now_ms).1.wanted;
            prop_assert!(wanted(calls) <= wanted(calls + more));
        }

        #[test]
        fn steady_load_neither_starts_nor_stops(
            rule in rules(),
            before in 0_u32..400,
            base in 1_u32..400,
            wavering in proptest::collection::vec(any::<u32>(), 1..60),
        ) {
            let mut world = World::new(rule);
            world.step(before, 0);
            let mut steps = wavering.iter().cycle().map(|w| base + w % rule.concurrency);
            let until_ms = world.now_ms + settled_ms(rule);
            while world.now_ms < until_ms {
                world.step(steps.next().unwrap(), 1000);
            }
            let until_ms = world.now_ms + settled_ms(rule);
            while world.now_ms < until_ms {
                let plan = world.step(steps.next().unwrap(), 1000);
                prop_assert_eq!((plan.start, plan.stop), (0, 0), "at {} with {:?}", world.now_ms, plan);
            }
        }

        /// Following nothing but the times that the plans name.
        #[test]
        fn without_calls_it_comes_down_to_the_minimum_in_the_idle_time(rule in rules(), calls in 0_u32..400) {
            let mut world = World::new(rule);
            world.step(calls, 0);
            world.step(calls, 1000);
            let mut plan = world.step(0, 0);
            let quiet_since_ms = world.now_ms;
            for _ in 0..10 {
                let Some(recheck_ms) = plan.recheck_after_ms else { break };
                prop_assert!(recheck_ms > 0);
                plan = world.step(0, recheck_ms);
            }
            prop_assert_eq!(plan.recheck_after_ms, None);
            prop_assert_eq!(world.have(), rule.min);
            prop_assert!(world.now_ms - quiet_since_ms <= rule.idle_ms);
        }

        #[test]
        fn whoever_waits_gets_a_place(
            rule in rules(),
            past in proptest::collection::vec((0_u32..400, 0_u64..100_000), 0..20),
            calls in 0_u32..400,
            room in 0_u32..3,
        ) {
            let mut world = World::new(rule);
            for (calls, pause_ms) in past {
                world.step(calls, pause_ms);
            }
            world.room = room;
            for _ in 0..200 {
                world.room += 1; // others leave the node
                world.step(calls, 1000);
            }
            let queued = world.facts(calls).queued;
            prop_assert!(queued == 0 || world.ready == rule.max, "{queued} wait with {} instances", world.ready);
            prop_assert!(world.ready >= rule.min);
        }
    }
}
