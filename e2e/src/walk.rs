//! Walks over the places at which the daemon kills itself.
//!
//! Each place is reached by what a user does, in a daemon that ends itself there by SIGKILL. Then a daemon without the fault
//! takes over the same state folder.

use std::fmt::Debug;

use crate::{Host, HostOptions};

/// Places, and what is done and seen at each.
#[derive(Debug, Clone, Copy)]
pub struct Walk<A: 'static, O: 'static> {
    /// Each place, what the user does so that the daemon comes there, and what must follow.
    pub table: &'static [(&'static str, A, O)],
    /// Into how many parts the table is cut, each for a host of its own.
    pub parts: usize,
    /// Starts a daemon that is [to die](HostOptions::dying_at) at the place, brings it there, and sees it die.
    pub die_at: fn(&mut Host, &str, A),
    /// Sees under the next daemon that what must follow does, and removes all that there is.
    pub check: fn(&Host, &str, A, O),
}

impl<A: Copy + Debug, O: Copy + Debug> Walk<A, O> {
    /// Walks over one part, on a host that is not used for anything else.
    ///
    /// # Panics
    /// If anything is left when all was removed, or as the rest of the walk says.
    pub fn part(&self, mut host: Host, part: usize) {
        host.down();
        for (point, action, outcome) in self.table.iter().skip(part).step_by(self.parts) {
            eprintln!("--- {point}: {action:?}, then {outcome:?}");
            (self.die_at)(&mut host, point, *action);
            host.up(&HostOptions::default());
            (self.check)(&host, point, *action, *outcome);
            assert_eq!(host.leftovers(), Vec::<String>::new(), "{point}");
            host.down();
            assert_eq!(host.namespaces(), Vec::<String>::new(), "{point}");
        }
    }
}
