//! Whose turn it is: no project, and no function, keeps the others from being made instances of, and none is made that nobody
//! waits for. Pure.

use std::collections::{HashMap, VecDeque};

use hearth_coord::{Claim, ProvisionRequest};
use hearth_ids::{FunctionId, ProjectId};

/// Claims that wait here rather than in the queue, at most: it is looked through at each turn.
const WAITING_MAX: usize = 1000;

/// Whose turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whose {
    function: FunctionId,
    tenant: Tenant,
}

/// Who has a share of the turns: the project, or the function by itself where that is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Tenant {
    Project(ProjectId),
    Function(FunctionId),
}

/// Claims that wait for their turn, and how many are being served.
#[derive(Debug)]
pub(crate) struct Turns {
    waiting: VecDeque<Claim>,
    serving: Counts<FunctionId>,
    serving_tenant: Counts<Tenant>,
    total: usize,
    total_max: usize,
}

/// How many there are of each; those of which there are none are not in it.
#[derive(Debug)]
struct Counts<K>(HashMap<K, usize>);

impl<K: Copy + Eq + std::hash::Hash> Counts<K> {
    fn of(&self, key: K) -> usize {
        self.0.get(&key).copied().unwrap_or(0)
    }

    fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    fn take(&mut self, key: K) {
        let left = self.of(key).saturating_sub(1);
        if left == 0 {
            self.0.remove(&key);
        } else {
            self.0.insert(key, left);
        }
    }
}

impl Whose {
    pub(crate) fn of(request: &ProvisionRequest) -> Self {
        let function = request.function_id;
        let tenant = request.project_id.map_or(Tenant::Function(function), Tenant::Project);
        Self { function, tenant }
    }
}

impl Turns {
    /// So many may be served at a time; of one function half of them.
    pub(crate) fn new(total_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            serving: Counts(HashMap::new()),
            serving_tenant: Counts(HashMap::new()),
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

    /// The claim that is to be served now, if one is: of the project of which the fewest are being served.
    pub(crate) fn next(&mut self) -> Option<Claim> {
        if self.total >= self.total_max {
            return None;
        }
        let each_max = self.total_max.div_ceil(2);
        let waiting = self.waiting.iter().map(|claim| Whose::of(&claim.request)).enumerate();
        let may = waiting.filter(|(_, whose)| self.serving.of(whose.function) < each_max);
        // Of several the one that came first.
        let (place, whose) = may.min_by_key(|(_, whose)| self.serving_tenant.of(whose.tenant))?;
        let claim = self.waiting.remove(place)?;
        self.serving.add(whose.function);
        self.serving_tenant.add(whose.tenant);
        self.total += 1;
        Some(claim)
    }

    /// One of these turns is over, well or not.
    pub(crate) fn ended(&mut self, whose: Whose) {
        self.total = self.total.saturating_sub(1);
        self.serving.take(whose.function);
        self.serving_tenant.take(whose.tenant);
    }
}

#[cfg(test)]
mod tests {
    use hearth_ids::RequestId;

    use super::*;

    fn claim(function_id: FunctionId) -> Claim {
        Claim {
            request: ProvisionRequest {
                request_id: RequestId::new(),
                function_id,
                project_id: None,
                cpu: 1,
                memory_mb: 64,
                version: None,
                deadline_unix_ms: None,
                traceparent: None,
            },
            attempt: 1,
        }
    }

    fn of(project: ProjectId, function: FunctionId) -> Claim {
        let mut claim = claim(function);
        claim.request.project_id = Some(project);
        claim
    }

    #[test]
    fn a_function_takes_half_at_most_and_the_others_pass_it() {
        let (greedy, other) = (FunctionId::new(), FunctionId::new());
        let mut turns = Turns::new(4);
        for function in [greedy, greedy, greedy, greedy, other] {
            turns.came(of(ProjectId::DEFAULT, function));
        }
        let mut served = || turns.next().map(|claim| claim.request.function_id);
        assert_eq!(
            [served(), served(), served(), served()],
            [Some(greedy), Some(greedy), Some(other), None]
        );
        turns.ended(Whose::of(&of(ProjectId::DEFAULT, greedy).request));
        assert_eq!(turns.next().map(|claim| claim.request.function_id), Some(greedy));
    }

    #[test]
    fn a_project_of_many_functions_does_not_keep_another_waiting() {
        let (many, few) = (ProjectId::new(), ProjectId::new());
        let mut turns = Turns::new(4);
        for _ in 0..6 {
            turns.came(of(many, FunctionId::new()));
        }
        turns.came(of(few, FunctionId::new()));
        let mut served = || turns.next().and_then(|claim| claim.request.project_id);
        let first: Vec<_> = std::iter::from_fn(&mut served).collect();
        assert_eq!(
            first,
            [many, few, many, many],
            "the other's is the next, though it came last"
        );
        // And again with the next turn there is, however many of the other's came before.
        turns.came(of(few, FunctionId::new()));
        turns.ended(Whose::of(&of(many, FunctionId::new()).request));
        assert_eq!(turns.next().and_then(|claim| claim.request.project_id), Some(few));
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
            turns.ended(Whose::of(&claim(function).request));
        }
        assert!(turns.next().is_none() && turns.serving.0.is_empty() && turns.serving_tenant.0.is_empty());
    }
}
