//! Whose turn it is: no function keeps the others from being made instances of, and none is made that nobody waits for. Pure.

use std::collections::{HashMap, VecDeque};

use hearth_coord::Claim;
use hearth_ids::FunctionId;

/// Claims that wait here rather than in the queue, at most: it is looked through at each turn.
const WAITING_MAX: usize = 1000;

/// Claims that wait for their turn, and how many are being served.
#[derive(Debug)]
pub(crate) struct Turns {
    waiting: VecDeque<Claim>,
    serving: HashMap<FunctionId, usize>,
    total: usize,
    total_max: usize,
}

impl Turns {
    /// So many may be served at a time; of one function half of them.
    pub(crate) fn new(total_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            serving: HashMap::new(),
            total: 0,
            total_max,
        }
    }

    /// Whether more may be taken from the queue.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// A claim was taken.
    pub(crate) fn came(&mut self, claim: Claim) {
        self.waiting.push_back(claim);
    }

    /// Takes out those that nobody waits for any more, at that time in milliseconds since the Unix epoch.
    pub(crate) fn overdue(&mut self, unix_ms: u64) -> VecDeque<Claim> {
        let (overdue, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|claim| claim.request.is_overdue(unix_ms));
        self.waiting = waiting;
        overdue
    }

    /// The claim that is to be served now, if one is.
    pub(crate) fn next(&mut self) -> Option<Claim> {
        if self.total >= self.total_max {
            return None;
        }
        let each_max = self.total_max.div_ceil(2);
        let of = |claim: &Claim| self.serving.get(&claim.request.function_id).copied().unwrap_or(0);
        let place = self.waiting.iter().position(|claim| of(claim) < each_max)?;
        let claim = self.waiting.remove(place)?;
        *self.serving.entry(claim.request.function_id).or_default() += 1;
        self.total += 1;
        Some(claim)
    }

    /// One of the function's was served, well or not.
    pub(crate) fn ended(&mut self, function: FunctionId) {
        self.total = self.total.saturating_sub(1);
        if let Some(serving) = self.serving.get_mut(&function) {
            *serving = serving.saturating_sub(1);
            if *serving == 0 {
                self.serving.remove(&function);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_coord::ProvisionRequest;
    use hearth_ids::RequestId;

    use super::*;

    fn claim(function_id: FunctionId) -> Claim {
        Claim {
            request: ProvisionRequest {
                request_id: RequestId::new(),
                function_id,
                cpu: 1,
                memory_mb: 64,
                version: None,
                deadline_unix_ms: None,
                traceparent: None,
            },
            attempt: 1,
        }
    }

    #[test]
    fn a_function_takes_half_at_most_and_the_others_pass_it() {
        let (greedy, other) = (FunctionId::new(), FunctionId::new());
        let mut turns = Turns::new(4);
        for function in [greedy, greedy, greedy, greedy, other] {
            turns.came(claim(function));
        }
        let mut served = || turns.next().map(|claim| claim.request.function_id);
        assert_eq!(
            [served(), served(), served(), served()],
            [Some(greedy), Some(greedy), Some(other), None]
        );
        turns.ended(greedy);
        assert_eq!(turns.next().map(|claim| claim.request.function_id), Some(greedy));
    }

    #[test]
    fn what_nobody_waits_for_has_no_turn() {
        let mut turns = Turns::new(4);
        let deadlines = [Some(1000), None, Some(999), Some(1001)];
        for deadline_unix_ms in deadlines {
            let mut claim = claim(FunctionId::new());
            claim.request.deadline_unix_ms = deadline_unix_ms;
            turns.came(claim);
        }
        let deadline = |claim: Claim| claim.request.deadline_unix_ms;
        let overdue: Vec<_> = turns.overdue(1000).into_iter().map(deadline).collect();
        assert_eq!(overdue, [Some(1000), Some(999)]);
        assert_eq!(turns.next().map(deadline), Some(None));
        assert_eq!(turns.next().map(deadline), Some(Some(1001)));
        assert!(turns.next().is_none());
    }

    #[test]
    fn one_place_serves_everybody_in_turn() {
        let mut turns = Turns::new(1);
        let functions = [FunctionId::new(), FunctionId::new()];
        for function in functions {
            turns.came(claim(function));
        }
        for function in functions {
            assert_eq!(turns.next().map(|claim| claim.request.function_id), Some(function));
            assert!(turns.next().is_none());
            turns.ended(function);
        }
        assert!(turns.next().is_none() && turns.serving.is_empty());
    }
}
