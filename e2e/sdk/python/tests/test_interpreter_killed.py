"""A sandbox is killed while code runs in it, or while something is done to its contexts: the SDK says so soon, by its own exception."""

import re

import pytest
from call import Call
from conftest import wait_until
from covers import covers
from e2b import SandboxNotFoundException, TimeoutException

# The interpreter's port, as the kernel writes it.
PORT = "C34F"
ESTABLISHED = "01"
# By what the SDK makes of a connection that broke off, or of the gateway's answer.
TOLD = re.compile("The sandbox was killed while|The sandbox was not found")


@pytest.fixture
def interpreter(interpreter_sdk):
    if not interpreter_sdk.Template.exists("code-interpreter-v1"):
        print("SKIPPED: there is no template code-interpreter-v1")
        pytest.skip("there is no template code-interpreter-v1")
    sandbox = interpreter_sdk.Sandbox.create(timeout=300)
    yield sandbox
    sandbox.kill()


def killed_under(sandbox, call, begins=None):
    """What a call ends with whose sandbox is killed once it has begun."""
    asked = Call(call)
    asked.start()
    begun = begins or asked.begun.is_set
    wait_until(lambda: begun() or not asked.is_alive(), "the call's beginning")
    assert asked.is_alive(), f"it ended before anything was killed: {asked.error!r}"
    assert sandbox.kill() is True
    error = asked.ended()
    with pytest.raises(SandboxNotFoundException):
        sandbox.get_info()
    return error


RUNS = {
    "silent": "print('begun', flush=True)\nimport time\ntime.sleep(1000)",
    "talkative": "print('begun', flush=True)\nwhile True:\n    print('x' * 1000)",
    "busy": "print('begun', flush=True)\nwhile True:\n    pass",
}


@pytest.mark.parametrize("code", RUNS)
@covers("interpreter.Sandbox.run_code")
def test_while_code_runs(interpreter, code):
    def call(begun):
        interpreter.run_code(RUNS[code], timeout=0, on_stdout=lambda _: begun.set())

    error = killed_under(interpreter, call)
    assert isinstance(error, TimeoutException) and "The sandbox was killed while" in str(error), repr(error)


def test_while_code_runs_in_another_language(interpreter):
    def call(begun):
        interpreter.run_code("echo begun; sleep 1000", language="bash", timeout=0, on_stdout=lambda _: begun.set())

    error = killed_under(interpreter, call)
    assert isinstance(error, TimeoutException) and "The sandbox was killed while" in str(error), repr(error)


CALLS = {
    "run_code": lambda sandbox, _: sandbox.run_code("1 + 1", timeout=0, request_timeout=0),
    "create": lambda sandbox, _: sandbox.create_code_context(cwd="/tmp"),
    "list": lambda sandbox, _: sandbox.list_code_contexts(),
    "restart": lambda sandbox, context: sandbox.restart_code_context(context),
    "remove": lambda sandbox, context: sandbox.remove_code_context(context),
}


def is_asked(sandbox):
    """Whether something was sent to the interpreter that it has not read."""
    for line in sandbox.files.read("/proc/net/tcp").splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if local.endswith(f":{PORT}") and state == ESTABLISHED and int(queues.split(":")[1], 16):
            return True
    return False


@pytest.mark.parametrize("call", CALLS)
@covers("interpreter.Sandbox.create_code_context", "interpreter.Sandbox.list_code_contexts")
@covers("interpreter.Sandbox.restart_code_context", "interpreter.Sandbox.remove_code_context")
def test_before_an_answer(interpreter, call):
    """The interpreter stands still, so the call is under way for certain."""
    context = interpreter.create_code_context()
    interpreter.commands.run("pkill -STOP -f '[/]opt/code-interpreter/server'", user="root")
    error = killed_under(interpreter, lambda _: CALLS[call](interpreter, context), lambda: is_asked(interpreter))
    assert isinstance(error, TimeoutException) and TOLD.search(str(error)), repr(error)


def test_while_contexts_come_and_go(interpreter):
    """At whatever moment of theirs it is."""

    def call(begun):
        while True:
            context = interpreter.create_code_context()
            interpreter.restart_code_context(context)
            begun.set()
            interpreter.list_code_contexts()
            interpreter.remove_code_context(context)

    error = killed_under(interpreter, call)
    assert isinstance(error, TimeoutException) and TOLD.search(str(error)), repr(error)
