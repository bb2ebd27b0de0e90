"""Who has a key, but of another project; or a token, but of another sandbox; or only guesses. Nothing is there for them."""

import uuid

import e2b
import pytest
from conftest import AGENT_PORT
from e2b import AuthenticationException, NotFoundException, PtySize, SandboxException, SandboxNotFoundException
from e2b.connection_config import ConnectionConfig
from packaging.version import Version

OTHER = "sdk-strangers"


@pytest.fixture(scope="session")
def stranger(daemon):
    """The options by which a call has the key of another project's admin."""
    daemon.hearth("project", "create", OTHER)
    key = daemon.hearth("--project", OTHER, "key", "create", "--role", "admin", "--name", OTHER).splitlines()[0]
    yield {"api_key": key}
    daemon.hearth("--project", OTHER, "key", "rm", OTHER)
    daemon.hearth("project", "rm", OTHER)


OF_A_SANDBOX = {
    "connect": lambda box, id, who: box.connect(id, **who),
    "kill": lambda box, id, who: box.kill(id, **who),
    "get_info": lambda box, id, who: box.get_info(id, **who),
    "set_timeout": lambda box, id, who: box.set_timeout(id, 1, **who),
    "pause": lambda box, id, who: box.pause(id, **who),
    "fork": lambda box, id, who: box.fork(id, **who),
    "create_snapshot": lambda box, id, who: box.create_snapshot(id, **who),
    "get_metrics": lambda box, id, who: box.get_metrics(id, **who),
    "update_network": lambda box, id, who: box.update_network(id, {"allow_internet_access": False}, **who),
}


@pytest.mark.parametrize("call", OF_A_SANDBOX)
def test_a_key_of_another_project(sdk, shared_sandbox, stranger, call):
    # As for a sandbox that never was, word for word but for its ID.
    outcomes = []
    for id in [shared_sandbox.sandbox_id, guess(shared_sandbox.sandbox_id)]:
        try:
            outcomes.append(OF_A_SANDBOX[call](sdk.Sandbox, id, stranger))
        except NotFoundException as error:
            outcomes.append(str(error).replace(id, "ID"))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] is False if call == "kill" else isinstance(outcomes[0], str)
    assert shared_sandbox.is_running()


def test_lists_and_templates_of_another_project(sdk, shared_sandbox, stranger, name):
    assert sdk.Sandbox.list(**stranger).next_items() == []
    assert sdk.Sandbox.list_snapshots(**stranger).next_items() == []
    assert sdk.Template.exists("base", **stranger) is False
    with pytest.raises(SandboxException):
        sdk.Sandbox.create("base", **stranger)
    with pytest.raises(SandboxException):
        sdk.Sandbox.create(shared_sandbox.get_info().template_id, **stranger)
    snapshot = shared_sandbox.create_snapshot(name=name)
    try:
        for wanted in [snapshot.snapshot_id, name]:
            with pytest.raises(SandboxException):
                sdk.Sandbox.create(wanted, **stranger)
        assert sdk.Sandbox.delete_snapshot(snapshot.snapshot_id, **stranger) is False
    finally:
        assert sdk.Sandbox.delete_snapshot(snapshot.snapshot_id) is True


def guess(id):
    """An ID as they are made, a little beside one that there is."""
    last = "0123456789abcdefghjkmnpqrstvwxyz"
    return id[:-1] + last[(last.index(id[-1]) + 1) % len(last)]


def test_ids_that_are_guessed(sdk, shared_sandbox):
    id = shared_sandbox.sandbox_id
    for guessed in [guess(id), id[:-1], id + "0", id.upper(), id[:10], " ", "*", "x" * 5000]:
        with pytest.raises(SandboxNotFoundException):
            sdk.Sandbox.get_info(guessed)
    assert sdk.Sandbox.kill(guess(id)) is False
    assert shared_sandbox.is_running()


INSIDE = {
    "commands.run": lambda box: box.commands.run("true"),
    "commands.list": lambda box: box.commands.list(),
    "commands.connect": lambda box: box.commands.connect(1),
    "commands.kill": lambda box: box.commands.kill(1),
    "commands.send_stdin": lambda box: box.commands.send_stdin(1, "x"),
    "pty.create": lambda box: box.pty.create(PtySize(24, 80)),
    "pty.resize": lambda box: box.pty.resize(1, PtySize(24, 80)),
    "files.read": lambda box: box.files.read("/etc/hostname"),
    "files.write": lambda box: box.files.write("/tmp/stranger", "x"),
    "files.write_octets": lambda box: box.files.write("/tmp/stranger", b"x" * (2 << 20), use_octet_stream=True),
    "files.list": lambda box: box.files.list("/"),
    "files.exists": lambda box: box.files.exists("/"),
    "files.get_info": lambda box: box.files.get_info("/"),
    "files.make_dir": lambda box: box.files.make_dir("/tmp/stranger"),
    "files.rename": lambda box: box.files.rename("/tmp", "/stranger"),
    "files.remove": lambda box: box.files.remove("/tmp"),
    "files.watch_dir": lambda box: box.files.watch_dir("/tmp"),
    "git.init": lambda box: box.git.init("/tmp/stranger"),
}


@pytest.fixture(scope="module")
def tokens(daemon, shared_sandbox):
    """What does not open the sandbox, by what it is."""
    other = e2b.Sandbox.create(timeout=600)
    yield {"none": None, "empty": "", "guessed": uuid.uuid4().hex, "of another": other._envd_access_token}
    other.kill()


def with_token(sandbox, token):
    """The sandbox as somebody sees it who has this token."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(AGENT_PORT)}
    if token is not None:
        headers["X-Access-Token"] = token
    return e2b.Sandbox(
        sandbox_id=sandbox.sandbox_id,
        sandbox_domain="localhost",
        envd_version=Version(sandbox.get_info().envd_version),
        envd_access_token=token,
        connection_config=ConnectionConfig(extra_sandbox_headers=headers),
    )


@pytest.mark.sync_only
@pytest.mark.parametrize("call", INSIDE)
def test_a_token_of_another_sandbox(shared_sandbox, tokens, call):
    for kind, token in tokens.items():
        with pytest.raises(AuthenticationException):
            INSIDE[call](with_token(shared_sandbox, token))
        assert shared_sandbox.is_running(), kind
    assert not shared_sandbox.files.exists("/tmp/stranger")
