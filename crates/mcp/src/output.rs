//! What programs of a guest wrote, made fit for an agent: bounded, text, and without what steers terminals.
//!
//! A guest is hostile. JSON keeps its bytes from being read as the protocol's; what is left to fear is a flood, and a
//! text that does something to the screen of whoever reads the agent's log.

use std::collections::VecDeque;

/// The first and the last bytes of a stream, whatever its length.
#[derive(Debug)]
pub(crate) struct Kept {
    head_max: usize,
    tail_max: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    seen: u64,
}

impl Kept {
    /// Keeps so many bytes: the first quarter of them from the beginning, since causes stand there, the rest from the end.
    pub(crate) fn both_ends(bytes: usize) -> Self {
        Self::new(bytes / 4, bytes - bytes / 4)
    }

    /// Keeps so many bytes from the beginning.
    pub(crate) fn beginning(bytes: usize) -> Self {
        Self::new(bytes, 0)
    }

    fn new(head_max: usize, tail_max: usize) -> Self {
        Self {
            head_max,
            tail_max,
            head: Vec::new(),
            tail: VecDeque::new(),
            seen: 0,
        }
    }

    /// Takes what came next.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_max - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(self.tail_max)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.tail_max);
        self.tail.drain(..over);
        self.tail.extend(rest);
    }

    /// How many bytes are not here.
    pub(crate) fn cut_bytes(&self) -> u64 {
        self.seen - (self.head.len() + self.tail.len()) as u64
    }

    /// What is kept, as it came; where something is missing, the ends are side by side.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.head.extend(self.tail);
        self.head
    }

    /// What is kept of the beginning and of the end.
    pub(crate) fn into_ends(self) -> (Vec<u8>, Vec<u8>) {
        (self.head, self.tail.into())
    }

    /// What is kept as clean text, with a word where something is missing.
    pub(crate) fn text(&self) -> String {
        let mut tail: Vec<u8> = self.tail.iter().copied().collect();
        let cut = self.cut_bytes();
        if cut == 0 {
            return clean(&[self.head.as_slice(), &tail].concat());
        }
        // The cut may have gone through characters.
        let begun = tail.iter().take(3).take_while(|byte| *byte & 0xC0 == 0x80).count();
        tail.drain(..begun);
        let whole = match std::str::from_utf8(&self.head) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.head.len(),
        };
        format!(
            "{}\n[{cut} bytes are cut out here]\n{}",
            clean(&self.head[..whole]),
            clean(&tail)
        )
    }
}

/// Text without what steers terminals: escape sequences go, returns begin a line, other control characters and those that
/// turn the direction of writing become U+FFFD, and so does what is no UTF-8.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\u{1b}' => after_escape(after),
            '\r' if after.starts_with('\n') => after,
            '\r' => {
                clean.push('\n');
                after
            }
            _ => {
                clean.push(if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER });
                after
            }
        };
    }
    clean
}

/// Whether a character only stands for itself.
pub(crate) fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (!c.is_control() || matches!(c, '\n' | '\t')) && !turns
}

/// What follows an escape sequence (ECMA-48): of `ESC [`, all up to its final byte; of `ESC ]` and the other strings, all up
/// to BEL or `ESC \`, if that comes within its line.
fn after_escape(text: &str) -> &str {
    let Some(kind) = text.chars().next() else { return text };
    let body = &text[kind.len_utf8()..];
    match kind {
        '[' => {
            let length = body.bytes().take_while(|byte| (0x20..0x40).contains(byte)).count();
            let last = body
                .as_bytes()
                .get(length)
                .is_some_and(|byte| (0x40..0x7f).contains(byte));
            &body[length + usize::from(last)..]
        }
        ']' | 'P' | 'X' | '^' | '_' => {
            // Not beyond the next sequence: of a flood of them, each would look through all that follow.
            match body.find(['\n', '\u{7}', '\u{1b}']) {
                Some(end) if body[end..].starts_with("\u{1b}\\") => &body[end + 2..],
                Some(end) if body[end..].starts_with('\u{7}') => &body[end + 1..],
                _ => body,
            }
        }
        '\u{20}'..='\u{7e}' => body,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(limit: usize, pieces: &[&[u8]]) -> Kept {
        let mut kept = Kept::both_ends(limit);
        for piece in pieces {
            kept.push(piece);
        }
        kept
    }

    #[test]
    fn what_fits_is_whole() {
        let whole = kept(8, &[b"ab", b"cdef", b"gh"]);
        assert_eq!((whole.text().as_str(), whole.cut_bytes()), ("abcdefgh", 0));
        assert_eq!(kept(8, &[]).text(), "");
    }

    #[test]
    fn of_a_flood_both_ends_are_kept_and_the_rest_is_counted() {
        for pieces in [vec![&b"abcdefghijklmnop"[..]], b"abcdefghijklmnop".chunks(1).collect()] {
            let flood = kept(8, &pieces);
            assert_eq!(flood.text(), "ab\n[8 bytes are cut out here]\nklmnop");
            assert_eq!(flood.cut_bytes(), 8);
        }
        let mut first = Kept::beginning(3);
        first.push(b"abcdef");
        assert_eq!((first.cut_bytes(), first.into_bytes()), (3, b"abc".to_vec()));
    }

    #[test]
    fn a_cut_breaks_no_character() {
        let flood = kept(12, &["ééééééééééé".as_bytes()]);
        assert!(!flood.text().contains('\u{fffd}'), "{}", flood.text());
    }

    #[test]
    fn nothing_steers_a_terminal() {
        for (wild, tame) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("\u{1b}]never ended\nnext", "never ended\nnext"),
            ("\u{1b}Pq\u{1b}\\y", "y"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[\n", "\n"),
            ("\u{1b}cx", "x"),
            ("a\r\nb\rc", "a\nb\nc"),
            ("\0\u{8}\u{9b}31m\u{202e}", "\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}"),
            ("tab\there é 😀", "tab\there é 😀"),
        ] {
            assert_eq!(clean(wild.as_bytes()), tame, "{wild:?}");
        }
        assert_eq!(clean(b"\xff\xfeok"), "\u{fffd}\u{fffd}ok");
    }

    #[test]
    fn a_flood_of_strings_without_an_end_takes_no_time() {
        for (sequence, left) in [("\u{1b}]", ""), ("\u{1b}Pé", "é"), ("\u{1b}[3", "")] {
            let count = 500_000;
            let begun = std::time::Instant::now();
            assert_eq!(clean(sequence.repeat(count).as_bytes()), left.repeat(count));
            assert!(begun.elapsed().as_secs() < 5, "{sequence:?}");
        }
    }
}
