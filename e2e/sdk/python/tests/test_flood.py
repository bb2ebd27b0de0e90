"""A command that writes without end to a reader that pauses: nobody in between keeps what was not read."""

import time

import pytest
from conftest import wait_until
from host import in_memory

# Ten gigabytes would be: more than anybody here has memory for.
WRITES = "yes 'some line of the output' | head -c 10G"
# What pipes, sockets and frames on the way may hold, and what a daemon that does other things beside may grow by.
SLACK_BYTES = 64 << 20
READ_BYTES = 64 << 20
STILL_S = 2

pytestmark = pytest.mark.sync_only


def written_bytes(sandbox, name):
    """What a process has written so far."""
    shown = sandbox.commands.run(f"cat /proc/$(pgrep -xo {name})/io").stdout
    return next(int(line.split()[1]) for line in shown.splitlines() if line.startswith("wchar:"))


def until_held_back(sandbox, name):
    """Waits until the process writes no more, though it is not through; gives how much it has written."""
    last = {"bytes": -1, "since": time.monotonic()}

    def stands_still():
        now = written_bytes(sandbox, name)
        if now != last["bytes"]:
            last.update(bytes=now, since=time.monotonic())
        return time.monotonic() - last["since"] > STILL_S

    wait_until(stands_still, "back-pressure")
    return last["bytes"]


def agent_bytes(sandbox):
    return in_memory(sandbox.files.read("/proc/1/status"))


def test_a_reader_that_pauses(daemon, create):
    sandbox = create()
    before = daemon.memory_bytes(), agent_bytes(sandbox)
    handle = sandbox.commands.run(WRITES, background=True, timeout=0, request_timeout=0)
    output = iter(handle)
    next(output)
    held = until_held_back(sandbox, "head")
    assert held < SLACK_BYTES
    # The SDK keeps what was read, so it is not all of it that is.
    read = 0
    while read < READ_BYTES:
        read += len(next(output)[0])
    assert until_held_back(sandbox, "head") < read + SLACK_BYTES
    assert daemon.memory_bytes() < before[0] + SLACK_BYTES
    assert agent_bytes(sandbox) < before[1] + (16 << 20)
    assert handle.kill() is True
    handle.disconnect()
    assert sandbox.commands.run("echo on").stdout == "on\n"


def test_a_reader_that_goes_away(daemon, create):
    """The command runs on, and what it writes is nobody's."""
    sandbox = create()
    before = daemon.memory_bytes()
    handle = sandbox.commands.run(WRITES, background=True, timeout=0, request_timeout=0)
    next(iter(handle))
    handle.disconnect()
    first = written_bytes(sandbox, "head")
    wait_until(lambda: written_bytes(sandbox, "head") > first + READ_BYTES, "more output")
    assert agent_bytes(sandbox) < 32 << 20
    assert daemon.memory_bytes() < before + SLACK_BYTES
    assert sandbox.commands.kill(handle.pid) is True
