"""Forks and snapshots of sandboxes."""

import pytest
from covers import covers
from e2b import InvalidArgumentException, NotFoundException, SandboxException, SandboxNotFoundException


def snapshots(paginator):
    found = []
    while paginator.has_next:
        found += paginator.next_items()
    return found


@pytest.fixture
def marked(create):
    """A sandbox with a file, and with a value in the memory of a process."""
    sandbox = create(metadata={"kind": "original"}, envs={"GREETING": "hello"})
    sandbox.files.write("/home/user/mark", "original")
    handle = sandbox.commands.run("read line; echo got $line", background=True, stdin=True)
    return sandbox, handle.pid


@covers("Sandbox.fork")
def test_fork(marked):
    sandbox, pid = marked
    (copy,) = sandbox.fork(timeout=300)
    try:
        assert copy.sandbox_id != sandbox.sandbox_id
        assert copy.files.read("/home/user/mark") == "original"
        assert pid in [process.pid for process in copy.commands.list()]
        copy.files.write("/home/user/mark", "copy")
        assert sandbox.files.read("/home/user/mark") == "original"
        # Neither may be known by the other's secrets or random numbers.
        uuids = [box.files.read("/proc/sys/kernel/random/uuid") for box in (sandbox, copy)]
        assert uuids[0] != uuids[1]
        assert "original" not in copy.commands.run("hostname").stdout
    finally:
        copy.kill()
    assert sandbox.is_running()


@covers("Sandbox.fork", "Sandbox.fork(count)", "Sandbox.fork(timeout)")
def test_fork_many_by_id(sdk, marked):
    sandbox, _ = marked
    copies = sdk.Sandbox.fork(sandbox.sandbox_id, timeout=120, count=2)
    try:
        assert len({copy.sandbox_id for copy in copies} | {sandbox.sandbox_id}) == 3
        assert [copy.files.read("/home/user/mark") for copy in copies] == ["original"] * 2
        info = copies[0].get_info()
        assert (info.end_at - info.started_at).total_seconds() <= 130
    finally:
        for copy in copies:
            copy.kill()


def test_fork_of_nothing(sdk, shared_sandbox):
    with pytest.raises(SandboxNotFoundException):
        sdk.Sandbox.fork("hearthnosuchsandbox")
    with pytest.raises((SandboxException, InvalidArgumentException), match="count"):
        shared_sandbox.fork(count=0)


@covers("Sandbox.create_snapshot", "Sandbox.list_snapshots", "SnapshotPaginator.next_items", "Sandbox.delete_snapshot")
def test_a_snapshot_and_sandboxes_of_it(sdk, create, marked):
    sandbox, pid = marked
    snapshot = sandbox.create_snapshot()
    assert snapshot.snapshot_id and sandbox.is_running()
    sandbox.files.write("/home/user/mark", "changed")
    assert snapshot.snapshot_id in [found.snapshot_id for found in snapshots(sandbox.list_snapshots())]
    copy = create(snapshot.snapshot_id)
    assert copy.files.read("/home/user/mark") == "original"
    assert pid in [process.pid for process in copy.commands.list()]
    assert sdk.Sandbox.delete_snapshot(snapshot.snapshot_id) is True
    assert sdk.Sandbox.delete_snapshot(snapshot.snapshot_id) is False
    assert snapshots(sandbox.list_snapshots()) == []
    assert copy.files.read("/home/user/mark") == "original"
    with pytest.raises(SandboxException):
        create(snapshot.snapshot_id)


@covers("Sandbox.create_snapshot(name)", "Sandbox.list_snapshots(limit)")
def test_snapshots_by_name_and_page(sdk, create, name, marked):
    sandbox, _ = marked
    named = sandbox.create_snapshot(name=name)
    other = sdk.Sandbox.create_snapshot(sandbox.sandbox_id)
    try:
        assert any(name in full for full in named.names)
        assert create(name).files.read("/home/user/mark") == "original"
        ids = [found.snapshot_id for found in snapshots(sdk.Sandbox.list_snapshots(sandbox_id=sandbox.sandbox_id, limit=1))]
        assert sorted(ids) == sorted([named.snapshot_id, other.snapshot_id])
    finally:
        for snapshot in (named, other):
            assert sdk.Sandbox.delete_snapshot(snapshot.snapshot_id)


@covers("Sandbox.list_snapshots(name)")
def test_snapshots_are_found_by_their_name(sdk, name, marked):
    sandbox, _ = marked
    named, other = sandbox.create_snapshot(name=name), sandbox.create_snapshot()
    try:
        found = snapshots(sandbox.list_snapshots(name=name))
        assert [snapshot.snapshot_id for snapshot in found] == [named.snapshot_id]
    finally:
        for snapshot in (named, other):
            sdk.Sandbox.delete_snapshot(snapshot.snapshot_id)


@covers("Sandbox.create_snapshot(mode)")
def test_a_snapshot_of_the_files_alone_boots(sdk, marked):
    sandbox, _ = marked
    running = sandbox.commands.run("sleep 1000", background=True)
    sandbox.files.write("/home/user/kept", "on disk")
    snapshot = sandbox.create_snapshot(mode="filesystem")
    running.kill()
    try:
        copy = sdk.Sandbox.create(snapshot.snapshot_id)
        try:
            assert copy.files.read("/home/user/kept") == "on disk"
            assert all("sleep" not in process.args for process in copy.commands.list())
        finally:
            copy.kill()
    finally:
        sdk.Sandbox.delete_snapshot(snapshot.snapshot_id)


def test_a_snapshot_of_nothing(sdk):
    with pytest.raises(NotFoundException):
        sdk.Sandbox.create_snapshot("hearthnosuchsandbox")
    assert sdk.Sandbox.delete_snapshot("hearth-no-such") is False
