//! Files of a sandbox, as its user reads and writes them: by programs in it, so that what a command may see and what a tool
//! may see are the same. Scripts need bash, `stat`, `head` and `tail`, of any make.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effect, Offer};
use crate::{
    exec::{self, Ended, Program},
    failure::Failure,
    output::{Kept, clean, is_plain},
    session::Session,
};

/// Entries of a folder that are listed.
const ENTRIES_MAX: usize = 1000;
/// Bytes of a list of those: names have at most 255, and numbers stand beside them.
const LIST_MAX_BYTES: usize = 512 << 10;
/// Bytes of a file that are read at once, unless it is said.
const READ_BYTES: u32 = 64 << 10;
/// Bytes that may be asked for at once.
const READ_MAX_BYTES: u32 = 256 << 10;
/// Bytes that are written at once.
const WRITE_MAX_BYTES: usize = 2 << 20;
/// Bytes of a path, as the kernel has it.
const PATH_MAX_BYTES: usize = 4095;
/// Room for what a script says before the file.
const HEADER_BYTES: usize = 64;

/// Exit codes of the scripts.
const ABSENT: i32 = 44;
const WRONG_KIND: i32 = 45;
const NOT_ALLOWED: i32 = 46;

/// Numbers of each entry, a line each; an empty line; names, each ended by NUL. An entry that vanished meanwhile breaks the
/// count, which the reader sees.
const LIST: &str = r#"
[ -e "$1" ] || exit 44
[ -d "$1" ] || exit 45
cd -- "$1" 2>/dev/null && [ -r . ] || exit 46
shopt -s nullglob dotglob
all=(*)
some=("${all[@]:0:$2}")
echo "${#all[@]}"
[ ${#some[@]} -eq 0 ] || stat -c '%f %s %Y' -- "${some[@]}" || exit 1
echo
[ ${#some[@]} -eq 0 ] || printf '%s\0' "${some[@]}"
"#;
/// The size in a line; then so many bytes from an offset on.
const READ: &str = r#"
[ -e "$1" ] || exit 44
[ -f "$1" ] || exit 45
[ -r "$1" ] || exit 46
stat -L -c %s -- "$1" || exit 1
tail -c "+$2" -- "$1" | head -c "$3"
"#;
/// The size afterwards.
const WRITE: &str = r#"
[ ! -d "$1" ] || exit 45
case $1 in */*) mkdir -p -- "${1%/*}/" || exit 46;; esac
if [ "$2" = append ]; then cat >>"$1"; else cat >"$1"; fi || exit 46
stat -L -c %s -- "$1"
"#;

/// `list_files`.
pub(super) struct List;

/// What `list_files` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArgs {
    /// The sandbox's ID, as `sandbox_create` gave it.
    sandbox: String,
    /// The folder; one that does not begin with / is meant from the template's working folder on.
    path: String,
    /// User, by name or number; the template's if absent.
    #[serde(default)]
    user: Option<String>,
}

/// What `list_files` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Folder {
    /// In the order of their names.
    entries: Vec<Entry>,
    /// How many there are; more than are listed if over 1000.
    total: u64,
}

/// What lies in a folder.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Entry {
    /// Its name.
    name: String,
    /// `file`, `directory`, `symlink` or `other`.
    kind: &'static str,
    /// Size in bytes.
    size_bytes: u64,
    /// Permissions, in octal.
    mode: String,
    /// When it was last changed (RFC 3339).
    modified_at: String,
}

impl Offer for List {
    type Args = ListArgs;
    type Answer = Folder;
    const NAME: &'static str = "list_files";
    const TITLE: &'static str = "List a folder";
    const DESCRIPTION: &'static str = "Lists a folder of a sandbox, hidden files included, at most 1000 entries; not what is in its folders. \
        A paused sandbox is resumed.";
    const EFFECT: Effect = Effect::Reads;

    async fn call(session: &Session, args: ListArgs) -> Result<Folder, Failure> {
        let (path, most) = (in_guest(&args.path)?, ENTRIES_MAX.to_string());
        let program = Program::script(LIST, &[path, &most], Kept::beginning(LIST_MAX_BYTES)).by(args.user);
        let ended = in_sandbox(session, &args.sandbox, program).await?;
        done(&ended, path, "a folder", "read_file")?;
        entries(&ended.stdout.into_bytes())
            .ok_or_else(|| Failure::new(format!("{path} changed while it was listed; list it again")))
    }
}

/// Reads what the script says, if it is all there.
fn entries(said: &[u8]) -> Option<Folder> {
    let mut lines = said.splitn(2, |byte| *byte == b'\n');
    let total = text(lines.next()?)?.parse().ok()?;
    let mut rest = lines.next()?;
    let mut numbers = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        numbers.push(text(line)?);
    }
    let names: Vec<&[u8]> = rest.split_inclusive(|byte| *byte == 0).collect();
    if names.len() != numbers.len() {
        return None;
    }
    let mut entries = numbers
        .iter()
        .zip(names)
        .map(|(numbers, name)| entry(numbers, name.strip_suffix(b"\0")?));
    Some(Folder {
        total,
        entries: entries.by_ref().collect::<Option<_>>()?,
    })
}

fn entry(numbers: &str, name: &[u8]) -> Option<Entry> {
    let mut numbers = numbers.split(' ');
    let mode = u32::from_str_radix(numbers.next()?, 16).ok()?;
    let size_bytes = numbers.next()?.parse().ok()?;
    let modified = Timestamp::from_second(numbers.next()?.parse().ok()?).ok()?;
    Some(Entry {
        name: clean(name).replace('\n', "\u{fffd}"),
        kind: match mode & 0o170_000 {
            0o100_000 => "file",
            0o040_000 => "directory",
            0o120_000 => "symlink",
            _ => "other",
        },
        size_bytes,
        mode: format!("{:04o}", mode & 0o7777),
        modified_at: modified.to_string(),
    })
}

/// `read_file`.
pub(super) struct Read;

/// What `read_file` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadArgs {
    /// The sandbox's ID, as `sandbox_create` gave it.
    sandbox: String,
    /// The file; one that does not begin with / is meant from the template's working folder on.
    path: String,
    /// Byte to begin with; 0 if absent.
    #[serde(default)]
    offset_bytes: u64,
    /// Bytes to read: 1 to 262144; 65536 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 262_144))]
    max_bytes: Option<u32>,
    /// User, by name or number; the template's if absent.
    #[serde(default)]
    user: Option<String>,
}

/// What `read_file` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Piece {
    /// What stands there, as `encoding` says.
    content: String,
    /// `utf-8`, or `base64` where it is no plain text.
    encoding: &'static str,
    /// Size of the whole file in bytes.
    size_bytes: u64,
    /// Byte to go on with; absent at the end of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset_bytes: Option<u64>,
}

impl Offer for Read {
    type Args = ReadArgs;
    type Answer = Piece;
    const NAME: &'static str = "read_file";
    const TITLE: &'static str = "Read a file";
    const DESCRIPTION: &'static str = "Reads a file of a sandbox, or a piece of it: at most 256 KiB at once. Text comes as it is, anything else as \
        base64. Where more follows, next_offset_bytes says how to go on. A paused sandbox is resumed.";
    const EFFECT: Effect = Effect::Reads;

    async fn call(session: &Session, args: ReadArgs) -> Result<Piece, Failure> {
        let most = args.max_bytes.unwrap_or(READ_BYTES);
        if !(1..=READ_MAX_BYTES).contains(&most) {
            let way_out = format!("write 1 to {READ_MAX_BYTES}, and go on by offset_bytes");
            return Err(Failure::field("max_bytes", most, way_out));
        }
        let path = in_guest(&args.path)?;
        // `tail` counts from one.
        let (from, count) = (args.offset_bytes.saturating_add(1).to_string(), most.to_string());
        let keep = Kept::beginning(most as usize + HEADER_BYTES);
        let program = Program::script(READ, &[path, &from, &count], keep).by(args.user);
        let ended = in_sandbox(session, &args.sandbox, program).await?;
        done(&ended, path, "a regular file", "list_files")?;
        content(&ended.stdout.into_bytes(), args.offset_bytes).ok_or_else(|| {
            Failure::new(format!(
                "{path} cannot be read: the sandbox's programs answer in no form that is known"
            ))
        })
    }
}

fn content(said: &[u8], offset: u64) -> Option<Piece> {
    let end = said.iter().position(|byte| *byte == b'\n')?;
    let size_bytes: u64 = text(&said[..end])?.parse().ok()?;
    let mut bytes = &said[end + 1..];
    let more = |length: usize| offset.saturating_add(length as u64) < size_bytes;
    // A piece that ends within a character leaves that to the next one.
    if let Err(error) = std::str::from_utf8(bytes)
        && error.error_len().is_none()
        && error.valid_up_to() > 0
        && more(bytes.len())
    {
        bytes = &bytes[..error.valid_up_to()];
    }
    let plain = text(bytes).filter(|text| text.chars().all(|c| is_plain(c) || c == '\r'));
    Some(Piece {
        content: plain.map_or_else(|| STANDARD.encode(bytes), ToOwned::to_owned),
        encoding: if plain.is_some() { "utf-8" } else { "base64" },
        size_bytes,
        next_offset_bytes: (!bytes.is_empty() && more(bytes.len())).then(|| offset.saturating_add(bytes.len() as u64)),
    })
}

/// `write_file`.
pub(super) struct Write;

/// What `write_file` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteArgs {
    /// The sandbox's ID, as `sandbox_create` gave it.
    sandbox: String,
    /// The file; one that does not begin with / is meant from the template's working folder on. Its folders are made.
    path: String,
    /// What is to stand there; at most 2 MiB.
    content: String,
    /// How `content` is written; `utf-8` if absent.
    #[serde(default)]
    encoding: Encoding,
    /// Whether it is added to the end of a file that is there, which is replaced otherwise.
    #[serde(default)]
    append: bool,
    /// User, by name or number, whose it will be; the template's if absent.
    #[serde(default)]
    user: Option<String>,
}

/// How bytes are written in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
enum Encoding {
    /// As text.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// In base64, for anything.
    #[serde(rename = "base64")]
    Base64,
}

/// What `write_file` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Written {
    /// Size of the file now, in bytes.
    size_bytes: u64,
}

impl Offer for Write {
    type Args = WriteArgs;
    type Answer = Written;
    const NAME: &'static str = "write_file";
    const TITLE: &'static str = "Write a file";
    const DESCRIPTION: &'static str = "Writes a file of a sandbox, at most 2 MiB at once, and makes its folders; a file that is there is replaced, \
        or added to with `append`. A paused sandbox is resumed.";
    const EFFECT: Effect = Effect::Destroys;

    async fn call(session: &Session, args: WriteArgs) -> Result<Written, Failure> {
        let path = in_guest(&args.path)?;
        let how = if args.append { "append" } else { "replace" };
        let mut program = Program::script(WRITE, &[path, how], Kept::beginning(HEADER_BYTES)).by(args.user);
        program.input = Some(decoded(args.content, args.encoding)?);
        let ended = in_sandbox(session, &args.sandbox, program).await?;
        done(&ended, path, "a file", "another path")?;
        let size_bytes = text(&ended.stdout.into_bytes()).and_then(|said| said.trim().parse().ok());
        Ok(Written {
            size_bytes: size_bytes
                .ok_or_else(|| Failure::new(format!("{path} was written, but its size is not known")))?,
        })
    }
}

fn decoded(content: String, encoding: Encoding) -> Result<Bytes, Failure> {
    let bytes = match encoding {
        Encoding::Utf8 => content.into_bytes(),
        Encoding::Base64 => STANDARD
            .decode(&content)
            .map_err(|error| Failure::field("content", &content, format_args!("it is no base64 ({error})")))?,
    };
    if bytes.len() > WRITE_MAX_BYTES {
        let way_out = format!("write at most {WRITE_MAX_BYTES} bytes at once, and the rest with append");
        return Err(Failure::field(
            "content",
            format_args!("{} bytes", bytes.len()),
            way_out,
        ));
    }
    Ok(bytes.into())
}

fn in_guest(path: &str) -> Result<&str, Failure> {
    if path.is_empty() || path.len() > PATH_MAX_BYTES || path.contains('\0') {
        let way_out = format!("write 1 to {PATH_MAX_BYTES} bytes without NUL");
        return Err(Failure::field("path", path, way_out));
    }
    Ok(path)
}

async fn in_sandbox(session: &Session, sandbox: &str, program: Program) -> Result<Ended, Failure> {
    let sandbox = session.wake(sandbox, program.within).await?;
    exec::run(&session.client, &sandbox.id.to_string(), program).await
}

/// Whether a script came to its end.
fn done(ended: &Ended, path: &str, wanted: &str, instead: &str) -> Result<(), Failure> {
    let code = ended.code()?;
    Err(match code {
        0 => return Ok(()),
        ABSENT => Failure::field("path", path, "the sandbox has nothing there; look with list_files"),
        WRONG_KIND => Failure::field("path", path, format_args!("it is not {wanted}; use {instead}")),
        NOT_ALLOWED => Failure::field(
            "path",
            path,
            format_args!(
                "the user may not do this there; name another user, such as root{}",
                said(ended)
            ),
        ),
        _ => Failure::new(format!(
            "{path}: the sandbox's programs failed with {code}{}",
            said(ended)
        )),
    })
}

fn said(ended: &Ended) -> String {
    let errors = ended.stderr.text();
    let message = ended.exit.as_ref().and_then(|exit| exit.message.as_deref());
    match errors.trim() {
        "" => message.map(|message| format!(" ({message})")).unwrap_or_default(),
        errors => format!(" ({errors})"),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let folder = entries(b"3\n81a4 5 0\n41ed 4096 60\na1ff 1 0\n\na.txt\0b\nc\0\xff\0").unwrap();
        assert_eq!(folder.total, 3);
        let seen: Vec<_> = folder
            .entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.kind, entry.mode.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("a.txt", "file", "0644"),
                ("b\u{fffd}c", "directory", "0755"),
                ("\u{fffd}", "symlink", "0777")
            ]
        );
        assert_eq!(folder.entries[1].modified_at, "1970-01-01T00:01:00Z");
        assert_eq!(entries(b"0\n\n").unwrap().total, 0);
        for torn in [
            &b""[..],
            b"x",
            b"1\n",
            b"1\n81a4 5 0\n\n",
            b"2\n81a4 5 0\n\na\0b\0",
            b"1\n81a4 5 0\n\na",
            b"1\nzz 5 0\n\na\0",
        ] {
            assert!(entries(torn).is_none(), "{torn:?}");
        }
    }

    #[test]
    fn a_file_is_text_or_base64() {
        let plain = content(b"6\nh\xc3\xa9\r\n!", 0).unwrap();
        assert_eq!(
            (plain.content.as_str(), plain.encoding, plain.next_offset_bytes),
            ("hé\r\n!", "utf-8", None)
        );
        let wild = content(b"3\na\x1bb", 0).unwrap();
        assert_eq!((wild.content.as_str(), wild.encoding), ("YRti", "base64"));
        assert!(content(b"x\n", 0).is_none());
    }

    #[test]
    fn a_piece_ends_before_a_character_that_is_cut() {
        let piece = content(b"10\nab\xc3", 0).unwrap();
        assert_eq!((piece.content.as_str(), piece.next_offset_bytes), ("ab", Some(2)));
        let next = content(b"10\n\xc3\xa9", 2).unwrap();
        assert_eq!((next.content.as_str(), next.next_offset_bytes), ("é", Some(4)));
        let only = content(b"10\n\xc3", 2).unwrap();
        assert_eq!(
            (only.encoding, only.next_offset_bytes),
            ("base64", Some(3)),
            "it goes on in any case"
        );
        assert_eq!(content(b"10\n", 10).unwrap().next_offset_bytes, None);
    }

    #[test]
    fn what_is_written_is_bounded() {
        assert_eq!(decoded("aGk=".into(), Encoding::Base64).unwrap(), "hi");
        assert!(
            decoded("#".into(), Encoding::Base64)
                .unwrap_err()
                .to_string()
                .starts_with("content")
        );
        let long = decoded("x".repeat(WRITE_MAX_BYTES + 1), Encoding::Utf8).unwrap_err();
        assert!(long.to_string().contains("append"), "{long}");
        assert!(in_guest("").is_err() && in_guest("a\0b").is_err() && in_guest("/a b").is_ok());
    }
}
