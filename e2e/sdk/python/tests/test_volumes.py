"""Volumes: shared folders that outlive sandboxes."""

import io
import os

import pytest
from conftest import wait_until
from covers import covers
from e2b import AuthenticationException, SandboxException, VolumeException
from e2b.exceptions import VolumeNotFoundException, VolumePathNotFoundException


@pytest.fixture(autouse=True)
def address(monkeypatch):
    """The SDK has a variable of its own for where the files of volumes are."""
    monkeypatch.setenv("E2B_VOLUME_API_URL", os.environ["E2B_API_URL"])


@pytest.fixture
def volume(sdk, name):
    volume = sdk.Volume.create(name)
    yield volume
    sdk.Volume.destroy(volume.volume_id)


@covers("Volume.create", "Volume.connect", "Volume.list", "Volume.get_info", "Volume.destroy")
def test_volumes_come_and_go(sdk, name):
    volume = sdk.Volume.create(name)
    assert volume.name == name and volume.token
    with pytest.raises(VolumeException, match="already"):
        sdk.Volume.create(name)
    with pytest.raises(VolumeException, match="name"):
        sdk.Volume.create("no/name")
    assert volume.volume_id in [there.volume_id for there in sdk.Volume.list()]
    info = sdk.Volume.get_info(volume.volume_id)
    assert (info.name, info.token) == (name, volume.token)
    volume.write_file("/kept", "here")
    assert sdk.Volume.connect(volume.volume_id).read_file("/kept") == "here"
    assert sdk.Volume.destroy(volume.volume_id) is True
    assert sdk.Volume.destroy(volume.volume_id) is False
    with pytest.raises(VolumeNotFoundException):
        sdk.Volume.get_info(volume.volume_id)
    with pytest.raises(VolumeNotFoundException):
        sdk.Volume.connect(volume.volume_id)


@covers("Volume.write_file", "Volume.read_file", "Volume.exists", "Volume.remove")
def test_files(sdk, volume):
    assert volume.exists("/a") is False
    written = volume.write_file("/a", "text ü")
    assert (written.name, written.path, written.size) == ("a", "/a", 7)
    assert volume.read_file("/a") == "text ü"
    assert volume.read_file("a", format="bytes") == "text ü".encode()
    large = os.urandom(3 << 20)
    volume.write_file("/large", io.BytesIO(large), mode=0o600, uid=7, gid=8)
    assert volume.read_file("/large", format="bytes") == large
    info = volume.get_info("/large")
    assert (info.mode, info.uid, info.gid, info.size) == (0o600, 7, 8, len(large))
    assert volume.exists("/a") is True
    volume.remove("/a")
    assert volume.exists("/a") is False
    for ask in [volume.read_file, volume.get_info, volume.remove]:
        with pytest.raises(VolumePathNotFoundException):
            ask("/a")


@covers("Volume.read_file(format)")
def test_streams(sdk, volume):
    if sdk.is_asynchronous:
        pytest.skip("a stream of the asynchronous SDK is iterated by a loop")
    data = os.urandom(1 << 20)
    volume.write_file("/a", data)
    assert b"".join(volume.read_file("/a", format="stream")) == data
    with pytest.raises(VolumePathNotFoundException):
        list(volume.read_file("/no", format="stream"))


@covers("Volume.make_dir", "Volume.list", "Volume.get_info", "Volume.update_metadata", "Volume.remove")
def test_folders(volume):
    made = volume.make_dir("/a/b", force=True, mode=0o700)
    assert (made.path, made.type.value, made.mode) == ("/a/b", "directory", 0o700)
    with pytest.raises(VolumePathNotFoundException):
        volume.make_dir("/x/y")
    with pytest.raises(VolumeException, match="already"):
        volume.make_dir("/a")
    volume.write_file("/new/file", "x", force=True)
    assert [entry.path for entry in volume.list("/")] == ["/a", "/new"]
    assert [entry.path for entry in volume.list("/", depth=2)] == ["/a", "/a/b", "/new", "/new/file"]
    changed = volume.update_metadata("/a", uid=3, gid=4, mode=0o711)
    assert (changed.uid, changed.gid, changed.mode) == (3, 4, 0o711)
    volume.remove("/a")
    with pytest.raises(VolumePathNotFoundException):
        volume.list("/a")


def test_a_token_opens_one_volume(sdk, volume):
    volume.write_file("/a", "text")
    for token in ["", "x", None]:
        other = sdk.Volume(volume.volume_id, volume.name, token=token)
        with pytest.raises((AuthenticationException, VolumeException)):
            other.read_file("/a")


@covers("Sandbox.create(volume_mounts)")
def test_sandboxes_share_a_volume(sdk, create, volume):
    volume.write_file("/seed", "before")
    one = create(volume_mounts={"/mnt/data": volume.name})
    two = create(volume_mounts={"/data": sdk.Volume.connect(volume.volume_id).name})
    assert [(mount["name"], mount["path"]) for mount in one.get_info().volume_mounts] == [(volume.name, "/mnt/data")]
    assert one.files.read("/mnt/data/seed") == "before"
    one.commands.run("echo one > /mnt/data/shared && mkdir /mnt/data/dir && ln -s /etc/shadow /mnt/data/link")
    wait_until(lambda: two.commands.run("cat /data/shared || true").stdout == "one\n", "the other's file")
    assert volume.read_file("/shared") == "one\n"
    assert volume.get_info("/link").target == "/etc/shadow"
    with pytest.raises(VolumePathNotFoundException):
        volume.read_file("/link")

    # The volume answers again after a pause, and to those who go on from the same moment.
    one.pause()
    two.commands.run("echo two > /data/shared")
    one = one.connect()
    wait_until(lambda: one.commands.run("cat /mnt/data/shared").stdout == "two\n", "what was written over the pause")
    (copy,) = one.fork(timeout=300)
    try:
        copy.commands.run("echo copy > /mnt/data/shared")
        wait_until(lambda: one.commands.run("cat /mnt/data/shared").stdout == "copy\n", "what the copy wrote")
    finally:
        copy.kill()
    one.kill()
    two.kill()
    assert volume.read_file("/shared") == "copy\n"


# Says from each of these ports that it is the guest's kernel. What a server says to a call of nothing is what it would say to others.
IMPOSTOR = """
import re, socket, struct
options = next(line for line in open("/proc/mounts") if " nfs " in line)
server = re.search(r"[^t]addr=([0-9.]+)", options)[1], int(re.search(r"[^t]port=([0-9]+)", options)[1])
call = struct.pack(">10I", 7, 0, 2, 100003, 3, 0, 0, 0, 0, 0)
for port in [30, 1023, 1024, 0]:
    client = socket.socket()
    client.settimeout(10)
    try:
        client.bind(("", port))
        client.connect(server)
        client.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        print(port, "answered" if client.recv(4) else "closed")
    except PermissionError:
        print(port, "not had")
    except ConnectionError:
        print(port, "closed")
"""


def test_programs_are_not_the_kernel(create, volume):
    sandbox = create(volume_mounts={"/data": volume.name})
    sandbox.files.write("/tmp/impostor.py", IMPOSTOR)
    said = sandbox.commands.run("python3 /tmp/impostor.py").stdout.splitlines()
    assert said == ["30 not had", "1023 not had", "1024 closed", "0 closed"]
    # Root may be anybody in its own machine, and so it is heard: else the rest proves nothing.
    assert "30 answered" in sandbox.commands.run("python3 /tmp/impostor.py", user="root").stdout


def test_mounts_are_checked(create, volume):
    for mounts, why in [
        ({"/data": "no-such-volume"}, "no-such-volume"),
        ({"relative": volume.name}, "absolute"),
        ({"/proc/x": volume.name}, "system"),
    ]:
        with pytest.raises(SandboxException, match=why):
            create(volume_mounts=mounts)
