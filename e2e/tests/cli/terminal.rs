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
        // In short sleeps: a shell that is told before it sleeps runs the trap only after that.
        terminal.type_in(
            "trap 'echo inter''rupted; told=1' INT; echo slee''ping; until test \"$told\"; do sleep 1; done\r",
        );
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
        // Before its prompt the shell does not look for the end of its input.
        terminal.expect("10 70\r\n/ # ");
        terminal.type_in("\u{4}");
        assert_eq!(terminal.wait(), 0);
    });
}

#[test]
fn a_terminal_is_left_and_joined_again() {
    on_each_driver(|host| {
        let mut terminal = Terminal::start(host.command(&["run", "-it", "--name", "m", BUSYBOX, "sh"]), 90, 30);
        terminal.expect("# ");
        terminal.type_in("echo before-$((1+1))\r");
        terminal.expect("before-2");
        terminal.type_in("\u{10}\u{11}");
        assert_eq!(terminal.wait(), 0, "the keys that leave");
        assert_eq!(host.state_of("m").as_deref(), Some("running"));
        let mut terminal = Terminal::start(host.command(&["attach", "m"]), 70, 20);
        terminal.type_in("busybox stty size\r");
        terminal.expect("20 70");
        terminal.type_in("exit 3\r");
        assert_eq!(terminal.wait(), 3);
        host.hearth(&["attach", "m"])
            .failed(125, &["stopped", "hearth start m"]);
    });
}
