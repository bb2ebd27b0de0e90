"""A sandbox for each test, once by `Sandbox` and once by `AsyncSandbox`.

The tests are written once, in plain sequence. `AsyncSandbox` is driven by a facade that runs its coroutines on an event loop
of a thread of its own, so that what the SDK does in the background goes on while a test waits.

By default a sandbox is created through the API that the SDK's own variables name (`E2B_API_URL` and so on). With
`HEARTH_AGENT_URL` and `HEARTH_AGENT_TOKEN` the tests talk to one agent directly.
"""

import inspect
import os
import time
import uuid

import pytest
from anyio.from_thread import start_blocking_portal
from e2b import AsyncSandbox, Sandbox
from e2b.connection_config import ConnectionConfig
from packaging.version import Version

AGENT_PORT = 49983
LIMIT_S = 30


class Facade:
    """An object of the asynchronous SDK that is called as one of the synchronous SDK."""

    def __init__(self, target, portal):
        self._target = target
        self._portal = portal

    def __getattr__(self, name):
        value = getattr(self._target, name)
        if not callable(value):
            return self._wrap(value)

        def call(*args, **kwargs):
            async def run():
                result = value(*args, **kwargs)
                return await result if inspect.isawaitable(result) else result

            return self._wrap(self._portal.call(run))

        return call

    def _wrap(self, value):
        module = type(value).__module__
        is_asynchronous = "sandbox_async" in module or "AsyncFile" in type(value).__name__
        return Facade(value, self._portal) if is_asynchronous else value


def is_asynchronous(sandbox):
    return isinstance(sandbox, Facade)


def wait_until(holds, what="it"):
    """Asks until there is an answer other than nothing."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {LIMIT_S} s"
        time.sleep(0.02)


def at_agent(flavour):
    token = os.environ["HEARTH_AGENT_TOKEN"]
    headers = {
        "E2b-Sandbox-Id": "agent",
        "E2b-Sandbox-Port": str(AGENT_PORT),
        "X-Access-Token": token,
    }
    return flavour(
        sandbox_id="agent",
        sandbox_domain="localhost",
        envd_version=Version("0.6.4"),
        envd_access_token=token,
        connection_config=ConnectionConfig(
            sandbox_url=os.environ["HEARTH_AGENT_URL"], extra_sandbox_headers=headers
        ),
    )


@pytest.fixture(scope="session")
def portal():
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session", params=["sync", "async"])
def shared_sandbox(request, portal):
    direct = "HEARTH_AGENT_URL" in os.environ
    if request.param == "sync":
        sandbox = at_agent(Sandbox) if direct else Sandbox.create()
    else:

        async def make():
            return at_agent(AsyncSandbox) if direct else await AsyncSandbox.create()

        sandbox = Facade(portal.call(make), portal)
    yield sandbox
    if not direct:
        sandbox.kill()


@pytest.fixture
def sandbox(shared_sandbox):
    """A sandbox in which nothing runs once the test is over."""
    before = {process.pid for process in shared_sandbox.commands.list()}
    yield shared_sandbox
    for process in shared_sandbox.commands.list():
        if process.pid not in before:
            shared_sandbox.commands.kill(process.pid)


@pytest.fixture
def folder(sandbox):
    """A folder of the test's own inside the sandbox."""
    path = f"/tmp/sdk-{uuid.uuid4().hex}"
    sandbox.files.make_dir(path)
    yield path
    sandbox.files.remove(path)
