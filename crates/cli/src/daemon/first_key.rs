//! The key that a new host begins with, told once.
//!
//! A daemon writes it to its standard output, before it answers its first call. That of a detached one is a pipe to the
//! command that started it, and not the log: so it tells the key, and nothing keeps it.

use std::io::{self, Read, Write};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

use super::detach;

/// How each key begins.
const PREFIX: &str = "hth_";
/// The longest line that is read from a daemon, in bytes.
const LINE_MAX: u64 = 1024;

/// Tells the key to whoever started the daemon.
pub(crate) fn tell(key: &str, json: bool) -> io::Result<()> {
    let line = if detach::is_detached() {
        key.to_owned()
    } else if json {
        serde_json::json!({ "first_key": key }).to_string()
    } else {
        words(key)
    };
    let mut out = io::stdout().lock();
    let told = writeln!(out, "{line}").and_then(|()| out.flush());
    match told {
        // Nobody reads: another one is made by `hearth key create` on the socket.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}

/// The key and what to do with it, for people.
pub(crate) fn words(key: &str) -> String {
    format!(
        "The first key, for this host's admin; it is shown this once:\n\n    {key}\n\n\
         Use it from afar as HEARTH_KEY. Lost? Make another on this host: hearth key create --role admin"
    )
}

/// The key that a daemon told, if it has by now.
pub(crate) fn heard(pipe: &mut (impl Read + std::os::fd::AsFd)) -> io::Result<Option<String>> {
    let flags = fcntl_getfl(&pipe)?;
    fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
    let mut text = Vec::new();
    match pipe.take(LINE_MAX).read_to_end(&mut text) {
        Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {}
        read => {
            read?;
        }
    }
    let text = String::from_utf8_lossy(&text);
    let key = text.lines().map(str::trim).find(|line| line.starts_with(PREFIX));
    Ok(key.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::io::pipe;

    use super::*;

    #[test]
    fn a_key_is_heard_while_the_daemon_goes_on() {
        let (mut reader, mut writer) = pipe().unwrap();
        assert_eq!(heard(&mut reader).unwrap(), None);
        let key = format!("hth_{}{}", "0".repeat(26), "a".repeat(64));
        writeln!(writer, "{key}").unwrap();
        assert_eq!(heard(&mut reader).unwrap().as_deref(), Some(key.as_str()));
        writeln!(writer, "something else").unwrap();
        drop(writer);
        assert_eq!(heard(&mut reader).unwrap(), None);
    }
}
