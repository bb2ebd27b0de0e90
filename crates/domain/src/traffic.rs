//! Which version of a function a call goes to.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Versions among which calls may be shared out at most.
pub const TRAFFIC_MAX: usize = 8;

/// How calls are shared out among versions, in whole percent. The shares make 100.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<TrafficShare>", into = "Vec<TrafficShare>")]
pub struct Traffic(Vec<TrafficShare>);

/// One version's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficShare {
    /// The version's number, from 1.
    pub version: u32,
    /// How much of the calls it is given, in percent. With 0 it is named and not called.
    pub percent: u8,
}

/// Shares that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidTraffic {
    /// None or too many.
    #[error("traffic names {0} versions: name 1 to {TRAFFIC_MAX}")]
    Count(usize),
    /// Named twice.
    #[error("traffic names version {0} twice: name each version once")]
    Twice(u32),
    /// No version has that number.
    #[error("traffic names version 0: versions count from 1")]
    NoVersion,
    /// Not the whole.
    #[error("the shares of traffic make {0} %: they must make 100 %")]
    Sum(u32),
}

impl Traffic {
    /// All calls to one version.
    pub fn all_to(version: u32) -> Self {
        Self(vec![TrafficShare { version, percent: 100 }])
    }

    /// Checks the shares.
    pub fn new(shares: Vec<TrafficShare>) -> Result<Self, InvalidTraffic> {
        if !(1..=TRAFFIC_MAX).contains(&shares.len()) {
            return Err(InvalidTraffic::Count(shares.len()));
        }
        for (index, share) in shares.iter().enumerate() {
            if share.version == 0 {
                return Err(InvalidTraffic::NoVersion);
            }
            if shares[..index].iter().any(|before| before.version == share.version) {
                return Err(InvalidTraffic::Twice(share.version));
            }
        }
        let sum = shares.iter().map(|share| u32::from(share.percent)).sum();
        if sum != 100 {
            return Err(InvalidTraffic::Sum(sum));
        }
        Ok(Self(shares))
    }

    /// The shares, as they were given.
    pub fn shares(&self) -> &[TrafficShare] {
        &self.0
    }

    /// The version of one call. `random` is any number, each as likely as the others.
    pub fn pick(&self, random: u64) -> u32 {
        // The high half of the product shares 2^64 numbers out to 100 places as evenly as can be.
        let place = u64::try_from((u128::from(random) * 100) >> 64).unwrap_or(99);
        let mut end = 0;
        let mut last = 0;
        for share in self.0.iter().filter(|share| share.percent > 0) {
            end += u64::from(share.percent);
            last = share.version;
            if place < end {
                break;
            }
        }
        last
    }
}

impl TryFrom<Vec<TrafficShare>> for Traffic {
    type Error = InvalidTraffic;

    fn try_from(shares: Vec<TrafficShare>) -> Result<Self, InvalidTraffic> {
        Self::new(shares)
    }
}

impl From<Traffic> for Vec<TrafficShare> {
    fn from(traffic: Traffic) -> Self {
        traffic.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(of: &[(u32, u8)]) -> Vec<TrafficShare> {
        let share = |&(version, percent)| TrafficShare { version, percent };
        of.iter().map(share).collect()
    }

    #[test]
    fn shares_that_cannot_be_are_refused() {
        let refused = |of: &[(u32, u8)]| Traffic::new(shares(of)).unwrap_err();
        assert_eq!(refused(&[]), InvalidTraffic::Count(0));
        assert_eq!(
            refused(&[
                (1, 10),
                (2, 10),
                (3, 10),
                (4, 10),
                (5, 10),
                (6, 10),
                (7, 10),
                (8, 10),
                (9, 20)
            ]),
            InvalidTraffic::Count(9)
        );
        assert_eq!(refused(&[(1, 50), (2, 0), (1, 50)]), InvalidTraffic::Twice(1));
        assert_eq!(refused(&[(0, 100)]), InvalidTraffic::NoVersion);
        assert_eq!(refused(&[(1, 50), (2, 49)]), InvalidTraffic::Sum(99));
        assert_eq!(refused(&[(1, 255), (2, 101)]), InvalidTraffic::Sum(356));
    }

    #[test]
    fn what_is_read_is_checked() {
        let text = r#"[{"version":3,"percent":90},{"version":4,"percent":10}]"#;
        let traffic: Traffic = serde_json::from_str(text).unwrap();
        assert_eq!(traffic.shares(), shares(&[(3, 90), (4, 10)]));
        assert_eq!(serde_json::to_string(&traffic).unwrap(), text);
        assert!(serde_json::from_str::<Traffic>(r#"[{"version":3,"percent":90}]"#).is_err());
    }

    #[test]
    fn the_ends_of_chance_are_the_first_and_the_last_that_are_called() {
        let traffic = Traffic::new(shares(&[(1, 0), (2, 1), (3, 99), (4, 0)])).unwrap();
        assert_eq!((traffic.pick(0), traffic.pick(u64::MAX)), (2, 3));
        assert_eq!(Traffic::all_to(7).pick(u64::MAX / 3), 7);
    }

    prop_compose! {
        /// One to eight shares that make 100, some of them nothing.
        fn traffics()(mut cuts in proptest::collection::vec(prop_oneof![Just(0_u8), 0_u8..=100, Just(100)], 0..TRAFFIC_MAX))
            -> Traffic {
            cuts.sort_unstable();
            cuts.push(100);
            let mut before = 0;
            let shares = (1..).zip(cuts).map(|(version, cut)| {
                let percent = cut - before;
                before = cut;
                TrafficShare { version, percent }
            });
            Traffic::new(shares.collect()).unwrap()
        }
    }

    proptest! {
        #[test]
        fn each_has_its_share_and_none_is_called_without(traffic in traffics()) {
            let rounds: u64 = 10_000;
            let mut calls = [0_u64; TRAFFIC_MAX + 1];
            for round in 0..rounds {
                calls[traffic.pick(u64::MAX / rounds * round) as usize] += 1;
            }
            for share in traffic.shares() {
                let wanted = u64::from(share.percent) * rounds / 100;
                let got = calls[share.version as usize];
                prop_assert!(got.abs_diff(wanted) <= 2, "{share:?} got {got} of {rounds}");
                prop_assert!(share.percent > 0 || got == 0);
            }
        }

        #[test]
        fn only_those_with_a_share_are_called(traffic in traffics(), random in any::<u64>()) {
            let picked = traffic.pick(random);
            prop_assert!(traffic.shares().iter().any(|share| share.version == picked && share.percent > 0));
        }
    }
}
