//! Signals by number, by name, and in the words that end events use for them.

/// Number, name without `SIG`, and the description that envd clients expect (those of Go's `syscall`). x86-64 Linux.
const SIGNALS: &[(i32, &str, &str)] = &[
    (1, "HUP", "hangup"),
    (2, "INT", "interrupt"),
    (3, "QUIT", "quit"),
    (4, "ILL", "illegal instruction"),
    (5, "TRAP", "trace/breakpoint trap"),
    (6, "ABRT", "aborted"),
    (7, "BUS", "bus error"),
    (8, "FPE", "floating point exception"),
    (9, "KILL", "killed"),
    (10, "USR1", "user defined signal 1"),
    (11, "SEGV", "segmentation fault"),
    (12, "USR2", "user defined signal 2"),
    (13, "PIPE", "broken pipe"),
    (14, "ALRM", "alarm clock"),
    (15, "TERM", "terminated"),
    (16, "STKFLT", "stack fault"),
    (17, "CHLD", "child exited"),
    (18, "CONT", "continued"),
    (19, "STOP", "stopped (signal)"),
    (20, "TSTP", "stopped"),
    (21, "TTIN", "stopped (tty input)"),
    (22, "TTOU", "stopped (tty output)"),
    (23, "URG", "urgent I/O condition"),
    (24, "XCPU", "CPU time limit exceeded"),
    (25, "XFSZ", "file size limit exceeded"),
    (26, "VTALRM", "virtual timer expired"),
    (27, "PROF", "profiling timer expired"),
    (28, "WINCH", "window changed"),
    (29, "IO", "I/O possible"),
    (30, "PWR", "power failure"),
    (31, "SYS", "bad system call"),
];

/// The highest signal number of Linux.
pub const MAX_SIGNAL: i32 = 64;

/// `SIGTERM`, `TERM`, `term`, `15` or a real-time number to a number from 1 to 64.
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS
        .iter()
        .find(|(_, known, _)| *known == name)
        .map(|(number, ..)| *number);
    named
        .or_else(|| real_time(name))
        .or_else(|| name.parse().ok())
        .filter(|number| (1..=MAX_SIGNAL).contains(number))
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`, as glibc counts them (34 to 64).
fn real_time(name: &str) -> Option<i32> {
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(
            34 + if rest.is_empty() {
                0
            } else {
                rest.strip_prefix('+')?.parse::<u8>().ok()?.into()
            },
        );
    }
    let rest = name.strip_prefix("RTMAX")?;
    Some(
        64 - if rest.is_empty() {
            0
        } else {
            rest.strip_prefix('-')?.parse::<u8>().ok()?.into()
        },
    )
}

/// `SIGKILL` for 9; `SIG40` for numbers without a name.
pub fn name(number: i32) -> String {
    SIGNALS
        .iter()
        .find(|(known, ..)| *known == number)
        .map_or_else(|| format!("SIG{number}"), |(_, name, _)| format!("SIG{name}"))
}

/// `killed` for 9; `signal 40` for numbers without words.
pub fn description(number: i32) -> String {
    SIGNALS
        .iter()
        .find(|(known, ..)| *known == number)
        .map_or_else(|| format!("signal {number}"), |(.., words)| (*words).to_owned())
}

/// The number in an end event's status: `signal: killed`, perhaps with ` (core dumped)`.
pub fn from_status(status: &str) -> Option<i32> {
    let words = status.strip_prefix("signal: ")?;
    let words = words.strip_suffix(" (core dumped)").unwrap_or(words);
    let known = SIGNALS
        .iter()
        .find(|(.., known)| *known == words)
        .map(|(number, ..)| *number);
    known
        .or_else(|| words.strip_prefix("signal ")?.parse().ok())
        .filter(|number| (1..=MAX_SIGNAL).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_numbers() {
        assert_eq!(
            ["SIGTERM", "term", "15", " SIGRTMIN+3 ", "SIGRTMAX-2"].map(parse),
            [Some(15), Some(15), Some(15), Some(37), Some(62)]
        );
        for bad in ["", "0", "65", "-1", "SIGNOPE", "SIGRTMIN+40", "RTMIN3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_status_reads_back() {
        for number in 1..=MAX_SIGNAL {
            assert_eq!(from_status(&format!("signal: {}", description(number))), Some(number));
        }
        assert_eq!(from_status("signal: aborted (core dumped)"), Some(6));
        assert_eq!(from_status("exit status 1"), None);
    }
}
