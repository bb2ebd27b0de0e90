//! Sets of addresses, by intervals: one lookup for a thousand networks.
//!
//! The kernel keeps an interval as two elements, where it begins and where it no longer is, and takes no two that touch.

use super::{
    attribute::{put, put_nested, put_text, put_u32},
    batch::{Batch, FLAG_CREATE, Table},
};

const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const DEL_ELEMENTS: u16 = 14;

const SET_INTERVAL: u32 = 4;
const ELEMENT_INTERVAL_END: u32 = 1;
/// The numbers by which the `nft` tool knows how to show addresses.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
/// The length of an attribute has 16 bits: so many elements have room in one, at 36 bytes each.
const ELEMENTS_PER_REQUEST: usize = 1000;

/// A set of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) is_v4: bool,
}

/// Addresses from `start` up to `end`, which is none of them; without an end, up to the last that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start: u128,
    pub(crate) end: Option<u128>,
}

impl Set {
    fn key(self, address: u128) -> Vec<u8> {
        let bytes = address.to_be_bytes();
        bytes[if self.is_v4 { 12 } else { 0 }..].to_vec()
    }
}

impl Batch {
    /// Makes an empty set. Its number tells it from others of the batch.
    pub(crate) fn set(&mut self, table: &Table, set: Set, number: u32) {
        let label = format!("add set {}", set.name);
        self.push(label, table, NEW_SET, FLAG_CREATE, |to| {
            let (kind, length) = if set.is_v4 { (TYPE_IPV4, 4) } else { (TYPE_IPV6, 16) };
            put_text(to, 1, table.name());
            put_text(to, 2, set.name);
            put_u32(to, 3, SET_INTERVAL);
            put_u32(to, 4, kind);
            put_u32(to, 5, length);
            put_u32(to, 10, number);
        });
    }

    /// Gives the set these elements and no others. Intervals are apart from each other.
    pub(crate) fn fill(&mut self, table: &Table, set: Set, intervals: &[Interval]) {
        let head = |to: &mut Vec<u8>| {
            put_text(to, 1, table.name());
            put_text(to, 2, set.name);
        };
        self.push(format!("flush set {}", set.name), table, DEL_ELEMENTS, 0, head);
        let ends = |interval: &Interval| {
            [
                Some((interval.start, 0)),
                interval.end.map(|end| (end, ELEMENT_INTERVAL_END)),
            ]
        };
        let elements: Vec<(u128, u32)> = intervals.iter().flat_map(ends).flatten().collect();
        for some in elements.chunks(ELEMENTS_PER_REQUEST) {
            let label = format!("add {} elements to set {}", some.len(), set.name);
            self.push(label, table, NEW_ELEMENTS, FLAG_CREATE, |to| {
                head(to);
                put_nested(to, 3, |to| {
                    for element in some {
                        put_element(to, set, *element);
                    }
                });
            });
        }
    }
}

fn put_element(to: &mut Vec<u8>, set: Set, (address, flags): (u128, u32)) {
    put_nested(to, 1, |to| {
        put_nested(to, 1, |to| put(to, 1, &set.key(address)));
        if flags != 0 {
            put_u32(to, 3, flags);
        }
    });
}
