//! The transaction: tables, chains, rules (and sets, in `set.rs`).

use std::io;

use thiserror::Error;

use super::{
    attribute::{message, put, put_nested, put_text, put_u32},
    rule::Rule,
};
use crate::netlink::Netlink;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const DEL_RULE: u16 = 8;

const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
pub(super) const FLAG_CREATE: u16 = 0x400;
const FLAG_APPEND: u16 = 0x800;

/// A transaction that the kernel refused.
#[derive(Debug, Error)]
#[error("nf_tables refused to {request}")]
pub(crate) struct NftError {
    request: String,
    #[source]
    pub(crate) source: io::Error,
}

/// Address family and name of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    family: u8,
    name: String,
}

impl Table {
    /// IPv4 and IPv6 at once.
    pub(crate) fn inet(name: impl Into<String>) -> Self {
        Self {
            family: 1,
            name: name.into(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Frames between the ports of a bridge.
    pub(crate) fn bridge(name: impl Into<String>) -> Self {
        Self {
            family: 7,
            name: name.into(),
        }
    }
}

/// Where a base chain sits, by its number in `enum nf_inet_hooks` (the bridge family numbers them alike).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// A chain to make. Made twice it stays as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain<'a> {
    pub(crate) name: &'a str,
    /// Type, hook and priority of a base chain; none for a chain that is only jumped to.
    pub(crate) base: Option<(&'a str, Hook, i32)>,
    /// Whether what no rule decides is dropped.
    pub(crate) drops: bool,
}

impl<'a> Chain<'a> {
    /// A chain that other chains jump to.
    pub(crate) fn regular(name: &'a str) -> Self {
        Self {
            name,
            base: None,
            drops: false,
        }
    }

    /// A filter that lets pass what no rule decides.
    pub(crate) fn filter(name: &'a str, hook: Hook, priority: i32) -> Self {
        Self {
            name,
            base: Some(("filter", hook, priority)),
            drops: false,
        }
    }

    /// A chain of address translation.
    pub(crate) fn nat(name: &'a str, hook: Hook, priority: i32) -> Self {
        Self {
            name,
            base: Some(("nat", hook, priority)),
            drops: false,
        }
    }

    /// Drops what no rule decides.
    pub(crate) fn or_drop(self) -> Self {
        Self { drops: true, ..self }
    }
}

/// Requests that the kernel applies all or none of.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Request {
    /// What it does, for the error.
    label: String,
    kind: u16,
    flags: u16,
    family: u8,
    attributes: Vec<u8>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(super) fn push(
        &mut self,
        label: String,
        table: &Table,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut attributes = Vec::new();
        fill(&mut attributes);
        self.requests.push(Request {
            label,
            kind,
            flags,
            family: table.family,
            attributes,
        });
    }

    /// Makes the table if there is none.
    pub(crate) fn table(&mut self, table: &Table) {
        self.push(
            format!("add table {}", table.name),
            table,
            NEW_TABLE,
            FLAG_CREATE,
            |to| put_text(to, 1, &table.name),
        );
    }

    /// Removes the table, be it there or not.
    pub(crate) fn delete_table(&mut self, table: &Table) {
        self.table(table);
        self.push(format!("delete table {}", table.name), table, DEL_TABLE, 0, |to| {
            put_text(to, 1, &table.name);
        });
    }

    /// Makes the chain if there is none.
    pub(crate) fn chain(&mut self, table: &Table, chain: &Chain<'_>) {
        self.push(
            format!("add chain {}", chain.name),
            table,
            NEW_CHAIN,
            FLAG_CREATE,
            |to| {
                put_text(to, 1, &table.name);
                put_text(to, 3, chain.name);
                let Some((kind, hook, priority)) = chain.base else {
                    return;
                };
                put_nested(to, 4, |to| {
                    put_u32(to, 1, hook as u32);
                    put(to, 2, &priority.to_be_bytes());
                });
                put_u32(to, 5, u32::from(!chain.drops));
                put_text(to, 7, kind);
            },
        );
    }

    /// Makes the chain with these rules.
    pub(crate) fn chain_with(&mut self, table: &Table, chain: &Chain<'_>, rules: impl IntoIterator<Item = Rule>) {
        self.chain(table, chain);
        for rule in rules {
            self.rule(table, chain.name, &rule);
        }
    }

    /// Empties the chain.
    pub(crate) fn flush(&mut self, table: &Table, chain: &str) {
        self.push(format!("flush chain {chain}"), table, DEL_RULE, 0, |to| {
            put_text(to, 1, &table.name);
            put_text(to, 2, chain);
        });
    }

    /// Appends the other's requests: one transaction of both.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.requests.extend(other.requests);
        self
    }

    /// Appends a rule.
    pub(crate) fn rule(&mut self, table: &Table, chain: &str, rule: &Rule) {
        let label = format!("add rule {} of chain {chain}", self.requests.len());
        self.push(label, table, NEW_RULE, FLAG_CREATE | FLAG_APPEND, |to| {
            put_text(to, 1, &table.name);
            put_text(to, 2, chain);
            put_nested(to, 4, |to| to.extend_from_slice(rule.expressions()));
        });
    }

    /// Applies the batch.
    pub(crate) fn commit(self, netlink: &mut Netlink) -> Result<(), NftError> {
        let Some(last_index) = self.requests.len().checked_sub(1) else {
            return Ok(());
        };
        let count = u32::try_from(self.requests.len()).unwrap_or(u32::MAX - 2);
        let first = netlink.take_seqs(count + 2);
        let mut bytes = Vec::with_capacity(256 * self.requests.len());
        message(&mut bytes, BATCH_BEGIN, FLAG_REQUEST, first, [0, 0, 0, 10], &[]);
        for (seq, (index, request)) in (first + 1..).zip(self.requests.iter().enumerate()) {
            // One acknowledgement is enough: refusals come by themselves, in order, before it.
            let ack = if index == last_index { FLAG_ACK } else { 0 };
            let flags = FLAG_REQUEST | request.flags | ack;
            message(
                &mut bytes,
                SUBSYSTEM << 8 | request.kind,
                flags,
                seq,
                [request.family, 0, 0, 0],
                &request.attributes,
            );
        }
        message(
            &mut bytes,
            BATCH_END,
            FLAG_REQUEST,
            first + count + 1,
            [0, 0, 0, 10],
            &[],
        );
        netlink
            .exchange(&bytes, first, first + count, |_, _| ())
            .map_err(|refusal| NftError {
                request: refusal
                    .seq
                    .and_then(|seq| self.requests.get(seq.checked_sub(first + 1)? as usize))
                    .map_or_else(|| "take the batch".to_owned(), |request| request.label.clone()),
                source: refusal.error,
            })
    }
}
