//! Words of instructions, as Dockerfiles have them: quotes, characters that an escape takes the meaning from, and variables.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};

use super::super::short;

/// Values of variables.
pub(super) type Variables = BTreeMap<String, String>;

/// The longest text that a word may become, in bytes: each variable may hold others' values, over and over.
const EXPANDED_MAX: usize = 1 << 20;
/// How deep words may be within each other, as in `${A:-${B:-c}}`: reading one within takes stack.
const DEPTH_MAX: usize = 64;

/// The words of a line, split where there are blanks outside of quotes; quotes and escapes stay.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// What a word means: without its quotes, and with the values of its variables, of which the first list that has one counts.
/// Within `'` nothing is expanded.
pub(super) fn expand(word: &str, variables: &[&Variables], escape: char) -> anyhow::Result<String> {
    let mut reader = Reader::new(word, variables, escape);
    let expanded = reader.until(None)?;
    ensure!(
        expanded.len() <= EXPANDED_MAX,
        "{} becomes longer than {EXPANDED_MAX} bytes",
        short(word)
    );
    Ok(expanded)
}

/// What the text of a here-document means, in which quotes are like all else.
pub(super) fn expand_document(text: &str, variables: &[&Variables], escape: char) -> anyhow::Result<String> {
    let mut reader = Reader::new(text, variables, escape);
    let mut expanded = String::new();
    while let Some(c) = reader.take() {
        match c {
            '$' => expanded.push_str(&reader.variable()?),
            c if c == escape && reader.left.starts_with('$') => expanded.extend(reader.take()),
            c => expanded.push(c),
        }
        ensure!(
            expanded.len() <= EXPANDED_MAX,
            "a here-document becomes longer than {EXPANDED_MAX} bytes"
        );
    }
    Ok(expanded)
}

struct Reader<'w> {
    left: &'w str,
    variables: &'w [&'w Variables],
    escape: char,
    /// Words that this one is within.
    depth: usize,
}

impl<'w> Reader<'w> {
    fn new(text: &'w str, variables: &'w [&'w Variables], escape: char) -> Self {
        Self {
            left: text,
            variables,
            escape,
            depth: 0,
        }
    }

    fn value(&self, name: &str) -> Option<&'w String> {
        self.variables.iter().find_map(|values| values.get(name))
    }

    fn take(&mut self) -> Option<char> {
        let c = self.left.chars().next()?;
        self.left = &self.left[c.len_utf8()..];
        Some(c)
    }

    /// Reads up to a character outside of quotes, or to the end.
    fn until(&mut self, end: Option<char>) -> anyhow::Result<String> {
        let (mut out, mut in_quotes) = (String::new(), false);
        while let Some(c) = self.take() {
            match c {
                '"' => in_quotes = !in_quotes,
                '\'' if !in_quotes => self.single(&mut out)?,
                '$' => out.push_str(&self.variable()?),
                c if c == self.escape => self.escaped(in_quotes, &mut out),
                c if Some(c) == end && !in_quotes => return Ok(out),
                c => out.push(c),
            }
            ensure!(
                out.len() <= EXPANDED_MAX,
                "a word becomes longer than {EXPANDED_MAX} bytes"
            );
        }
        ensure!(!in_quotes, "a quote \" is not closed");
        match end {
            Some(end) => bail!("a {end} is missing after ${{"),
            None => Ok(out),
        }
    }

    /// Reads a word within this one, up to the `}` behind it.
    fn within(&mut self) -> anyhow::Result<String> {
        ensure!(
            self.depth < DEPTH_MAX,
            "more than {DEPTH_MAX} ${{…}} are within each other: give some of them a name by an ARG before"
        );
        self.depth += 1;
        let word = self.until(Some('}'));
        self.depth -= 1;
        word
    }

    fn single(&mut self, out: &mut String) -> anyhow::Result<()> {
        let Some((inside, after)) = self.left.split_once('\'') else {
            bail!("a quote ' is not closed");
        };
        out.push_str(inside);
        self.left = after;
        Ok(())
    }

    /// Within `"`, the escape is one before few characters only.
    fn escaped(&mut self, in_quotes: bool, out: &mut String) {
        match self.take() {
            Some(c) if !in_quotes || c == '"' || c == '$' || c == self.escape => out.push(c),
            Some(c) => out.extend([self.escape, c]),
            None => out.push(self.escape),
        }
    }

    /// What stands after a `$`.
    fn variable(&mut self) -> anyhow::Result<String> {
        if let Some(after) = self.left.strip_prefix('{') {
            self.left = after;
            return self.braced();
        }
        let name = self.name();
        // No name: it is a dollar sign.
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.value(&name).cloned().unwrap_or_default())
    }

    fn name(&mut self) -> String {
        let is_in = |(at, c): &(usize, char)| c.is_ascii_alphabetic() || *c == '_' || (*at > 0 && c.is_ascii_digit());
        let length = self.left.char_indices().take_while(is_in).count();
        let (name, after) = self.left.split_at(length);
        self.left = after;
        name.to_owned()
    }

    /// `NAME}`, `NAME:-WORD}`, `NAME-WORD}`, `NAME:+WORD}`, `NAME+WORD}`, `NAME:?WORD}`.
    fn braced(&mut self) -> anyhow::Result<String> {
        let name = self.name();
        ensure!(!name.is_empty(), "${{ is not followed by a variable's name");
        let value = self.value(&name);
        let filled = self.left.starts_with(':');
        if filled {
            self.take();
        }
        let value = value.filter(|value| !filled || !value.is_empty());
        match self.take() {
            Some('}') if !filled => Ok(value.cloned().unwrap_or_default()),
            Some('-') => {
                let otherwise = self.within()?;
                Ok(value.cloned().unwrap_or(otherwise))
            }
            Some('+') => {
                let instead = self.within()?;
                Ok(value.map(|_| instead).unwrap_or_default())
            }
            Some('?') => {
                let why = self.within()?;
                value
                    .cloned()
                    .ok_or_else(|| anyhow::anyhow!("the variable {name} has no value: {why}"))
            }
            _ => bail!("${{{name}… is not understood: use ${{{name}}}, ${{{name}:-WORD}} or ${{{name}:+WORD}}"),
        }
    }
}

/// A word that a shell takes as it is.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> Variables {
        [("A", "1"), ("EMPTY", ""), ("B", "x y")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn words_are_split_at_blanks_outside_of_quotes() {
        assert_eq!(
            split(r#"a "b c" 'd e' f\ g h"#, '\\'),
            ["a", "\"b c\"", "'d e'", "f\\ g", "h"]
        );
        assert_eq!(split("  ", '\\'), Vec::<String>::new());
    }

    #[test]
    fn words_mean_what_they_mean_in_docker() {
        let is = |word: &str, wanted: &str| assert_eq!(expand(word, &[&variables()], '\\').unwrap(), wanted, "{word}");
        is("$A/${A}/$NONE/", "1/1//");
        is("${NONE:-d}${EMPTY:-e}${EMPTY-f}${A:-g}", "de1");
        is("${NONE:+d}${EMPTY:+e}${A:+g}", "g");
        is("${NONE:-${A}x}", "1x");
        is(r#""$B" '$B' \$B "\$B" "\n""#, r"x y $B $B $B \n");
        is(r"a\ b", "a b");
        is("$ $1 100%", "$ $1 100%");
        for wrong in ["${A", "${", "'a", "\"a", "${A!b}", "${NONE:?why}"] {
            assert!(expand(wrong, &[&variables()], '\\').is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_within_each_other_to_a_depth() {
        let nested = |depth: usize| format!("{}x{}", "${N:-".repeat(depth), "}".repeat(depth));
        assert_eq!(expand(&nested(DEPTH_MAX), &[], '\\').unwrap(), "x");
        // Beside each other there may be as many as are wanted.
        assert_eq!(expand(&nested(1).repeat(1000), &[], '\\').unwrap(), "x".repeat(1000));
        for text in [nested(DEPTH_MAX + 1), "${N:-".repeat(200_000)] {
            for refused in [expand(&text, &[], '\\'), expand_document(&text, &[], '\\')] {
                let refused = refused.unwrap_err().to_string();
                assert!(refused.contains("more than 64") && refused.contains("ARG"), "{refused}");
            }
        }
    }

    #[test]
    fn documents_keep_their_quotes() {
        let text = "it's \"$A\" \\$A\n";
        assert_eq!(expand_document(text, &[&variables()], '\\').unwrap(), "it's \"1\" $A\n");
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_breaks(word in ".{0,60}") {
            let _ = expand(&word, &[&variables()], '\\');
            let _ = expand_document(&word, &[&variables()], '\\');
            let _ = split(&word, '\\');
        }

        #[test]
        fn a_quoted_word_is_itself(text in "[^'\\n]{0,40}") {
            let quoted = format!("'{text}'");
            prop_assert_eq!(split(&quoted, '\\').len(), 1);
            prop_assert_eq!(expand(&quoted, &[&variables()], '\\').unwrap(), text);
        }

        #[test]
        fn split_words_are_the_words(words in prop::collection::vec("[a-z0-9=/$]{1,8}", 0..8)) {
            prop_assert_eq!(split(&words.join(" \t"), '\\'), words);
        }
    }
}
