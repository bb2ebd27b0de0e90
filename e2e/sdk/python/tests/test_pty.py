import pytest
from conftest import is_asynchronous, wait_until
from covers import covers
from e2b import CommandExitException, NotFoundException, PtySize, TimeoutException


class Terminal:
    """A terminal and what it has shown."""

    def __init__(self, sandbox, **options):
        self.sandbox = sandbox
        self.shown = bytearray()
        size = PtySize(rows=24, cols=80)
        if is_asynchronous(sandbox):
            self.handle = sandbox.pty.create(size, on_data=self.shown.extend, **options)
        else:
            self.handle = sandbox.pty.create(size, **options)

    def type(self, text):
        self.sandbox.pty.send_stdin(self.handle.pid, text.encode())

    def finish(self):
        """Waits for its end; gives the code."""
        try:
            if is_asynchronous(self.sandbox):
                return self.handle.wait().exit_code
            return self.handle.wait(on_pty=self.shown.extend).exit_code
        except CommandExitException as error:
            return error.exit_code

    def text(self):
        return self.shown.decode()


@covers("Pty.create", "Pty.send_stdin")
def test_create_type_and_end(sandbox):
    terminal = Terminal(sandbox, envs={"GREETING": "hello"}, cwd="/usr", user="root")
    terminal.type("echo $GREETING-$(pwd)-$(whoami)-$TERM; exit 5\n")
    assert terminal.finish() == 5
    assert "hello-/usr-root-xterm-256color" in terminal.text()


def test_it_is_a_terminal_of_the_size_asked_for(sandbox):
    terminal = Terminal(sandbox)
    terminal.type("tty && stty size; exit\n")
    terminal.finish()
    assert "/dev/pts/" in terminal.text() and "24 80" in terminal.text()


@covers("Pty.resize")
def test_resize(sandbox):
    terminal = Terminal(sandbox)
    sandbox.pty.resize(terminal.handle.pid, PtySize(rows=50, cols=132))
    terminal.type("stty size; exit\n")
    terminal.finish()
    assert "50 132" in terminal.text()


@covers("Pty.kill")
def test_kill(sandbox):
    terminal = Terminal(sandbox)
    assert sandbox.pty.kill(terminal.handle.pid) is True
    assert terminal.finish() == -1
    assert sandbox.pty.kill(terminal.handle.pid) is False


@covers("Pty.connect")
def test_connect(sandbox, folder):
    terminal = Terminal(sandbox)
    shown = bytearray()
    if is_asynchronous(sandbox):
        other = sandbox.pty.connect(terminal.handle.pid, on_data=shown.extend)
    else:
        other = sandbox.pty.connect(terminal.handle.pid)
    assert other.pid == terminal.handle.pid
    terminal.type(f"echo se''en > {folder}/seen; echo both''see; exit\n")
    other.wait() if is_asynchronous(sandbox) else other.wait(on_pty=shown.extend)
    terminal.finish()
    assert b"bothsee" in shown and "bothsee" in terminal.text()


@covers("Pty.stream_input")
def test_stream_input(sandbox):
    terminal = Terminal(sandbox)
    pid = terminal.handle.pid
    if is_asynchronous(sandbox):
        stream = sandbox.pty.stream_input(pid)
        stream.send("echo one''two; ")
        stream.send("exit 4\n")
        stream.close()
    else:
        sandbox.pty.stream_input(pid, ["echo one''two; ", b"exit 4\n"])
    assert terminal.finish() == 4
    assert "onetwo" in terminal.text()


def test_interrupts_reach_what_runs_in_front(sandbox):
    terminal = Terminal(sandbox)
    terminal.type("sleep 617; echo went''on; exit\n")
    # The pattern is no argument of its own search.
    runs = "grep -lszx '61[7]' /proc/[0-9]*/cmdline || true"
    wait_until(lambda: sandbox.commands.run(runs).stdout, "the start of the program in front")
    terminal.type("\x03")
    terminal.type("exit 6\n")
    assert terminal.finish() == 6


def test_a_terminal_is_listed(sandbox):
    terminal = Terminal(sandbox)
    found = next(process for process in sandbox.commands.list() if process.pid == terminal.handle.pid)
    assert (found.cmd, found.args) == ("/bin/bash", ["-i", "-l"])


def test_a_timeout_ends_it(sandbox):
    terminal = Terminal(sandbox, timeout=1.5)
    with pytest.raises(TimeoutException):
        terminal.finish()
    wait_until(lambda: sandbox.pty.kill(terminal.handle.pid) is False, "the end of the shell")


def test_nothing_there(sandbox):
    with pytest.raises(NotFoundException):
        sandbox.pty.send_stdin(999_999, b"x")
    with pytest.raises(NotFoundException):
        sandbox.pty.resize(999_999, PtySize(rows=1, cols=1))
