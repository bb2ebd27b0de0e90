//! `-t`: a terminal in the machine, joined to ours.

use hearth_e2e::{BUSYBOX, Terminal};

use crate::{on_each_driver, sleeper};

#[test]
fn a_program_has_a_terminal_of_our_size() {
    on_each_driver(|host| {
        let mut terminal = Terminal::start(host.command(&["run", "--rm", "-it", BUSYBOX, "sh"]), 90, 30);
        terminal.expect("# ");
        terminal.type_in("busybox stty size; test -t 0 && echo is-a-t''ty\r");
        terminal.expect("30 90");
        terminal.expect("is-a-tty");
        terminal.resize(132, 43);
        terminal.type_in("busybox stty size\r");
        terminal.expect("43 132");
        terminal.type_in("trap 'echo inter''rupted' INT; echo slee''ping; sleep 1000\r");
        terminal.expect("sleeping");
        terminal.type_in("\u{3}");
        terminal.expect("interrupted");
        terminal.type_in("exit 7\r");
        assert_eq!(terminal.wait(), 7);
    });
}

#[test]
fn exec_has_a_terminal_too() {
    on_each_driver(|host| {
        sleeper(host, "m", &[]);
        let mut terminal = Terminal::start(host.command(&["exec", "-it", "m", "sh"]), 100, 20);
        terminal.expect("# ");
        terminal.type_in("busybox stty size\r");
        terminal.expect("20 100");
        terminal.resize(70, 10);
        terminal.type_in("busybox stty size\r");
        terminal.expect("10 70");
        terminal.type_in("\u{4}");
        assert_eq!(terminal.wait(), 0);
    });
}
