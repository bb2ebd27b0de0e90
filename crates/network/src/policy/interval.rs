//! Networks as intervals that are apart from each other, as the kernel's sets want them.

use ipnet::IpNet;

use crate::nft::Interval;

/// The networks of one family, in order, with those that overlap or touch made one.
pub(super) fn intervals(nets: &[IpNet], is_v4: bool) -> Vec<Interval> {
    let mut ranges: Vec<(u128, u128)> = nets
        .iter()
        .filter(|net| net.addr().is_ipv4() == is_v4)
        .map(ends)
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    let highest = if is_v4 { u128::from(u32::MAX) } else { u128::MAX };
    merged
        .into_iter()
        .map(|(start, last)| Interval {
            start,
            end: (last < highest).then(|| last + 1),
        })
        .collect()
}

/// The first and the last address of a network, as numbers.
fn ends(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (u32::from(net.network()).into(), u32::from(net.broadcast()).into()),
        IpNet::V6(net) => (net.network().into(), net.broadcast().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ipnet::Ipv4Net;
    use proptest::prelude::*;

    use super::*;

    fn intervals_of(nets: &[&str], is_v4: bool) -> Vec<(u128, Option<u128>)> {
        let nets: Vec<IpNet> = nets.iter().map(|net| net.parse().unwrap()).collect();
        let pairs = intervals(&nets, is_v4).into_iter();
        pairs.map(|interval| (interval.start, interval.end)).collect()
    }

    #[test]
    fn what_touches_is_one_and_the_last_has_no_end() {
        let nets = ["0.0.2.0/24", "0.0.0.0/23", "0.0.2.7/32", "255.255.255.0/24", "::1/128"];
        assert_eq!(intervals_of(&nets, true), [(0, Some(0x300)), (0xffff_ff00, None)]);
        assert_eq!(intervals_of(&nets, false), [(1, Some(2))]);
        assert_eq!(intervals_of(&["::/0", "2001:db8::/32"], false), [(0, None)]);
    }

    proptest! {
        #[test]
        fn an_address_is_within_if_it_is_in_any(
            nets in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..12),
            other in any::<u32>(),
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(bits, length)| IpNet::V4(Ipv4Net::new(bits.into(), length).unwrap()))
                .collect();
            let merged = intervals(&nets, true);
            for pair in merged.windows(2) {
                prop_assert!(pair[0].end.is_some_and(|end| end < pair[1].start));
            }
            let edges = merged.iter().flat_map(|interval| [Some(interval.start), interval.end]).flatten();
            for address in edges.chain([u128::from(other)]) {
                let Ok(bits) = u32::try_from(address) else { continue };
                let in_any = nets.iter().any(|net| net.contains(&IpAddr::V4(bits.into())));
                let within = merged
                    .iter()
                    .any(|interval| interval.start <= address && interval.end.is_none_or(|end| address < end));
                prop_assert_eq!(within, in_any);
            }
        }
    }
}
