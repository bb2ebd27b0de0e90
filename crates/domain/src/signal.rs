//! Signals as people write them. The numbers are those of Linux on x86-64.

/// The highest number.
pub const SIGNAL_MAX: i32 = 64;
/// The real-time signals that glibc leaves to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The name of 1, of 2, and so on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The number, from 1 to 64, of `SIGTERM`, `TERM`, `term`, `15` or `RTMIN+3`.
pub fn parse_signal(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = NAMES
        .iter()
        .position(|known| *known == name)
        .and_then(|place| i32::try_from(place + 1).ok())
        .or_else(|| real_time(name))
        .or_else(|| upper.parse().ok());
    number.filter(|number| (1..=SIGNAL_MAX).contains(number))
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`.
fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN + offset(rest, '+')?,
        (_, Some(rest)) => RTMAX - offset(rest, '-')?,
        _ => return None,
    };
    (number >= RTMIN).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for (text, number) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("SIGKILL", 9),
            ("SYS", 31),
            ("9", 9),
            ("34", 34),
            ("usr1", 10),
            ("SIGRTMIN+3", 37),
            ("rtmax-2", 62),
            ("RTMAX", 64),
        ] {
            assert_eq!(parse_signal(text), Some(number), "{text}");
        }
        for bad in [
            "",
            "0",
            "65",
            "-1",
            "SIG",
            "SIG9",
            "NOPE",
            "TERM ",
            "99999999999",
            "RTMIN+40",
            "RTMAX-40",
            "RTMIN3",
        ] {
            assert_eq!(parse_signal(bad), None, "{bad}");
        }
    }
}
