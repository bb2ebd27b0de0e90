"""A sandbox's life: made, found, paused, resumed, ended."""

import datetime
import uuid

import pytest
from conftest import is_asynchronous, wait_until
from covers import covers
from e2b import (
    InvalidArgumentException,
    NotFoundException,
    SandboxException,
    SandboxNotFoundException,
    SandboxNotRunningException,
    SandboxState,
)


def seconds_left(sandbox):
    info = sandbox.get_info()
    return (info.end_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@covers("Sandbox.create", "Sandbox.create(metadata)", "Sandbox.create(envs)", "Sandbox.create(timeout)", "Sandbox.get_info")
def test_create_and_get_info(sdk, create):
    sandbox = create("base", timeout=200, metadata={"purpose": "žluť & co"}, envs={"GREETING": "hello you"})
    info = sandbox.get_info()
    assert (info.sandbox_id, info.name, info.state) == (sandbox.sandbox_id, "base", SandboxState.RUNNING)
    assert info.metadata == {"purpose": "žluť & co"}
    assert (info.cpu_count, info.memory_mb) == (1, 512)
    assert info.started_at < datetime.datetime.now(datetime.timezone.utc) < info.end_at
    assert 100 < seconds_left(sandbox) <= 200
    assert info.lifecycle == {"on_timeout": "kill", "auto_resume": False}
    assert sandbox.commands.run("echo $GREETING").stdout == "hello you\n"
    assert sandbox.files.read("/proc/sys/kernel/random/boot_id").strip()
    assert sdk.Sandbox.get_info(sandbox.sandbox_id) == info


@covers("Sandbox.create(template)")
def test_create_of_a_template_by_its_id(create, shared_sandbox):
    template = shared_sandbox.get_info().template_id
    assert create(template).get_info().template_id == template


def test_create_of_a_template_that_is_absent(create):
    with pytest.raises(SandboxException, match="hearth-no-such"):
        create("hearth-no-such")


@pytest.mark.parametrize("timeout", [0, -1, 10**9])
def test_create_with_a_timeout_that_is_none(create, timeout):
    with pytest.raises(SandboxException, match="timeout"):
        create(timeout=timeout)


@covers("Sandbox.create(secure)")
def test_create_is_always_secure(create):
    sandbox = create(secure=False)
    assert "signature=v1_" in sandbox.download_url("/etc/hostname")


@covers("Sandbox.create(idempotency_key)")
def test_create_twice_by_one_key_is_once(create):
    key = str(uuid.uuid4())
    first, second = create(idempotency_key=key), create(idempotency_key=key)
    assert first.sandbox_id == second.sandbox_id
    assert second.commands.run("echo here").stdout == "here\n"


@covers("Sandbox.create(logger)")
def test_create_with_a_logger(create, caplog):
    import logging

    logger = logging.getLogger("hearth.sdk")
    with caplog.at_level(logging.DEBUG, logger="hearth.sdk"):
        create(logger=logger)
    assert any("sandboxes" in record.getMessage() for record in caplog.records)


@covers("Sandbox.kill")
def test_kill(sdk, create):
    sandbox = create()
    assert sandbox.kill() is True
    assert sandbox.is_running() is False
    assert sandbox.kill() is False
    assert sdk.Sandbox.kill(sandbox.sandbox_id) is False
    for ask in [sandbox.get_info, sandbox.connect, sandbox.pause, lambda: sandbox.set_timeout(10)]:
        with pytest.raises(SandboxNotFoundException):
            ask()
    with pytest.raises(SandboxNotRunningException):
        sandbox.commands.run("true")


@covers("Sandbox.kill")
def test_kill_by_id(sdk, create):
    sandbox = create()
    assert sdk.Sandbox.kill(sandbox.sandbox_id) is True
    assert sandbox.is_running() is False


def test_what_is_no_sandbox_at_all(sdk):
    for ask in [sdk.Sandbox.get_info, sdk.Sandbox.connect, lambda id: sdk.Sandbox.set_timeout(id, 10)]:
        with pytest.raises(NotFoundException):
            ask("hearthnosuchsandbox")
    assert sdk.Sandbox.kill("hearthnosuchsandbox") is False


def test_with_and_its_end(sdk):
    if sdk.is_asynchronous:
        pytest.skip("the facade drives no `async with`; kill is the same")
    with sdk.Sandbox.create(timeout=300) as sandbox:
        assert sandbox.is_running()
    assert not sandbox.is_running()


@covers("Sandbox.set_timeout")
def test_set_timeout(sdk, create):
    sandbox = create(timeout=100)
    sandbox.set_timeout(1000)
    assert 900 < seconds_left(sandbox) <= 1000
    sdk.Sandbox.set_timeout(sandbox.sandbox_id, 50)
    assert seconds_left(sandbox) <= 50
    sandbox.set_timeout(1)
    wait_until(lambda: not sandbox.is_running(), "the sandbox's end")
    with pytest.raises(SandboxNotFoundException):
        sandbox.get_info()


@covers("Sandbox.connect")
def test_connect(sdk, create):
    sandbox = create(timeout=100)
    sandbox.files.write("/tmp/mark", "left")
    other = sdk.Sandbox.connect(sandbox.sandbox_id)
    assert other.sandbox_id == sandbox.sandbox_id and other.files.read("/tmp/mark") == "left"
    # It only ever makes a sandbox last longer.
    other.connect(timeout=10)
    assert seconds_left(sandbox) > 50
    sdk.Sandbox.connect(sandbox.sandbox_id, timeout=500)
    assert 400 < seconds_left(sandbox) <= 500


@covers("Sandbox.pause", "Sandbox.connect")
def test_pause_and_what_goes_on(sdk, create):
    sandbox = create(timeout=200)
    # By renaming, so that whoever reads finds the file whole.
    count = "i=0; while :; do echo $((i++)) > /tmp/new && mv /tmp/new /tmp/count; sleep 0.05; done"
    counter = sandbox.commands.run(count, background=True)
    wait_until(lambda: sandbox.files.exists("/tmp/count"), "the first count")
    assert sandbox.pause() is True
    assert sandbox.get_info().state == SandboxState.PAUSED
    assert sandbox.is_running() is False
    assert sandbox.pause() is False
    assert sandbox.connect() is sandbox or is_asynchronous(sandbox)
    assert sandbox.get_info().state == SandboxState.RUNNING
    assert counter.pid in [process.pid for process in sandbox.commands.list()]
    before = sandbox.files.read("/tmp/count")
    wait_until(lambda: sandbox.files.read("/tmp/count") not in (before, ""), "the next count")


@covers("Sandbox.pause", "Sandbox.connect")
def test_pause_and_connect_by_id(sdk, create):
    sandbox = create()
    assert sdk.Sandbox.pause(sandbox.sandbox_id) is True
    other = sdk.Sandbox.connect(sandbox.sandbox_id, timeout=300)
    assert other.commands.run("echo on").stdout == "on\n"
    # The token that was given out before the pause goes on being good.
    assert sandbox.commands.run("echo on").stdout == "on\n"


@covers("Sandbox.beta_pause")
def test_beta_pause(sdk, create):
    sandbox = create()
    assert sandbox.beta_pause() is True
    assert sandbox.get_info().state == SandboxState.PAUSED


def test_kill_of_what_is_paused(sdk, create):
    sandbox = create()
    sandbox.pause()
    assert sandbox.kill() is True
    with pytest.raises(SandboxNotFoundException):
        sandbox.connect()


@covers("Sandbox.pause(mode)")
def test_pause_of_the_files_alone(create):
    sandbox = create()
    sandbox.files.write("/home/user/kept", "kept")
    sandbox.commands.run("sync")
    before = sandbox.files.read("/proc/sys/kernel/random/boot_id")
    assert sandbox.pause(mode="filesystem") is True
    sandbox.connect()
    assert sandbox.files.read("/home/user/kept") == "kept"
    assert sandbox.files.read("/proc/sys/kernel/random/boot_id") != before


@covers("Sandbox.connect(on_resume)")
def test_a_boot_instead_of_a_restore(create):
    sandbox = create()
    sandbox.files.write("/dev/shm/kept", "in memory")
    sandbox.files.write("/home/user/kept", "on disk")
    sandbox.commands.run("sync")
    sandbox.pause()
    sandbox.connect(on_resume="restore")
    assert sandbox.files.read("/dev/shm/kept") == "in memory"
    # One that runs is left as it is.
    sandbox.connect(on_resume="reboot")
    assert sandbox.files.read("/dev/shm/kept") == "in memory"
    sandbox.pause()
    sandbox.connect(on_resume="reboot")
    assert not sandbox.files.exists("/dev/shm/kept")
    assert sandbox.files.read("/home/user/kept") == "on disk"


@covers("Sandbox.create(lifecycle)")
def test_pause_on_timeout(create):
    sandbox = create(timeout=300, lifecycle={"on_timeout": "pause"})
    assert sandbox.get_info().lifecycle["on_timeout"] == "pause"
    sandbox.set_timeout(1)
    wait_until(lambda: sandbox.get_info().state == SandboxState.PAUSED, "the pause")
    sandbox.connect(timeout=300)
    assert sandbox.commands.run("echo on").stdout == "on\n"


@covers("Sandbox.create(lifecycle)")
def test_resume_by_a_request(create):
    sandbox = create(lifecycle={"on_timeout": "pause", "auto_resume": True})
    assert sandbox.get_info().lifecycle == {"on_timeout": "pause", "auto_resume": True}
    sandbox.pause()
    assert sandbox.commands.run("echo on").stdout == "on\n"
    assert sandbox.get_info().state == SandboxState.RUNNING


def test_lifecycles_that_cannot_be(create):
    with pytest.raises((SandboxException, InvalidArgumentException)):
        create(lifecycle={"on_timeout": "kill", "auto_resume": True})
    with pytest.raises((SandboxException, InvalidArgumentException)):
        create(lifecycle={"on_timeout": {"action": "pause", "mode": "filesystem"}, "auto_resume": True})


@covers("Sandbox.get_metrics")
def test_get_metrics(sdk, shared_sandbox):
    metrics = wait_until(shared_sandbox.get_metrics, "the first measurement")
    last = metrics[-1]
    assert last.cpu_count == 1 and 0 <= last.cpu_used_pct <= 100 * last.cpu_count + 5
    assert 0 < last.mem_used < last.mem_total <= 512 << 20
    assert 0 < last.disk_used < last.disk_total and last.mem_cache >= 0
    now = datetime.datetime.now(datetime.timezone.utc)
    assert abs((now - last.timestamp).total_seconds()) < 120
    again = sdk.Sandbox.get_metrics(shared_sandbox.sandbox_id, start=metrics[0].timestamp, end=now)
    assert again and again[0].timestamp == metrics[0].timestamp
    early = metrics[0].timestamp - datetime.timedelta(hours=1)
    assert shared_sandbox.get_metrics(start=early - datetime.timedelta(hours=1), end=early) == []


@covers("Sandbox.create(mcp)", "Sandbox.get_mcp_token", not_offered="400, refused by its name")
def test_mcp_is_refused(create, shared_sandbox):
    with pytest.raises(SandboxException, match="mcp is not offered"):
        create(mcp={"github": {"githubPersonalAccessToken": "x"}})


@covers("Sandbox.get_mcp_url", differs="made by the SDK; no MCP server is behind it")
def test_get_mcp_url(shared_sandbox):
    assert shared_sandbox.get_mcp_url() == f"https://{shared_sandbox.get_host(50005)}/mcp"


@covers("Sandbox.create(iam)", "Secret.iam_token", not_offered="400, refused by its name")
def test_identities_are_refused(sdk, create):
    token = sdk.Secret.iam_token(audience="sts.example.com", token_type="JWT-SVID")
    with pytest.raises(SandboxException, match="iam is not offered"):
        create(iam={"tokens": {"aws": token}})
