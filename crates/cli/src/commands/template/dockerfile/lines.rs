//! The instructions of a Dockerfile, as they stand: comments gone, continued lines joined, and what `<<NAME` begins beside them.

use anyhow::{bail, ensure};

use super::TEXT_MAX;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins, from 1.
    pub(super) number: usize,
    /// In capitals.
    pub(super) keyword: String,
    /// What follows, joined to one line.
    pub(super) rest: String,
    /// The documents that it begins, in order.
    pub(super) documents: Vec<Document>,
}

impl Line {
    /// Where it stands and what it says, in short.
    pub(super) fn place(&self) -> String {
        format!("line {}: {} {:.80}", self.number, self.keyword, self.rest)
    }
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// The word that ends it.
    pub(super) name: String,
    /// With its last line break.
    pub(super) text: String,
    /// Whether variables in it are expanded.
    pub(super) expands: bool,
}

/// The instructions, and the character that continues lines and takes the meaning from others.
pub(super) fn lines(text: &str) -> anyhow::Result<(Vec<Line>, char)> {
    ensure!(
        text.len() <= TEXT_MAX,
        "the Dockerfile has {} bytes: at most {TEXT_MAX}",
        text.len()
    );
    let escape = escape(text)?;
    let mut reader = Reader {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate(),
        escape,
    };
    let mut found = Vec::new();
    while let Some(line) = reader.next()? {
        found.push(line);
    }
    Ok((found, escape))
}

/// What the directive `escape` says, which may stand before everything else.
fn escape(text: &str) -> anyhow::Result<char> {
    for line in text.lines() {
        let Some(directive) = line.trim().strip_prefix('#') else {
            break;
        };
        let Some((name, value)) = directive.split_once('=') else {
            break;
        };
        if name.trim().eq_ignore_ascii_case("escape") {
            return match value.trim() {
                "\\" => Ok('\\'),
                "`" => Ok('`'),
                other => bail!("the directive escape={other} is not valid: use \\ or `"),
            };
        }
    }
    Ok('\\')
}

struct Reader<'t> {
    rest: std::iter::Enumerate<std::str::Lines<'t>>,
    escape: char,
}

impl Reader<'_> {
    fn next(&mut self) -> anyhow::Result<Option<Line>> {
        let Some((number, joined)) = self.joined() else {
            return Ok(None);
        };
        let (keyword, rest) = joined.split_once(char::is_whitespace).unwrap_or((&joined, ""));
        let mut line = Line {
            number,
            keyword: keyword.to_ascii_uppercase(),
            rest: rest.trim().to_owned(),
            documents: Vec::new(),
        };
        if ["RUN", "COPY", "ADD"].contains(&line.keyword.as_str()) {
            for opening in openings(&line.rest) {
                line.documents.push(self.document(opening, number)?);
            }
        }
        Ok(Some(line))
    }

    /// The next line that says something, with those that continue it.
    fn joined(&mut self) -> Option<(usize, String)> {
        let (mut joined, mut begun) = (String::new(), None);
        for (at, line) in self.rest.by_ref() {
            let bare = line.trim();
            if bare.is_empty() || bare.starts_with('#') {
                continue;
            }
            let number = *begun.get_or_insert(at + 1);
            let Some(continued) = line.trim_end().strip_suffix(self.escape) else {
                joined.push_str(line);
                return Some((number, joined.trim().to_owned()));
            };
            joined.push_str(continued);
        }
        // The last line wants to be continued, and is not.
        begun.map(|number| (number, joined.trim().to_owned()))
    }

    fn document(&mut self, opening: Opening, number: usize) -> anyhow::Result<Document> {
        let mut text = String::new();
        for (_, line) in self.rest.by_ref() {
            let line = if opening.strips {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if line == opening.name {
                return Ok(Document {
                    name: opening.name,
                    text,
                    expands: opening.expands,
                });
            }
            text.push_str(line);
            text.push('\n');
        }
        bail!(
            "line {number}: <<{} has no end: write {0} on a line of its own",
            opening.name
        )
    }
}

/// The beginning of a here-document.
struct Opening {
    name: String,
    strips: bool,
    expands: bool,
}

/// Those in a line: at the beginning of a word, outside of quotes. `<<<` is none.
fn openings(rest: &str) -> Vec<Opening> {
    let (mut found, mut quote, mut at_word) = (Vec::new(), None, true);
    let mut left = rest;
    while let Some(first) = left.chars().next() {
        let after = &left[first.len_utf8()..];
        match quote {
            Some(open) => {
                if first == open {
                    quote = None;
                }
                at_word = false;
            }
            None if first == '\'' || first == '"' => {
                quote = Some(first);
                at_word = false;
            }
            None => {
                if at_word && let Some(opening) = begun(left) {
                    found.push(opening);
                }
                at_word = first.is_whitespace();
            }
        }
        left = after;
    }
    found
}

/// What a word begins: the number of what is read may stand before it.
fn begun(word: &str) -> Option<Opening> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
    word.strip_prefix("<<").and_then(opening)
}

fn opening(after: &str) -> Option<Opening> {
    let (strips, word) = match after.strip_prefix('-') {
        Some(word) => (true, word),
        None => (false, after),
    };
    let word = word.split(char::is_whitespace).next().unwrap_or_default();
    let quoted = ['\'', '"']
        .iter()
        .find_map(|quote| word.strip_prefix(*quote)?.strip_suffix(*quote));
    let name = quoted.unwrap_or(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let valid = !name.is_empty() && name.chars().all(plain);
    valid.then(|| Opening {
        name: name.to_owned(),
        strips,
        expands: quoted.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let (found, _) = lines(text).unwrap();
        found.into_iter().map(|line| (line.keyword, line.rest)).collect()
    }

    #[test]
    fn lines_are_joined_and_comments_are_gone() {
        let text = "# syntax=docker/dockerfile:1\n\nfrom  a\nRUN one \\\n  # why\n\n  two \\\n three\nCMD x \\";
        let found = read(text);
        assert_eq!(found[0], ("FROM".into(), "a".into()));
        assert_eq!(found[1], ("RUN".into(), "one   two  three".into()));
        assert_eq!(found[2], ("CMD".into(), "x".into()));
        assert_eq!(lines(text).unwrap().0[1].number, 4);
    }

    #[test]
    fn the_escape_may_be_another_one() {
        let (found, escape) = lines("# escape=`\nFROM a\nRUN dir c:\\`\n next").unwrap();
        assert_eq!((escape, found[1].rest.as_str()), ('`', "dir c:\\ next"));
        assert!(lines("# escape=x\nFROM a").is_err());
    }

    #[test]
    fn documents_lie_beside_their_instruction() {
        let text =
            "FROM a\nRUN python3 <<EOF && cat 3<<-'B C' <<\"B\" > x\nprint($X)\n# no comment\nEOF\n\ttab\nB\nCMD y";
        let (found, _) = lines(text).unwrap();
        let documents = &found[1].documents;
        assert_eq!(documents[0].text, "print($X)\n# no comment\n");
        assert!(documents[0].expands && !documents[1].expands);
        assert_eq!(
            (documents[1].name.as_str(), documents[1].text.as_str()),
            ("B", "\ttab\n")
        );
        assert_eq!(found[2].keyword, "CMD");
        assert_eq!(lines("RUN <<-A\n\tx\n\tA\n").unwrap().0[0].documents[0].text, "x\n");
    }

    #[test]
    fn what_looks_like_a_document_is_none() {
        for line in ["echo $((1<<2))", "echo '<<EOF'", "cat <<<word", "x<<EOF"] {
            assert!(openings(line).is_empty(), "{line}");
        }
        let endless = lines("FROM a\nRUN <<EOF\nx").unwrap_err().to_string();
        assert!(endless.contains("line 2") && endless.contains("EOF"), "{endless}");
    }
}
