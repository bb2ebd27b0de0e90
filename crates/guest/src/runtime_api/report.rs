//! Lambda's own lines in a function's log, and the end of that log for the caller.

use std::collections::VecDeque;
use std::time::Duration;

/// What a caller gets of the log at most, as Lambda has it.
const TAIL_BYTES: usize = 4096;
const MIB: u64 = 1024 * 1024;

/// The last of what the workload wrote, and how much it was in all.
#[derive(Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    written: u64,
}

impl Tail {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.written += data.len() as u64;
        let kept = &data[data.len().saturating_sub(TAIL_BYTES)..];
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(TAIL_BYTES);
        self.bytes.drain(..surplus);
        self.bytes.extend(kept);
    }

    /// Everything ever written, in bytes: a position for [`Self::since`].
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The last 4 KiB of what was written since.
    pub(super) fn since(&self, position: u64) -> Vec<u8> {
        let wanted = usize::try_from(self.written.saturating_sub(position)).unwrap_or(usize::MAX);
        let skipped = self.bytes.len().saturating_sub(wanted);
        self.bytes.iter().skip(skipped).copied().collect()
    }
}

pub(super) fn start_line(id: &str, version: &str) -> String {
    format!("START RequestId: {id} Version: {version}\n")
}

/// What a call took.
pub(super) struct Usage {
    pub(super) duration: Duration,
    /// With a machine's first call only.
    pub(super) init: Option<Duration>,
    pub(super) memory_total_bytes: u64,
    pub(super) memory_used_bytes: u64,
}

pub(super) fn end_lines(id: &str, usage: &Usage) -> String {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let (total, used) = (usage.memory_total_bytes / MIB, usage.memory_used_bytes.div_ceil(MIB));
    let billed = usage.duration.as_micros().div_ceil(1000);
    let init = usage
        .init
        .map(|init| format!("Init Duration: {:.2} ms\t", millis(init)))
        .unwrap_or_default();
    format!(
        "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: {:.2} ms\tBilled Duration: {billed} ms\tMemory Size: {total} MB\tMax Memory Used: {used} MB\t{init}\n",
        millis(usage.duration)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_of_what_came_since() {
        let mut tail = Tail::default();
        tail.push(b"before");
        let position = tail.written();
        assert_eq!(tail.since(position), b"");
        tail.push(b"after");
        assert_eq!(tail.since(position), b"after");
        assert_eq!(tail.since(0), b"beforeafter");
        tail.push(&[7; 3 * TAIL_BYTES]);
        tail.push(b"!");
        let end = tail.since(position);
        assert_eq!((end.len(), end[0], end[TAIL_BYTES - 1]), (TAIL_BYTES, 7, b'!'));
        assert_eq!(tail.bytes.len(), TAIL_BYTES);
    }

    #[test]
    fn lines_are_lambdas() {
        let usage = Usage {
            duration: Duration::from_micros(1_234),
            init: Some(Duration::from_millis(100)),
            memory_total_bytes: 128 * MIB,
            memory_used_bytes: 35 * MIB + 1,
        };
        assert_eq!(
            end_lines("7", &usage),
            "END RequestId: 7\nREPORT RequestId: 7\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 100.00 ms\t\n"
        );
        assert_eq!(start_line("7", "3"), "START RequestId: 7 Version: 3\n");
    }
}
