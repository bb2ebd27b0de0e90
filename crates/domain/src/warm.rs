//! Machines that wait restored and paused: how many of each template are to, and which. Pure.
//!
//! A template has as many as were wanted within a second lately, so that the next such crowd finds one each; and none once
//! nobody wanted one for a while. Where not all fit the memory that there is for them, each template gets one before any gets
//! its second, those that are wanted most first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// The crowd of this time is what is prepared for.
const BURST: Duration = Duration::from_secs(1);
/// For so long a crowd is remembered.
const MEMORY: Duration = Duration::from_mins(10);
/// No template has more waiting.
const WAITING_MAX: u32 = 16;

/// When instances of one template were wanted lately.
#[derive(Debug, Clone, Default)]
struct Demand(VecDeque<Wanted>);

/// Instances that were wanted within one [`BURST`].
#[derive(Debug, Clone, Copy)]
struct Wanted {
    from: Duration,
    count: u32,
}

impl Demand {
    /// One was wanted at `now`, a time that never goes back.
    fn note(&mut self, now: Duration) {
        self.forget(now);
        match self.0.back_mut() {
            Some(last) if now.saturating_sub(last.from) < BURST => last.count = last.count.saturating_add(1),
            _ => self.0.push_back(Wanted { from: now, count: 1 }),
        }
    }

    /// How many should wait at `now`: the largest crowd that is remembered.
    fn wanted(&mut self, now: Duration) -> u32 {
        self.forget(now);
        let most = self.0.iter().map(|wanted| wanted.count).max();
        most.unwrap_or(0).min(WAITING_MAX)
    }

    fn forget(&mut self, now: Duration) {
        while self
            .0
            .front()
            .is_some_and(|first| now.saturating_sub(first.from) > MEMORY)
        {
            self.0.pop_front();
        }
    }
}

/// For so long nothing waits once somebody found no room, and no other is made after one that could not be.
const PRESSURE: Duration = Duration::from_secs(30);

/// Those that wait, by what they are made of, and what is known of who will want them. Times never go back.
///
/// One that waits is in here or with whoever took it out: nobody has it twice.
#[derive(Debug)]
pub struct WarmPool<K, T> {
    waiting: BTreeMap<K, Vec<T>>,
    wanted: BTreeMap<K, (Demand, u64)>,
    /// Until when nothing is to wait.
    pressed_until: Option<Duration>,
    /// When another one may be made.
    not_before: BTreeMap<K, Duration>,
}

impl<K, T> Default for WarmPool<K, T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            wanted: BTreeMap::new(),
            pressed_until: None,
            not_before: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy, T> WarmPool<K, T> {
    /// One of so much memory, in MiB, is wanted.
    pub fn note_wanted(&mut self, key: K, memory_mib: u64, now: Duration) {
        let (demand, memory) = self.wanted.entry(key).or_default();
        demand.note(now);
        *memory = memory_mib;
    }

    /// Takes one out that waits.
    pub fn take(&mut self, key: K) -> Option<T> {
        self.waiting.get_mut(&key)?.pop()
    }

    /// One waits from now on.
    pub fn put(&mut self, key: K, one: T) {
        self.waiting.entry(key).or_default().push(one);
    }

    /// Takes all out, for somebody found no room.
    pub fn make_room(&mut self, now: Duration) -> Vec<T> {
        self.pressed_until = Some(now + PRESSURE);
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// One could not be made: the next is not tried at once.
    pub fn hold_off(&mut self, key: K, now: Duration) {
        self.not_before.insert(key, now + PRESSURE);
    }

    /// Takes out all of what is no more.
    pub fn forget(&mut self, key: K) -> Vec<T> {
        self.wanted.remove(&key);
        self.waiting.remove(&key).unwrap_or_default()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Memory of all that wait, in MiB.
    pub fn memory_mib(&self) -> u64 {
        let of = |(key, there): (&K, &Vec<T>)| self.wanted.get(key).map_or(0, |(_, mib)| mib * there.len() as u64);
        self.waiting.iter().map(of).sum()
    }

    /// What to do so that as many wait within the budget as should: of what to make one more, and who is to go. `gone` says who
    /// is of no use any more.
    pub fn look(
        &mut self,
        budget_mib: u64,
        now: Duration,
        mut gone: impl FnMut(&K, &T) -> bool,
    ) -> (Option<K>, Vec<T>) {
        let mut leaving = Vec::new();
        for (key, there) in &mut self.waiting {
            leaving.extend(there.extract_if(.., |one| gone(key, one)));
        }
        let pressed = self.pressed_until.is_some_and(|until| now < until);
        self.not_before.retain(|_, from| now < *from);
        self.wanted.retain(|_, (demand, _)| demand.wanted(now) > 0);
        let mut keys: Vec<K> = self.wanted.keys().chain(self.waiting.keys()).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let wish = |key: &K| {
            let (wanted, memory_mib) = self
                .wanted
                .get_mut(key)
                .map_or((0, 0), |(demand, mib)| (demand.wanted(now), *mib));
            WarmWish { wanted, memory_mib }
        };
        let wishes: Vec<WarmWish> = keys.iter().map(wish).collect();
        let plan = plan_warm(&wishes, if pressed { 0 } else { budget_mib });
        let mut missing = None;
        for (key, count) in keys.into_iter().zip(plan) {
            let there = self.waiting.entry(key).or_default();
            if let Some(more) = there.len().checked_sub(count as usize) {
                leaving.extend(there.drain(..more));
            } else if missing.is_none() && !self.not_before.contains_key(&key) {
                missing = Some(key);
            }
        }
        self.waiting.retain(|_, there| !there.is_empty());
        (missing, leaving)
    }
}

/// What a template would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WarmWish {
    /// How many should wait.
    wanted: u32,
    /// Memory of each, in MiB.
    memory_mib: u64,
}

/// How many of each template may wait within `budget_mib`, in the order of the wishes.
fn plan_warm(wishes: &[WarmWish], budget_mib: u64) -> Vec<u32> {
    let mut granted = vec![0; wishes.len()];
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|&index| Reverse(wishes[index].wanted));
    let (mut left_mib, mut grew) = (budget_mib, true);
    while grew {
        grew = false;
        for &index in &order {
            let wish = wishes[index];
            if granted[index] < wish.wanted.min(WAITING_MAX) && wish.memory_mib <= left_mib {
                granted[index] += 1;
                left_mib -= wish.memory_mib;
                grew = true;
            }
        }
    }
    granted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_largest_crowd_of_late_is_prepared_for() {
        let mut demand = Demand::default();
        assert_eq!(demand.wanted(at(0)), 0);
        for _ in 0..3 {
            demand.note(at(5));
        }
        demand.note(at(7));
        assert_eq!(demand.wanted(at(8)), 3);
        assert_eq!(demand.wanted(at(606)), 1);
        assert_eq!(demand.wanted(at(608)), 0);
        for _ in 0..1000 {
            demand.note(at(700));
        }
        assert_eq!(demand.wanted(at(700)), WAITING_MAX);
    }

    #[test]
    fn each_has_one_before_any_has_two() {
        let wish = |wanted, memory_mib| WarmWish { wanted, memory_mib };
        let wishes = [wish(1, 100), wish(5, 100), wish(2, 100)];
        assert_eq!(plan_warm(&wishes, 0), [0, 0, 0]);
        assert_eq!(plan_warm(&wishes, 100), [0, 1, 0]);
        assert_eq!(plan_warm(&wishes, 350), [1, 1, 1]);
        assert_eq!(plan_warm(&wishes, 400), [1, 2, 1]);
        assert_eq!(plan_warm(&wishes, 1 << 20), [1, 5, 2]);
        // One that does not fit keeps nobody else out.
        assert_eq!(plan_warm(&[wish(2, 1000), wish(1, 10)], 500), [0, 1]);
        // What costs nothing ends as well.
        assert_eq!(plan_warm(&[wish(u32::MAX, 0)], 0), [WAITING_MAX]);
    }

    #[test]
    fn a_pool_follows_what_is_wanted() {
        let mut pool: WarmPool<char, u32> = WarmPool::default();
        let stays = |_: &char, _: &u32| false;
        assert_eq!(pool.look(1000, at(0), stays), (None, vec![]));
        pool.note_wanted('a', 100, at(0));
        pool.note_wanted('a', 100, at(0));
        assert_eq!(pool.look(99, at(1), stays), (None, vec![]), "there is no room for one");
        for one in [1, 2] {
            assert_eq!(pool.look(1000, at(1), stays), (Some('a'), vec![]));
            pool.put('a', one);
        }
        assert_eq!(pool.look(1000, at(1), stays), (None, vec![]));
        assert_eq!((pool.waiting(), pool.memory_mib()), (2, 200));
        assert_eq!((pool.take('a'), pool.take('b')), (Some(2), None));
        assert_eq!(pool.look(1000, at(2), stays).0, Some('a'));
        pool.hold_off('a', at(2));
        assert_eq!(pool.look(1000, at(31), stays).0, None);
        assert_eq!(pool.look(1000, at(32), stays).0, Some('a'));
        assert_eq!(
            pool.look(1000, at(32), |_, one| *one == 1),
            (Some('a'), vec![1]),
            "it ended by itself"
        );
        pool.put('a', 3);
        assert_eq!(pool.make_room(at(40)), [3]);
        assert_eq!(pool.look(1000, at(69), stays).0, None);
        assert_eq!(pool.look(1000, at(70), stays).0, Some('a'));
        pool.put('a', 4);
        assert_eq!(
            pool.look(1000, at(601), stays),
            (None, vec![4]),
            "nobody wants one any more"
        );
        pool.note_wanted('a', 100, at(602));
        pool.put('a', 5);
        assert_eq!(pool.forget('a'), [5]);
        assert_eq!(pool.look(1000, at(602), stays), (None, vec![]));
    }

    proptest! {
        #[test]
        fn nobody_has_one_twice_and_none_is_lost(
            steps in prop::collection::vec((0u8..6, 0u8..3, 0u64..4), 0..200),
            budget_mib in 0u64..3000,
        ) {
            let mut pool: WarmPool<u8, u32> = WarmPool::default();
            let (mut made, mut now) = (0u32, Duration::ZERO);
            let mut left = std::collections::BTreeSet::new();
            for (step, key, seconds) in steps {
                now += at(seconds);
                let out = match step {
                    0 => { pool.note_wanted(key, 100, now); vec![] }
                    1 => pool.take(key).into_iter().collect(),
                    2 => pool.make_room(now),
                    3 => pool.forget(key),
                    _ => {
                        let (missing, leaving) = pool.look(budget_mib, now, |_, one| *one % 7 == 3);
                        if let Some(key) = missing {
                            pool.put(key, made);
                            made += 1;
                            prop_assert!(pool.memory_mib() <= budget_mib.max(100));
                        }
                        leaving
                    }
                };
                for one in out {
                    prop_assert!(left.insert(one), "{one} was given out twice");
                }
            }
            left.extend(pool.make_room(now));
            prop_assert_eq!(left.len(), made as usize);
        }

        #[test]
        fn a_plan_keeps_to_its_budget_and_wastes_none(
            wishes in prop::collection::vec((0u32..20, 1u64..2000), 0..12),
            budget_mib in 0u64..20_000,
        ) {
            let wishes: Vec<WarmWish> = wishes
                .into_iter()
                .map(|(wanted, memory_mib)| WarmWish { wanted, memory_mib })
                .collect();
            let plan = plan_warm(&wishes, budget_mib);
            let used: u64 = plan.iter().zip(&wishes).map(|(count, wish)| u64::from(*count) * wish.memory_mib).sum();
            prop_assert!(used <= budget_mib);
            for (count, wish) in plan.iter().zip(&wishes) {
                let most = wish.wanted.min(WAITING_MAX);
                prop_assert!(*count <= most);
                // Whoever wants more would not fit.
                prop_assert!(*count == most || used + wish.memory_mib > budget_mib);
            }
            let more = plan_warm(&wishes, budget_mib + 2000 * 12 * 16);
            prop_assert!(more.iter().zip(&wishes).all(|(count, wish)| *count == wish.wanted.min(WAITING_MAX)));
        }
    }
}
