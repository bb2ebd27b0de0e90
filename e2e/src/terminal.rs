//! A program on a terminal, as a person would use it.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::wait_for;

/// A command that runs on a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` on a new terminal of a size.
    ///
    /// # Panics
    /// If there is no terminal to be had.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty can be had");
        grantpt(&ours).expect("a new pty");
        unlockpt(&ours).expect("a new pty");
        let name = ptsname(&ours, Vec::new()).expect("a new pty");
        let theirs = rustix::fs::open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let theirs = File::from(theirs.expect("a new pty"));
        let keyboard = File::from(ours);
        set_size(&keyboard, columns, rows);
        let child = command
            .stdin(Stdio::from(theirs.try_clone().expect("a file")))
            .stdout(Stdio::from(theirs.try_clone().expect("a file")))
            .stderr(Stdio::from(theirs))
            .spawn()
            .expect("the command can be run");
        drop(command);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (shown, mut reader) = (Arc::clone(&screen), keyboard.try_clone().expect("a file"));
        // Ends when the last writer closes the terminal.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                shown
                    .lock()
                    .expect("no panic holds it")
                    .extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            child,
            keyboard,
            screen,
        }
    }

    /// What was shown so far.
    ///
    /// # Panics
    /// If the reader did.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic holds it")).into_owned()
    }

    /// Waits until something is shown.
    pub fn expect(&self, text: &str) {
        wait_for(
            &format!("{text:?} on the terminal, which shows {:?}", self.screen()),
            || self.screen().contains(text).then_some(()),
        );
    }

    /// Types.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Changes the window's size, and says so as a terminal emulator does.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) {
        set_size(&self.keyboard, columns, rows);
        // The kernel tells only the foreground group of a controlling terminal, which this one is not.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::WINCH).expect("one's own child");
    }

    /// Waits for the end and gives the exit code.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(mut self) -> i32 {
        wait_for("the command on the terminal to end", || {
            self.child.try_wait().expect("one's own child")
        })
        .code()
        .unwrap_or(-1)
    }
}

fn set_size(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a terminal");
}
