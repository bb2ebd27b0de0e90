"""The daemon ends under open streams, in order and by SIGKILL. Its successor has every sandbox, and what ran in them runs on.

The daemon is one of the tests' own, with the images and kernels of the other.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import wait_until
from e2b import SandboxState, SandboxUnreachableException, ServiceBusyException, Template
from host import PANIC, Daemon
from plain import ask_api, exchange

COUNT = "i=0; while :; do i=$((i + 1)); echo $i; echo $i > /tmp/new; mv /tmp/new /tmp/count; sleep 0.1; done"
SIGNALS = [signal.SIGTERM, signal.SIGKILL]

pytestmark = pytest.mark.sync_only


def free_address():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


class Restartable(Daemon):
    """A daemon that is started and ended at will, always at the same addresses."""

    def __init__(self, binary, folder, images):
        super().__init__(binary, str(folder / "sock"), folder / "log")
        self.folder, self.process = folder, None
        self.api, self.gateway = free_address(), free_address()
        (folder / "state").mkdir()
        for part in ["images", "kernels"]:
            subprocess.run(["cp", "-a", "--sparse=always", images / part, folder / "state"], check=True)

    def up(self):
        command = [self.binary, "up", "--state-dir", self.folder / "state", "--socket", self.socket, "--listen", self.api]
        with open(self.log_path, "ab") as log:
            env = {**os.environ, "HEARTH_GATEWAY": self.gateway}
            self.process = subprocess.Popen([*command, "--disk-overcommit", "16"], stdout=subprocess.DEVNULL, stderr=log, env=env)
        wait_until(self.is_up, "the daemon's start")

    def is_up(self):
        assert self.process.poll() is None, self.log()
        try:
            return bool(self.hearth("node", "info"))
        except AssertionError:
            return False

    def down(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait(timeout=60)
            self.process = None

    def state(self):
        return self.folder / "state"

    def options(self):
        return {"api_key": self.key, "api_url": f"http://{self.api}", "sandbox_url": f"http://{self.gateway}"}


@pytest.fixture(scope="module")
def other(daemon):
    # VMMs run as users of their own, who must be able to walk here.
    folder = Path(tempfile.mkdtemp(prefix="hearth-sdk-restart-"))
    folder.chmod(0o711)
    own = Restartable(daemon.binary, folder, Path(daemon.state()))
    try:
        own.up()
        own.key = own.hearth("key", "create", "--role", "admin", "--name", "restart").splitlines()[0]
        Template.build(Template().from_image("hearth/template-base"), "base", cpu_count=1, memory_mb=512, **own.options())
        yield own
        assert PANIC not in own.log()
    finally:
        if not own.process:
            own.up()
        for machine in own.machines():
            own.hearth("rm", "-f", machine)
        own.down()
        shutil.rmtree(folder)


@pytest.fixture
def sandbox(sdk, other):
    sandbox = sdk.Sandbox.create("base", timeout=600, **other.options())
    yield sandbox
    if not other.process:
        other.up()
    sandbox.kill()


class Listening(threading.Thread):
    """Reads what a command writes, until its stream ends."""

    def __init__(self, handle):
        super().__init__(daemon=True)
        self.handle, self.last, self.error = handle, None, None
        self.start()

    def run(self):
        try:
            for out, _, _ in self.handle:
                self.last = int(out.split()[-1])
        except Exception as error:
            self.error = error

    def ended(self):
        self.join(60)
        assert not self.is_alive(), "the stream still hangs"
        return self.error


@pytest.mark.parametrize("how", SIGNALS, ids=lambda how: how.name)
def test_under_a_stream(other, sandbox, how):
    handle = sandbox.commands.run(COUNT, background=True, timeout=0)
    listening = Listening(handle)
    wait_until(lambda: (listening.last or 0) > 3, "the first counts")
    before = sandbox.get_info()
    other.down(how)
    # Nobody could be asked whether the sandbox is still there, and the SDK does not guess.
    assert isinstance(listening.ended(), SandboxUnreachableException), repr(listening.error)
    seen = listening.last
    other.up()
    # The token, the address and the end of the sandbox are what they were.
    after = sandbox.get_info()
    assert (after.state, after.end_at, after.metadata) == (SandboxState.RUNNING, before.end_at, before.metadata)
    assert handle.pid in [process.pid for process in sandbox.commands.list()]
    again = Listening(sandbox.commands.connect(handle.pid, timeout=0))
    # It has counted on, and was not begun anew.
    wait_until(lambda: (again.last or 0) > seen + 3, "the next counts")
    assert int(sandbox.files.read("/tmp/count")) >= again.last - 1
    assert sandbox.commands.kill(handle.pid) is True
    again.ended()


@pytest.mark.parametrize("how", SIGNALS, ids=lambda how: how.name)
def test_under_an_upload_and_a_watch(other, sandbox, how):
    watch = sandbox.files.watch_dir("/tmp")
    sandbox.files.write("/tmp/before", "x")
    wait_until(lambda: "before" in [event.name for event in watch.get_new_events()], "the first event")
    # By an iterator: a pipe's size is 0, which the SDK would announce as the length.
    begun, enough, errors = threading.Event(), threading.Event(), []

    def content():
        yield b"x" * 65536
        begun.set()
        enough.wait(60)

    def upload():
        try:
            sandbox.files.write("/tmp/half", content(), request_timeout=60)
        except BaseException as error:
            errors.append(error)

    uploading = threading.Thread(target=upload, daemon=True)
    uploading.start()
    assert begun.wait(30), "nothing was asked for"
    wait_until(lambda: sandbox.files.exists("/tmp/half"), "the upload's begin")
    other.down(how)
    enough.set()
    uploading.join(60)
    assert not uploading.is_alive() and errors, f"the upload ended well: {errors}"
    other.up()
    # The watcher is the agent's, which nobody has ended.
    sandbox.files.write("/tmp/after", "x")
    wait_until(lambda: "after" in [event.name for event in watch.get_new_events()], "an event after the restart")
    watch.stop()
    assert sandbox.files.read("/tmp/before") == "x"


def test_what_was_paused_or_over_meanwhile(sdk, other, sandbox):
    paused = sdk.Sandbox.create("base", timeout=600, **other.options())
    paused.files.write("/dev/shm/kept", "in memory")
    paused.pause()
    short = sdk.Sandbox.create("base", timeout=600, **other.options())
    short.set_timeout(1)
    other.down(signal.SIGKILL)
    time.sleep(1.5)
    other.up()
    assert paused.get_info().state == SandboxState.PAUSED
    paused.connect()
    assert paused.files.read("/dev/shm/kept") == "in memory"
    wait_until(lambda: short.sandbox_id not in other.machines(), "the end of one whose time was over")
    assert sandbox.commands.run("echo on").stdout == "on\n"
    assert paused.kill() is True


def test_again_and_again(other, sandbox):
    """Nothing is lost by doing it often."""
    handle = sandbox.commands.run(COUNT, background=True, timeout=0)
    for how in SIGNALS * 2:
        other.down(how)
        other.up()
        assert sandbox.is_running()
    assert handle.pid in [process.pid for process in sandbox.commands.list()]
    assert set(other.machines()) == set(other.sandboxes())


@pytest.fixture
def full(other, sandbox):
    """Leaves room for one more sandbox: a machine that was made and never started holds the rest."""
    memory = other.told("node", "info")["memory_mib"]
    size = memory["total"] - memory["allocated"] - 900
    wish = json.dumps({"image": "hearth/template-base", "memory_mib": size, "name": "holder"})
    headers = {"Authorization": f"Bearer {other.key}", "Content-Type": "application/json"}
    made = exchange(f"http://{other.api}", "POST", "/v1/machines", headers, wish)
    assert made.status == 201, made
    yield lambda path, body: ask_api("POST", path, body, key=other.key, url=f"http://{other.api}")
    other.hearth("rm", "-f", "holder")


def test_a_full_node(sdk, other, sandbox, full):
    """Who asks for more than there is memory for is told so at once, and not to ask again: it would not help for a while."""
    second = sdk.Sandbox.create("base", timeout=600, **other.options())
    try:
        refused = full("/v2/sandboxes", {"templateID": "base"})
        assert (refused.status, refused.json()["code"], refused.headers["Should-Retry"]) == (503, 503, "false"), refused
        assert "memory" in refused.json()["message"]
        began = time.monotonic()
        with pytest.raises(ServiceBusyException):
            sdk.Sandbox.create("base", **other.options())
        assert time.monotonic() - began < 5
        failed = full(f"/sandboxes/{sandbox.sandbox_id}/fork", {"count": 1})
        assert failed.status == 201 and failed.json()[0]["error"]["code"] == 503, failed
        # What is paused holds none, and resumes only once there is some again.
        second.pause()
        third = sdk.Sandbox.create("base", timeout=600, **other.options())
        refused = full(f"/v2/sandboxes/{second.sandbox_id}/connect", {"timeout": 300})
        assert (refused.status, refused.headers["Should-Retry"]) == (503, "false"), refused
        assert third.kill() is True
        second.connect(timeout=300)
        assert second.commands.run("echo on").stdout == sandbox.commands.run("echo on").stdout == "on\n"
    finally:
        second.kill()
