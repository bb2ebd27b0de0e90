"""A time-out comes while something else is done to the sandbox: whichever is first, what is left is one of the two, and whole."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import wait_until
from e2b import NotFoundException, SandboxException, SandboxState

ROUNDS = 30
# At once. Each holds half a GiB.
ABREAST = 6
TIMEOUT_S = 1
# From when on until when something is done, from the moment at which the time-out was said.
FROM_S, UNTIL_S = 0.8, 1.6

pytestmark = pytest.mark.sync_only


def state(sandbox):
    """`running`, `paused`, or `gone`."""
    try:
        return sandbox.get_info().state.value
    except NotFoundException:
        return "gone"


def pause(sandbox):
    sandbox.pause()
    return []


def connect(sandbox):
    sandbox.connect(timeout=300)
    return []


def fork(sandbox):
    return sandbox.fork(timeout=300, count=1)


def kill(sandbox):
    sandbox.kill()
    return []


# What may be left, by what is done at the end of its time: when the call succeeded, and when it was refused.
ALLOWED = {
    ("kill", pause): ({"paused"}, {"gone"}),
    ("kill", connect): ({"running"}, {"gone"}),
    ("kill", fork): ({"gone"}, {"gone"}),
    ("kill", kill): ({"gone"}, {"gone"}),
    ("pause", pause): ({"paused"}, {"paused"}),
    ("pause", connect): ({"running"}, {"paused"}),
    ("pause", fork): ({"paused"}, {"paused"}),
    ("pause", kill): ({"gone"}, {"gone"}),
}


def settled(sandbox, wanted):
    """Waits until it is as it should be, and sees that it stays so."""
    wait_until(lambda: state(sandbox) in wanted, f"{wanted}, but it is {state(sandbox)},")
    time.sleep(0.3)
    assert state(sandbox) in wanted
    return state(sandbox)


def one_round(sdk, daemon, on_timeout, act):
    sandbox = sdk.Sandbox.create(timeout=300, lifecycle={"on_timeout": on_timeout})
    copies, refused = [], None
    try:
        sandbox.set_timeout(TIMEOUT_S)
        offset = random.uniform(FROM_S, UNTIL_S)
        time.sleep(offset)
        try:
            copies = act(sandbox)
        except SandboxException as error:
            refused = error
        succeeded, otherwise = ALLOWED[on_timeout, act]
        wanted = otherwise if refused else succeeded
        told = f"{on_timeout} and {act.__name__} after {offset:.3f} s, {refused!r}"
        left = settled(sandbox, wanted)
        is_there = (sandbox.sandbox_id in daemon.sandboxes(), sandbox.sandbox_id in daemon.machines())
        assert is_there == ((False, False) if left == "gone" else (True, True)), f"{told}: {is_there}"
        if left == "paused":
            sandbox.connect(timeout=300)
        for alive in copies + ([sandbox] if left != "gone" else []):
            assert alive.get_info().state == SandboxState.RUNNING, told
            assert alive.commands.run("echo whole").stdout == "whole\n", told
    finally:
        for made in [sandbox, *copies]:
            made.kill()
    assert not {made.sandbox_id for made in [sandbox, *copies]} & set(daemon.machines()), told
    return refused is None


@pytest.mark.parametrize("act", [pause, connect, fork, kill], ids=lambda act: act.__name__)
def test_a_timeout_and(sdk, daemon, act):
    with ThreadPoolExecutor(ABREAST) as pool:
        rounds = [pool.submit(one_round, sdk, daemon, ["kill", "pause"][at % 2], act) for at in range(ROUNDS)]
        succeeded = [round.result() for round in rounds]
    print(f"{act.__name__}: {sum(succeeded)} of {ROUNDS} came before the time-out or after its pause")
