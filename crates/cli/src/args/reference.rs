//! `docs/configuration.md` is made from the help texts, so that it cannot say something else.

use std::{fmt::Write as _, fs, path::Path};

use clap::{Arg, Command, CommandFactory as _};

use super::{Cli, GLOBAL};

const HEAD: &str = "# Configuration

Every flag and variable of the daemon, and those that all commands share. `hearth COMMAND --help` tells the others'. There is no
configuration file: a systemd unit or a script holds the flags. What is written goes before variables.

This is made from the help texts by a test; `HEARTH_BLESS=1 cargo nextest run -p hearth-cli reference` writes it anew.
";
/// What no flag stands for.
const VARIABLES: &str = "
## Variables without a flag

| variable | of | |
|---|---|---|
| `HEARTH_KEY` | commands | the key, for a daemon that is not on a socket |
| `HEARTH_CA_FILE` | commands | whom to trust for its certificate, as a PEM file, besides the authorities of the host |
| `DOCKER_CONFIG` | commands | folder of the `config.json` with registries' credentials; `~/.docker` |
| `HEARTH_LOG` | `hearth up` | what is logged, in the form of `tracing`: `debug`, or `info,hearth_node=debug` |
| `HEARTH_MASTER_KEY` | `hearth up` | the key that closes secrets, 64 hexadecimal digits, instead of the file `master.key` |
| `HEARTH_FAKE_DRIVER=1` | `hearth up` | for tests: the fake driver as well, whose machines are nothing but records |
";

#[test]
fn the_reference_is_made_from_the_help() {
    let mut command = Cli::command();
    command.build();
    let made = reference(&command);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("HEARTH_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/configuration.md is stale: HEARTH_BLESS=1 cargo nextest run -p hearth-cli reference"
    );
}

fn reference(command: &Command) -> String {
    let up = command.find_subcommand("up").unwrap();
    let mut text = format!("{HEAD}\n## `hearth up`\n\nThe daemon.\n");
    text.push_str(&table(up, |argument| argument.get_help_heading() != Some(GLOBAL)));
    text.push_str("\n## All commands\n");
    text.push_str(&table(command, |argument| argument.get_help_heading() == Some(GLOBAL)));
    text.push_str(VARIABLES);
    text
}

fn table(command: &Command, wanted: impl Fn(&Arg) -> bool) -> String {
    let mut text = "\n| flag | variable | default | |\n|---|---|---|---|\n".to_owned();
    let hidden = |argument: &Arg| argument.is_hide_set() || ["help", "version"].contains(&argument.get_id().as_str());
    for argument in command
        .get_arguments()
        .filter(|argument| wanted(argument) && !hidden(argument))
    {
        let Some(flag) = argument.get_long() else { continue };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let (help, default) = taken(&help, "default");
        let (help, variable) = taken(&help, "env");
        let takes = if argument.get_action().takes_values() {
            let names = argument.get_value_names().unwrap_or_default();
            names.iter().flat_map(|name| [" ", name]).collect()
        } else {
            String::new()
        };
        let own = argument.get_env().map(|name| name.to_string_lossy().into_owned());
        let defaults = argument.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
        let is_switch = !argument.get_action().takes_values();
        let default = default.unwrap_or_else(|| if is_switch { String::new() } else { defaults.join(" ") });
        let variable = own.or(variable).map(|name| format!("`{name}`")).unwrap_or_default();
        let row = format!("`--{flag}{takes}` \0 {variable} \0 {default} \0 {help}");
        let _ = writeln!(text, "| {} |", row.replace('|', "\\|").replace('\0', "|"));
    }
    text
}

/// A help text without its `[word: …]`, and that.
fn taken(help: &str, word: &str) -> (String, Option<String>) {
    let Some((before, rest)) = help.split_once(&format!(" [{word}: ")) else {
        return (help.to_owned(), None);
    };
    // What stands in it may have brackets of its own.
    let mut depth = 1;
    let end = rest.char_indices().find(|(_, c)| {
        depth += match c {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        depth == 0
    });
    let (value, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
    (
        format!("{before}{}", after.trim_start_matches(']')),
        Some(value.to_owned()),
    )
}

#[test]
fn defaults_are_taken_out_of_the_help() {
    assert_eq!(
        taken("Project [env: X] [default: a [b] c]", "default"),
        ("Project [env: X]".to_owned(), Some("a [b] c".to_owned()))
    );
    assert_eq!(taken("Plain", "default"), ("Plain".to_owned(), None));
}
