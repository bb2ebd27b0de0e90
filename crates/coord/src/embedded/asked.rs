//! What requests ask for together, kept as they come and go: it is looked at far more often than it changes.

use std::collections::BTreeSet;

use hearth_ids::RequestId;

use crate::ProvisionRequest;

/// What those requests ask for together that somebody still waits for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) cpu: u64,
    /// In MiB.
    pub(super) memory_mb: u64,
    ends: BTreeSet<End>,
}

/// When a request ends to count, in milliseconds since the Unix epoch, and what that makes of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    unix_ms: u64,
    request: RequestId,
    cpu: u32,
    memory_mb: u32,
}

impl Asked {
    /// The request has come.
    pub(super) fn add(&mut self, request: &ProvisionRequest) {
        self.ends.extend(end(request));
        self.cpu += u64::from(request.cpu);
        self.memory_mb += u64::from(request.memory_mb);
    }

    /// The request has gone.
    pub(super) fn remove(&mut self, request: &ProvisionRequest) {
        // One whose deadline has passed may be left out already.
        if end(request).is_none_or(|end| self.ends.remove(&end)) {
            self.leave_out(request.cpu, request.memory_mb);
        }
    }

    /// Leaves out those that nobody waits for any more.
    pub(super) fn leave_out_overdue(&mut self, unix_ms: u64) {
        while let Some(end) = self.ends.first().copied().filter(|end| end.unix_ms <= unix_ms) {
            self.ends.remove(&end);
            self.leave_out(end.cpu, end.memory_mb);
        }
    }

    fn leave_out(&mut self, cpu: u32, memory_mb: u32) {
        self.cpu = self.cpu.saturating_sub(cpu.into());
        self.memory_mb = self.memory_mb.saturating_sub(memory_mb.into());
    }
}

fn end(request: &ProvisionRequest) -> Option<End> {
    Some(End {
        unix_ms: request.deadline_unix_ms?,
        request: request.request_id,
        cpu: request.cpu,
        memory_mb: request.memory_mb,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hearth_ids::FunctionId;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Come { cpu: u32, deadline: Option<u64> },
        Go(prop::sample::Index),
        Look(u64),
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_u32..8, prop::option::of(0_u64..100)).prop_map(|(cpu, deadline)| Step::Come { cpu, deadline }),
            any::<prop::sample::Index>().prop_map(Step::Go),
            (0_u64..10).prop_map(Step::Look),
        ]
    }

    fn request(cpu: u32, deadline_unix_ms: Option<u64>) -> ProvisionRequest {
        ProvisionRequest {
            request_id: RequestId::new(),
            function_id: FunctionId::new(),
            project_id: None,
            cpu,
            memory_mb: cpu * 128,
            version: None,
            deadline_unix_ms,
            traceparent: None,
        }
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_all_that_somebody_waits_for(steps in prop::collection::vec(steps(), 1..80)) {
            let (mut asked, mut there, mut now) = (Asked::default(), HashMap::new(), 0);
            for step in steps {
                match step {
                    Step::Come { cpu, deadline } => {
                        let request = request(cpu, deadline);
                        asked.add(&request);
                        there.insert(request.request_id, request);
                    }
                    Step::Go(which) => {
                        let ids: Vec<_> = there.keys().copied().collect();
                        if !ids.is_empty() {
                            asked.remove(&there.remove(which.get(&ids)).unwrap());
                        }
                    }
                    Step::Look(later) => now += later,
                }
                asked.leave_out_overdue(now);
                let waited_for = there.values().filter(|request| !request.is_overdue(now));
                let cpu: u64 = waited_for.map(|request| u64::from(request.cpu)).sum();
                prop_assert_eq!((asked.cpu, asked.memory_mb), (cpu, cpu * 128));
            }
            prop_assert!(asked.ends.len() <= there.len(), "it forgets those that have gone");
        }
    }
}
