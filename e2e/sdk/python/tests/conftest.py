"""Each test runs twice: by the SDK's synchronous classes, and by its asynchronous ones.

The tests are written once, in plain sequence. An asynchronous class is driven by a facade that runs its coroutines on an event
loop of a thread of its own, so that what the SDK does in the background goes on while a test waits.

The SDK's own variables (`E2B_API_URL` and so on) name the server. With `HEARTH_AGENT_URL` and `HEARTH_AGENT_TOKEN`, the tests
of what is inside a sandbox talk to one agent directly.
"""

import inspect
import os
import time
import uuid
from types import SimpleNamespace

import e2b
import e2b_code_interpreter
import pytest
from anyio.from_thread import start_blocking_portal
from e2b.connection_config import ConnectionConfig
from host import PANIC, Daemon
from packaging.version import Version

AGENT_PORT = 49983
LIMIT_S = 30


class Facade:
    """A class or an object of the asynchronous SDK that is called as one of the synchronous SDK."""

    def __init__(self, target, portal):
        self._target = target
        self._portal = portal

    def __call__(self, *args, **kwargs):
        return self._wrap(self._target(*args, **kwargs))

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
        if isinstance(value, list):
            return [self._wrap(item) for item in value]
        is_asynchronous = any("_async" in base.__module__ or "AsyncFile" in base.__name__ for base in type(value).__mro__)
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


def pytest_configure(config):
    config.addinivalue_line("markers", "sync_only: what both flavours share, such as the builder of templates, is driven once")


def pytest_collection_modifyitems(config, items):
    twice = [item for item in items if item.get_closest_marker("sync_only") and item.callspec.params.get("sdk") == "async"]
    config.hook.pytest_deselected(items=twice)
    items[:] = [item for item in items if item not in twice]


def classes(module, prefix, portal):
    """What an SDK offers in one flavour, by the names of the synchronous one."""
    names = ["Sandbox", "Template", "Volume", "Secret"]
    own = {name: getattr(module, prefix + name) for name in names}
    if prefix:
        own = {name: Facade(own[name], portal) for name in names}
    return SimpleNamespace(**own, is_asynchronous=bool(prefix))


@pytest.fixture(scope="session", params=["sync", "async"])
def sdk(request, portal):
    return classes(e2b, "" if request.param == "sync" else "Async", portal)


@pytest.fixture(scope="session")
def interpreter_sdk(sdk, portal):
    return classes(e2b_code_interpreter, "Async" if sdk.is_asynchronous else "", portal)


@pytest.fixture(scope="session")
def shared_sandbox(sdk, portal):
    direct = "HEARTH_AGENT_URL" in os.environ
    if direct:

        async def make():
            return at_agent(e2b.AsyncSandbox)

        sandbox = Facade(portal.call(make), portal) if sdk.is_asynchronous else at_agent(e2b.Sandbox)
    else:
        sandbox = sdk.Sandbox.create(timeout=1800)
    yield sandbox
    if not direct:
        sandbox.kill()


@pytest.fixture(scope="session")
def daemon():
    """What Hearth itself says. It did not panic, whatever it was asked."""
    daemon = Daemon.of_environment()
    if not daemon:
        pytest.skip("the daemon is not named; scripts/sdk-tests does")
    yield daemon
    assert PANIC not in daemon.log()


@pytest.fixture
def create(sdk):
    """Makes sandboxes that are gone once the test is over."""
    made = []

    def make(*args, **options):
        made.append(sdk.Sandbox.create(*args, **{"timeout": 300, **options}))
        return made[-1]

    yield make
    for sandbox in made:
        sandbox.kill()


@pytest.fixture
def name():
    """A name of the test's own, for what lives beyond a sandbox."""
    return f"sdk-{uuid.uuid4().hex[:12]}"


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
