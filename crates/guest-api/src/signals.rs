//! Signals by number, and in the words that end events use for them.

/// Number, and the description that envd clients expect (those of Go's `syscall`). x86-64 Linux.
const SIGNALS: &[(i32, &str)] = &[
    (1, "hangup"),
    (2, "interrupt"),
    (3, "quit"),
    (4, "illegal instruction"),
    (5, "trace/breakpoint trap"),
    (6, "aborted"),
    (7, "bus error"),
    (8, "floating point exception"),
    (9, "killed"),
    (10, "user defined signal 1"),
    (11, "segmentation fault"),
    (12, "user defined signal 2"),
    (13, "broken pipe"),
    (14, "alarm clock"),
    (15, "terminated"),
    (16, "stack fault"),
    (17, "child exited"),
    (18, "continued"),
    (19, "stopped (signal)"),
    (20, "stopped"),
    (21, "stopped (tty input)"),
    (22, "stopped (tty output)"),
    (23, "urgent I/O condition"),
    (24, "CPU time limit exceeded"),
    (25, "file size limit exceeded"),
    (26, "virtual timer expired"),
    (27, "profiling timer expired"),
    (28, "window changed"),
    (29, "I/O possible"),
    (30, "power failure"),
    (31, "bad system call"),
];

/// The highest signal number of Linux.
const MAX_SIGNAL: i32 = 64;

/// `killed` for 9; `signal 40` for numbers without words.
pub fn description(number: i32) -> String {
    SIGNALS
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| format!("signal {number}"), |(_, words)| (*words).to_owned())
}

/// The number in an end event's status: `signal: killed`, perhaps with ` (core dumped)`.
pub fn from_status(status: &str) -> Option<i32> {
    let words = status.strip_prefix("signal: ")?;
    let words = words.strip_suffix(" (core dumped)").unwrap_or(words);
    let known = SIGNALS
        .iter()
        .find(|(_, known)| *known == words)
        .map(|(number, _)| *number);
    known
        .or_else(|| words.strip_prefix("signal ")?.parse().ok())
        .filter(|number| (1..=MAX_SIGNAL).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back() {
        for number in 1..=MAX_SIGNAL {
            assert_eq!(from_status(&format!("signal: {}", description(number))), Some(number));
        }
        assert_eq!(from_status("signal: aborted (core dumped)"), Some(6));
        assert_eq!(from_status("exit status 1"), None);
    }
}
