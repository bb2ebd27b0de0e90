import threading
import time

import pytest
from conftest import is_asynchronous, wait_until
from covers import covers
from e2b import (
    AuthenticationException,
    CommandExitException,
    InvalidArgumentException,
    NotFoundException,
    SandboxException,
    TimeoutException,
)


def start(sandbox, cmd, **options):
    return sandbox.commands.run(cmd, background=True, **options)


def pids(sandbox):
    return {process.pid for process in sandbox.commands.list()}


def is_alive(sandbox, pid):
    result = sandbox.commands.run(f"kill -0 {pid} 2>/dev/null && echo yes || echo no")
    return result.stdout == "yes\n"


@covers("Commands.run")
def test_run_gives_output_and_code(sandbox):
    result = sandbox.commands.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.exit_code, result.error) == ("out\n", "err\n", 0, None)


def test_run_that_fails_raises_with_everything(sandbox):
    with pytest.raises(CommandExitException) as raised:
        sandbox.commands.run("echo out; echo err >&2; exit 7")
    error = raised.value
    assert (error.stdout, error.stderr, error.exit_code, error.error) == ("out\n", "err\n", 7, "exit status 7")


def test_run_of_an_unknown_command_is_a_shells_127(sandbox):
    with pytest.raises(CommandExitException) as raised:
        sandbox.commands.run("hearth-no-such-command")
    assert raised.value.exit_code == 127 and "not found" in raised.value.stderr


@covers("Commands.run")
def test_run_calls_back_with_each_stream(sandbox):
    out, err = [], []
    result = sandbox.commands.run(
        "for i in 1 2 3; do echo o$i; echo e$i >&2; done", on_stdout=out.append, on_stderr=err.append
    )
    assert "".join(out) == result.stdout == "o1\no2\no3\n"
    assert "".join(err) == result.stderr == "e1\ne2\ne3\n"


def test_run_keeps_characters_whole(sandbox):
    text = "žluťoučký 🦀 " * 20_000
    result = sandbox.commands.run("for i in $(seq 20000); do printf 'žluťoučký 🦀 '; done")
    assert result.stdout == text


def test_run_without_retained_output(sandbox):
    pieces = []
    result = sandbox.commands.run("seq 1 1000", on_stdout=pieces.append, retain_output=False)
    assert result.stdout is None and "".join(pieces).endswith("1000\n")


def test_run_with_much_output(sandbox):
    result = sandbox.commands.run("seq 1 300000")
    assert result.stdout == "".join(f"{number}\n" for number in range(1, 300_001))


def test_run_with_environment_folder_and_user(sandbox):
    result = sandbox.commands.run(
        "echo $GREETING $(pwd) $(whoami) $USER $LOGNAME $HOME", envs={"GREETING": "hello"}, cwd="/usr", user="root"
    )
    assert result.stdout == "hello /usr root root root /root\n"


def test_run_in_a_folder_that_is_absent(sandbox):
    with pytest.raises(InvalidArgumentException, match="does not exist"):
        sandbox.commands.run("true", cwd="/no/such/folder")


def test_run_as_nobody_known(sandbox):
    with pytest.raises(AuthenticationException):
        sandbox.commands.run("true", user="hearth-no-such-user")


def test_run_is_a_login_shell_without_input(sandbox):
    assert sandbox.commands.run("shopt -q login_shell && cat && echo over").stdout == "over\n"


@covers("Commands.run")
def test_a_timeout_kills_the_command(sandbox, folder):
    began = time.monotonic()
    with pytest.raises(TimeoutException):
        sandbox.commands.run(f"echo $$ > {folder}/pid; sleep 600 & wait", timeout=1.5)
    assert time.monotonic() - began < 20
    pid = sandbox.files.read(f"{folder}/pid").strip()
    wait_until(lambda: not is_alive(sandbox, pid), "the end of the command")


def test_a_timeout_of_zero_is_none(sandbox):
    assert sandbox.commands.run("sleep 0.2; echo done", timeout=0).stdout == "done\n"


@covers("Commands.run", "CommandHandle.wait")
def test_background_command_and_its_handle(sandbox):
    handle = start(sandbox, "sleep 0.3; echo late")
    assert handle.pid in pids(sandbox)
    assert handle.wait().stdout == "late\n"
    wait_until(lambda: handle.pid not in pids(sandbox), "the command's leaving the list")


@covers("Commands.list")
def test_list_says_what_runs(sandbox):
    handle = start(sandbox, "sleep 600", envs={"A": "b"}, cwd="/usr")
    found = next(process for process in sandbox.commands.list() if process.pid == handle.pid)
    assert (found.cmd, found.args, found.envs, found.cwd, found.tag) == (
        "/bin/bash", ["-l", "-c", "sleep 600"], {"A": "b"}, "/usr", None
    )


@covers("Commands.kill")
def test_kill_and_what_the_handle_says(sandbox):
    handle = start(sandbox, "sleep 600")
    assert sandbox.commands.kill(handle.pid) is True
    with pytest.raises(CommandExitException) as raised:
        handle.wait()
    assert (raised.value.exit_code, raised.value.error) == (-1, "signal: killed")
    assert sandbox.commands.kill(handle.pid) is False


@covers("CommandHandle.kill")
def test_kill_by_the_handle(sandbox):
    handle = start(sandbox, "sleep 600")
    assert handle.kill() is True
    with pytest.raises(CommandExitException):
        handle.wait()
    assert handle.kill() is False


def test_kill_of_nothing(sandbox):
    assert sandbox.commands.kill(999_999) is False


def test_connect_of_nothing(sandbox):
    with pytest.raises(NotFoundException):
        sandbox.commands.connect(999_999)


@covers("Commands.connect")
def test_connect_gives_what_comes_from_then_on(sandbox, folder):
    first = start(sandbox, f"echo before; touch {folder}/said; while [ ! -e {folder}/go ]; do sleep 0.05; done; echo after; exit 3")
    wait_until(lambda: sandbox.files.exists(f"{folder}/said"), "the first output")
    second = sandbox.commands.connect(first.pid)
    assert second.pid == first.pid
    sandbox.files.write(f"{folder}/go", "")
    with pytest.raises(CommandExitException) as raised:
        second.wait()
    assert (raised.value.stdout, raised.value.exit_code) == ("after\n", 3)
    with pytest.raises(CommandExitException) as raised:
        first.wait()
    assert raised.value.stdout == "before\nafter\n"


@covers("CommandHandle.disconnect")
def test_disconnecting_leaves_the_command_running(sandbox, folder):
    handle = start(sandbox, f"while [ ! -e {folder}/go ]; do echo noise; sleep 0.01; done; echo over > {folder}/half; mv {folder}/half {folder}/done")
    handle.disconnect()
    assert handle.pid in pids(sandbox)
    sandbox.files.write(f"{folder}/go", "")
    wait_until(lambda: sandbox.files.exists(f"{folder}/done"), "the command's end")
    assert sandbox.files.read(f"{folder}/done") == "over\n"


@covers("Commands.send_stdin")
def test_send_stdin(sandbox):
    handle = start(sandbox, "read line; echo got $line", stdin=True)
    sandbox.commands.send_stdin(handle.pid, "some žluť text\n")
    assert handle.wait().stdout == "got some žluť text\n"


@covers("CommandHandle.send_stdin")
def test_send_stdin_by_the_handle(sandbox):
    handle = start(sandbox, "read line; echo got $line", stdin=True)
    handle.send_stdin(b"bytes\n")
    assert handle.wait().stdout == "got bytes\n"


@covers("Commands.close_stdin")
def test_close_stdin(sandbox):
    handle = start(sandbox, "cat; echo over", stdin=True)
    sandbox.commands.send_stdin(handle.pid, "typed\n")
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "typed\nover\n"


@covers("CommandHandle.close_stdin")
def test_close_stdin_by_the_handle(sandbox):
    handle = start(sandbox, "wc -c", stdin=True)
    handle.send_stdin("12345")
    handle.close_stdin()
    assert handle.wait().stdout.strip() == "5"


def test_send_stdin_where_there_is_none(sandbox):
    handle = start(sandbox, "sleep 600")
    with pytest.raises(SandboxException):
        sandbox.commands.send_stdin(handle.pid, "text")
    with pytest.raises(NotFoundException):
        sandbox.commands.send_stdin(999_999, "text")
    with pytest.raises(NotFoundException):
        sandbox.commands.close_stdin(999_999)


@covers("Commands.stream_input", "CommandInputHandle.send", "CommandInputHandle.close")
def test_stream_input(sandbox):
    handle = start(sandbox, "wc -c", stdin=True)
    piece = b"x" * 100_000
    if is_asynchronous(sandbox):
        stream = sandbox.commands.stream_input(handle.pid)
        for _ in range(20):
            stream.send(piece)
        stream.close()
    else:
        sandbox.commands.stream_input(handle.pid, [piece] * 20)
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout.strip() == "2000000"


def test_stream_input_to_nothing(sandbox):
    with pytest.raises(NotFoundException):
        if is_asynchronous(sandbox):
            sandbox.commands.stream_input(999_999).close()
        else:
            sandbox.commands.stream_input(999_999, ["text"])


def test_what_is_left_in_the_background_does_not_hold_the_result_up(sandbox):
    began = time.monotonic()
    result = sandbox.commands.run("sleep 600 & echo $!")
    assert time.monotonic() - began < 20
    sandbox.commands.run(f"kill {int(result.stdout)}")


def test_many_at_once(sandbox):
    results = {}

    def run(number):
        results[number] = sandbox.commands.run(f"sleep 0.2; echo {number}").stdout

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: f"{number}\n" for number in range(16)}


def test_a_handle_tells_of_itself(sandbox):
    handle = start(sandbox, "echo out; echo err >&2; exit 2")
    with pytest.raises(CommandExitException):
        handle.wait()
    if is_asynchronous(sandbox):
        assert (handle.stdout, handle.stderr, handle.exit_code, handle.error) == ("out\n", "err\n", 2, "exit status 2")


@covers("Sandbox.is_running")
def test_is_running(sandbox):
    assert sandbox.is_running() is True
