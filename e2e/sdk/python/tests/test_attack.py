"""A guest that attacks its own agent: the host's calls go on, or fail by the SDK's exceptions in time; and it can be killed."""

import time

import httpx
import pytest
from conftest import wait_until
from e2b import CommandExitException, NotEnoughSpaceException, SandboxException, SandboxNotFoundException

# Within which a call has to be over, whatever the guest does.
CALL_S = 30
# What a kill takes at most on a host that other tests load. Nobody in the guest is asked.
KILL_S = 5

pytestmark = pytest.mark.sync_only


def answers(sandbox):
    """The agent serves: a command, a file, its health."""
    sandbox.files.write("/dev/shm/mark", "x")
    return sandbox.commands.run("cat /dev/shm/mark").stdout == "x" and sandbox.is_running()


def as_root(sandbox, command, timeout=CALL_S):
    return sandbox.commands.run(command, user="root", timeout=timeout)


def in_background(sandbox, command, user):
    return sandbox.commands.run(command, user=user, background=True, timeout=0)


def fails_in_time(ask):
    """By the SDK's own exceptions, or where it lets those of its HTTP client through, by those."""
    began = time.monotonic()
    with pytest.raises((SandboxException, httpx.TimeoutException)):
        ask()
    assert time.monotonic() - began < CALL_S


def is_killed(daemon, sandbox):
    began = time.monotonic()
    assert sandbox.kill() is True
    assert time.monotonic() - began < KILL_S
    is_gone(daemon, sandbox)


def is_gone(daemon, sandbox):
    wait_until(lambda: sandbox.sandbox_id not in daemon.machines(), "the end of the machine")
    with pytest.raises(SandboxNotFoundException):
        sandbox.get_info()


@pytest.fixture(scope="module")
def victim(sdk):
    """One sandbox for attacks that do no harm."""
    sandbox = sdk.Sandbox.create(timeout=1800)
    yield sandbox
    sandbox.kill()


@pytest.mark.parametrize("signal", ["KILL", "STOP", "TSTP", "SEGV", "ABRT", "HUP", "USR1", "PIPE", "ALRM"])
def test_signals_to_the_agent(victim, signal):
    as_root(victim, f"kill -{signal} 1")
    assert answers(victim)


def test_others_cannot_signal_it(victim):
    for signal in ["KILL", "TERM", "INT"]:
        with pytest.raises(CommandExitException):
            victim.commands.run(f"kill -{signal} 1")
    assert answers(victim)


def test_its_binary(victim):
    """What runs is in memory, and what it needs of the file system later is there all the same."""
    as_root(victim, "for file in /proc/1/exe /init /proc/1/root/init; do echo x > $file; rm -f $file; done; true")
    assert answers(victim)


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_it_is_told_to_end(daemon, create, signal):
    """As a plain `poweroff` does."""
    sandbox = create()
    fails_in_time(lambda: as_root(sandbox, f"kill -{signal} 1; sleep 1000"))
    is_gone(daemon, sandbox)


def test_its_descriptors_and_its_memory(daemon, create):
    """Root in the guest may do to the agent what it will. That is the guest's own loss: it is killed as any other."""
    sandbox = create()
    as_root(sandbox, "for fd in /proc/1/fd/*; do timeout 0.2 sh -c \"echo x > $fd\" 2>/dev/null; done; true")
    assert answers(sandbox)
    write = "import os; m = os.open('/proc/1/mem', os.O_RDWR); line = open('/proc/1/maps').readline(); os.pwrite(m, bytes(4096), int(line.split('-')[0], 16))"
    in_background(sandbox, f'python3 -c "{write}"', user="root")
    is_killed(daemon, sandbox)


def test_it_is_traced(daemon, create):
    """An agent that is stopped answers nothing. Calls end by their deadline, and the host kills the sandbox."""
    sandbox = create()
    trace = "import ctypes, time; c = ctypes.CDLL(None); print(c.ptrace(16, 1, 0, 0), flush=True); time.sleep(1000)"
    in_background(sandbox, f"python3 -c '{trace}'", user="root")
    wait_until(lambda: not is_running(sandbox), "the agent's stop")
    fails_in_time(lambda: sandbox.commands.run("true", timeout=2, request_timeout=2))
    fails_in_time(lambda: sandbox.files.read("/etc/hostname", request_timeout=2))
    fails_in_time(lambda: sandbox.files.list("/", request_timeout=2))
    is_killed(daemon, sandbox)


def is_running(sandbox):
    """Whether the agent says so within a moment."""
    try:
        return sandbox.is_running(request_timeout=2)
    except (SandboxException, httpx.TransportError):
        return False


def test_its_port_is_flooded_from_inside(create):
    sandbox = create()
    flood = """
import socket, time
held = []
while True:
    try:
        held.append(socket.create_connection(("127.0.0.1", 49983), 1))
        held[-1].sendall(b"POST /files?path=/tmp/x HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000\\r\\n\\r\\nx")
    except OSError:
        held = held[-5000:]
        time.sleep(0.01)
"""
    sandbox.files.write("/tmp/flood.py", flood)
    handles = [in_background(sandbox, "python3 /tmp/flood.py", user=user) for user in ["root", "user"]]
    wait_until(lambda: sockets(sandbox) > 200, "the flood")
    for _ in range(5):
        assert answers(sandbox)
    for handle in handles:
        assert handle.kill() is True
    assert answers(sandbox)


def sockets(sandbox):
    listed = sandbox.commands.run("cat /proc/net/tcp /proc/net/tcp6 | wc -l").stdout
    return int(listed)


def test_the_disk_is_filled(create):
    sandbox = create()
    as_root(sandbox, "fallocate -l $(($(df --output=avail -B1 /tmp | tail -n 1) - 16777216)) /tmp/full; cat /dev/zero > /tmp/rest || true")
    for size in [1, 100_000, 1 << 20, 5 << 20] * 3:
        with pytest.raises(NotEnoughSpaceException):
            sandbox.files.write("/tmp/more", b"x" * size)
        # What was refused leaves the way free for what follows.
        assert answers(sandbox)
    sandbox.files.remove("/tmp/full")
    sandbox.files.write("/tmp/more", "x")


def test_memory_is_eaten(create):
    sandbox = create()
    with pytest.raises(CommandExitException):
        as_root(sandbox, "tail /dev/zero")
    with pytest.raises(CommandExitException):
        as_root(sandbox, "head -c 100G /dev/zero > /dev/shm/full && echo never || exit 3")
    assert sandbox.is_running()
    as_root(sandbox, "rm /dev/shm/full")
    assert answers(sandbox)


@pytest.mark.parametrize("user", ["user", "root"])
def test_a_fork_bomb(daemon, create, user):
    """Processes are bounded, so the agent has room to answer; and to the host it is a sandbox like any other."""
    sandbox = create()
    in_background(sandbox, "bomb() { bomb | bomb & }; bomb; sleep 1000", user=user)
    wait_until(lambda: processes(sandbox) > 300, "the bomb")
    began = time.monotonic()
    try:
        assert sandbox.commands.run("echo on", timeout=10, request_timeout=10).stdout == "on\n"
    except (SandboxException, CommandExitException):
        assert time.monotonic() - began < CALL_S
    is_killed(daemon, sandbox)


def processes(sandbox):
    """How many there are, by a file: to ask for it takes no further one."""
    try:
        return int(sandbox.files.read("/proc/loadavg", request_timeout=5).split()[3].split("/")[1])
    except (SandboxException, httpx.TransportError):
        return 0


@pytest.mark.parametrize("end", ["echo c > /proc/sysrq-trigger", "echo b > /proc/sysrq-trigger", "echo o > /proc/sysrq-trigger"])
def test_the_kernel_is_ended(daemon, create, end):
    sandbox = create()
    fails_in_time(lambda: as_root(sandbox, f"{end}; sleep 1000"))
    is_gone(daemon, sandbox)


def test_its_network_is_taken_away(daemon, create):
    sandbox = create()
    fails_in_time(lambda: as_root(sandbox, "ip link set eth0 down; sleep 1000", timeout=3))
    fails_in_time(lambda: sandbox.commands.run("true", timeout=2, request_timeout=2))
    is_killed(daemon, sandbox)
