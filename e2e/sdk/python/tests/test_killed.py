"""A sandbox is killed while something is asked of it: whoever asks is told so soon, by an exception that the SDK documents."""

import io
import random
import time

import httpx
import pytest
from call import Call
from conftest import is_asynchronous, wait_until
from e2b import PtySize, SandboxException, SandboxNotFoundException, SandboxNotRunningException, ServiceBusyException

ROUNDS = 3


class Endless(io.RawIOBase):
    """A file that never ends, and says when the first of it was read."""

    def __init__(self, begun):
        self.begun = begun

    def readable(self):
        return True

    def read(self, size=-1):
        self.begun.set()
        return bytes(size if size > 0 else 65536)


def a_command(sandbox, begun):
    sandbox.commands.run("echo begun; sleep 1000", timeout=0, on_stdout=lambda _: begun.set())


def a_command_that_writes(sandbox, begun):
    sandbox.commands.run("yes", timeout=0, on_stdout=lambda _: begun.set(), retain_output=False)


def a_command_connected_to(sandbox, begun):
    handle = sandbox.commands.run("sleep 1000", timeout=0, background=True)
    other = sandbox.commands.connect(handle.pid, timeout=0)
    begun.set()
    other.wait()


def input_of_a_command(sandbox, begun):
    handle = sandbox.commands.run("cat > /dev/null", timeout=0, background=True, stdin=True)
    while True:
        sandbox.commands.send_stdin(handle.pid, "x" * 10_000)
        begun.set()


def a_terminal(sandbox, begun):
    options = {"on_data": lambda _: None} if is_asynchronous(sandbox) else {}
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=0, **options)
    begun.set()
    terminal.wait()


def a_watch(sandbox, begun):
    if not is_asynchronous(sandbox):
        watch = sandbox.files.watch_dir("/tmp")
        while True:
            watch.get_new_events()
            begun.set()
    ends = []
    sandbox.files.watch_dir("/tmp", on_event=lambda _: None, on_exit=ends.append, timeout=0)
    begun.set()
    raise wait_until(lambda: ends, "the end of the watch")[0]


def a_file_read(sandbox, begun):
    # More than is read before the end, so that it does not matter when that is.
    sandbox.commands.run("truncate -s 8G /tmp/large")
    begun.set()
    sandbox.files.read("/tmp/large", format="bytes", request_timeout=0)


def a_file_streamed(sandbox, begun):
    sandbox.commands.run("truncate -s 100G /tmp/large")
    stream = sandbox.files.read("/tmp/large", format="stream")
    following = stream.__anext__ if is_asynchronous(sandbox) else lambda: next(stream)
    while True:
        following()
        begun.set()


def a_file_written(sandbox, begun):
    sandbox.files.write("/dev/null", Endless(begun))


def calls_in_a_row(sandbox, begun):
    while True:
        sandbox.files.list("/")
        sandbox.commands.list()
        begun.set()


INSIDE = [
    a_command,
    a_command_that_writes,
    a_command_connected_to,
    input_of_a_command,
    a_terminal,
    a_watch,
    a_file_read,
    a_file_streamed,
    a_file_written,
    calls_in_a_row,
]


def nothing_is_left(daemon, sandbox):
    with pytest.raises(SandboxNotFoundException):
        sandbox.get_info()
    assert sandbox.sandbox_id not in daemon.machines()


@pytest.mark.parametrize("call", INSIDE, ids=lambda call: call.__name__)
def test_inside(daemon, create, call):
    sandbox = create()
    asked = Call(lambda begun: call(sandbox, begun))
    asked.start()
    wait_until(lambda: asked.begun.is_set() or not asked.is_alive(), "the call's beginning")
    assert asked.begun.is_set(), f"it ended before anything was killed: {asked.error!r}"
    assert sandbox.kill() is True
    # Once a stream has begun, the SDK gives its reader what the connection ended with, as it is.
    told = httpx.TransportError if call is a_file_streamed else SandboxNotRunningException
    assert isinstance(asked.ended(), told), repr(asked.error)
    nothing_is_left(daemon, sandbox)


OUTSIDE = {
    "pause": lambda sandbox: sandbox.pause(),
    "pause_of_the_files": lambda sandbox: sandbox.pause(mode="filesystem"),
    "connect": lambda sandbox: sandbox.connect(),
    "resume": lambda sandbox: sandbox.pause() and sandbox.connect(),
    "fork": lambda sandbox: sandbox.fork(count=2),
    "snapshot": lambda sandbox: sandbox.create_snapshot(),
    "network": lambda sandbox: sandbox.update_network({"allow_internet_access": False}),
    "metrics": lambda sandbox: sandbox.get_metrics(),
    "timeout": lambda sandbox: sandbox.set_timeout(100),
}


@pytest.mark.sync_only
@pytest.mark.parametrize("call", OUTSIDE)
def test_outside(sdk, daemon, create, call):
    """At a random moment of the call, a few times. What it made all the same is whole."""
    for _ in range(ROUNDS):
        sandbox = create(metadata={"killed": "during"})
        made = []
        asked = Call(lambda _: made.append(OUTSIDE[call](sandbox)))
        offset = random.uniform(0, 0.5)
        asked.start()
        time.sleep(offset)
        assert sandbox.kill() is True
        error = asked.ended()
        assert error is None or isinstance(error, (SandboxException, ServiceBusyException)), f"after {offset} s: {error!r}"
        nothing_is_left(daemon, sandbox)
        if made and call == "fork":
            for copy in made[0]:
                assert copy.commands.run("echo whole").stdout == "whole\n"
                assert copy.kill() is True
        if made and call == "snapshot":
            assert sdk.Sandbox.delete_snapshot(made[0].snapshot_id) is True


@pytest.mark.sync_only
def test_no_machine_is_left_without_its_sandbox(sdk, daemon):
    """After all of the above."""

    def strays():
        machines = {name for name in daemon.machines() if name.startswith("sbx")}
        return machines - set(daemon.sandboxes())

    wait_until(lambda: not strays(), "the end of machines without a sandbox")
