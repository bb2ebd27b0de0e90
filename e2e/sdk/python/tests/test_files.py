import io
import os
import datetime

import pytest
from conftest import is_asynchronous
from covers import covers
from e2b import (
    AuthenticationException,
    FileNotFoundException,
    FileType,
    InvalidArgumentException,
    SandboxException,
)
from e2b.sandbox.filesystem.filesystem import WriteEntry


@covers("Filesystem.write", "Filesystem.read")
def test_write_and_read_text(sandbox, folder):
    info = sandbox.files.write(f"{folder}/a b žluť.txt", "some žluť text 🦀\n")
    assert (info.name, info.type, info.path) == ("a b žluť.txt", FileType.FILE, f"{folder}/a b žluť.txt")
    assert sandbox.files.read(info.path) == "some žluť text 🦀\n"


def test_write_and_read_bytes(sandbox, folder):
    data = bytes(range(256)) * 40_000
    sandbox.files.write(f"{folder}/bytes", data)
    assert sandbox.files.read(f"{folder}/bytes", format="bytes") == data


def test_write_and_read_nothing(sandbox, folder):
    sandbox.files.write(f"{folder}/empty", "")
    assert sandbox.files.read(f"{folder}/empty") == ""
    assert sandbox.files.read(f"{folder}/empty", format="bytes") == b""
    assert sandbox.files.get_info(f"{folder}/empty").size == 0


@covers("Filesystem.read")
def test_read_a_stream(sandbox, folder):
    data = os.urandom(3_000_000)
    sandbox.files.write(f"{folder}/stream", data)
    stream = sandbox.files.read(f"{folder}/stream", format="stream")
    assert b"".join(drain(sandbox, stream)) == data


def drain(sandbox, stream):
    if not is_asynchronous(sandbox):
        return list(stream)
    pieces = []
    while True:
        try:
            pieces.append(stream.__anext__())
        except StopAsyncIteration:
            return pieces


def test_a_file_that_has_no_length(sandbox):
    assert "MemTotal" in sandbox.files.read("/proc/meminfo")


def test_read_with_compression_asked_for(sandbox, folder):
    sandbox.files.write(f"{folder}/text", "text " * 10_000)
    assert sandbox.files.read(f"{folder}/text", gzip=True) == "text " * 10_000


def test_write_from_a_file_as_octet_stream(sandbox, folder):
    data = os.urandom(2_000_000)
    info = sandbox.files.write(f"{folder}/stream", io.BytesIO(data))
    assert (info.name, info.path) == ("stream", f"{folder}/stream")
    assert sandbox.files.read(f"{folder}/stream", format="bytes") == data


def test_write_octet_stream_by_wish(sandbox, folder):
    sandbox.files.write(f"{folder}/octets", "text", use_octet_stream=True)
    assert sandbox.files.read(f"{folder}/octets") == "text"


@pytest.mark.parametrize("data", ["text " * 100_000, b"", b"\x00\xff" * 10])
def test_write_compressed(sandbox, folder, data):
    sandbox.files.write(f"{folder}/packed", data, gzip=True)
    expected = data.encode() if isinstance(data, str) else data
    assert sandbox.files.read(f"{folder}/packed", format="bytes") == expected


def test_write_compressed_from_a_file(sandbox, folder):
    data = os.urandom(1_000_000)
    sandbox.files.write(f"{folder}/packed", io.BytesIO(data), gzip=True)
    assert sandbox.files.read(f"{folder}/packed", format="bytes") == data


def test_write_over_a_longer_file(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "a longer text")
    sandbox.files.write(f"{folder}/file", "short")
    assert sandbox.files.read(f"{folder}/file") == "short"


def test_write_makes_folders(sandbox, folder):
    sandbox.files.write(f"{folder}/one/two/three", "deep")
    assert sandbox.files.get_info(f"{folder}/one/two").type == FileType.DIR


@covers("Filesystem.write_files")
def test_write_many(sandbox, folder):
    infos = sandbox.files.write_files(
        [WriteEntry(path=f"{folder}/{name}", data=data) for name, data in [("a", "one"), ("d/b", b"two"), ("c", "")]]
    )
    assert [info.path for info in infos] == [f"{folder}/a", f"{folder}/d/b", f"{folder}/c"]
    assert [sandbox.files.read(info.path) for info in infos] == ["one", "two", ""]
    assert sandbox.files.write_files([]) == []


def test_write_a_thousand(sandbox, folder):
    entries = [WriteEntry(path=f"{folder}/{number}", data=f"content {number}") for number in range(1000)]
    infos = sandbox.files.write_files(entries)
    assert [info.name for info in infos] == [str(number) for number in range(1000)]
    assert len(sandbox.files.list(folder)) == 1000
    assert sandbox.files.read(f"{folder}/999") == "content 999"


def test_names_that_need_quoting(sandbox, folder):
    names = ['a"b', "a;b", "a%b", "a&b=c", "a+b", "a#b?c", "a\\b", "a'b", " a ", "ž"]
    sandbox.files.write_files([WriteEntry(path=f"{folder}/{name}", data=name) for name in names])
    assert sorted(entry.name for entry in sandbox.files.list(folder)) == sorted(names)
    assert [sandbox.files.read(f"{folder}/{name}") for name in names] == names


@covers("Filesystem.write")
def test_write_with_metadata(sandbox, folder):
    info = sandbox.files.write(f"{folder}/file", "x", metadata={"Author": "me", "purpose": "a test"})
    assert info.metadata == {"author": "me", "purpose": "a test"}
    assert sandbox.files.get_info(f"{folder}/file").metadata == {"author": "me", "purpose": "a test"}
    (listed,) = sandbox.files.list(folder)
    assert listed.metadata == {"author": "me", "purpose": "a test"}
    moved = sandbox.files.rename(f"{folder}/file", f"{folder}/other")
    assert moved.metadata == {"author": "me", "purpose": "a test"}


def test_metadata_goes_with_the_content(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x", metadata={"old": "1"})
    info = sandbox.files.write(f"{folder}/file", "y", metadata={"new": "2"})
    assert info.metadata == sandbox.files.get_info(f"{folder}/file").metadata == {"new": "2"}
    assert sandbox.files.write(f"{folder}/file", "z").metadata is None
    assert sandbox.files.get_info(f"{folder}/file").metadata is None


def test_metadata_of_many_and_of_streams(sandbox, folder):
    entries = [WriteEntry(path=f"{folder}/{name}", data="x") for name in "ab"]
    infos = sandbox.files.write_files(entries, metadata={"k": "v"}, use_octet_stream=True)
    assert [info.metadata for info in infos] == [{"k": "v"}] * 2


def test_relative_paths_and_the_tilde_are_the_users(sandbox):
    home = sandbox.commands.run("cd; pwd").stdout.strip()
    try:
        assert sandbox.files.write("hearth-sdk-test.txt", "x").path == f"{home}/hearth-sdk-test.txt"
        assert sandbox.files.read("~/hearth-sdk-test.txt") == "x"
        assert sandbox.files.exists("./hearth-sdk-test.txt")
    finally:
        sandbox.files.remove("~/hearth-sdk-test.txt")


def test_a_file_belongs_to_its_writer(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x", user="root")
    assert sandbox.files.get_info(f"{folder}/file").owner == "root"
    sandbox.files.write(f"{folder}/file", "y", user="nobody")
    assert sandbox.files.get_info(f"{folder}/file").owner == "nobody"
    sandbox.files.write(f"{folder}/d/file", "y", user="nobody")
    assert sandbox.files.get_info(f"{folder}/d").owner == "nobody"


def test_what_is_not_there(sandbox, folder):
    absent = f"{folder}/absent"
    for ask in [
        lambda: sandbox.files.read(absent),
        lambda: sandbox.files.read(absent, format="bytes"),
        lambda: sandbox.files.read(absent, format="stream"),
        lambda: sandbox.files.get_info(absent),
        lambda: sandbox.files.list(absent),
        lambda: sandbox.files.rename(absent, f"{folder}/b"),
    ]:
        with pytest.raises(FileNotFoundException, match="does not exist"):
            ask()
    assert sandbox.files.exists(absent) is False


def test_what_is_a_folder_or_is_not(sandbox, folder):
    with pytest.raises(InvalidArgumentException, match="is a directory"):
        sandbox.files.read(folder)
    with pytest.raises(InvalidArgumentException, match="is a directory"):
        sandbox.files.write(folder, "x")
    sandbox.files.write(f"{folder}/file", "x")
    with pytest.raises(InvalidArgumentException, match="not a directory"):
        sandbox.files.list(f"{folder}/file")
    with pytest.raises(InvalidArgumentException, match="not a directory"):
        sandbox.files.write(f"{folder}/file/below", "x")
    with pytest.raises(InvalidArgumentException, match="not a directory"):
        sandbox.files.make_dir(f"{folder}/file")


def test_users_that_are_unknown(sandbox, folder):
    for ask in [
        lambda: sandbox.files.read("/etc/hostname", user="hearth-no-such-user"),
        lambda: sandbox.files.write(f"{folder}/x", "x", user="hearth-no-such-user"),
        lambda: sandbox.files.list("/", user="hearth-no-such-user"),
    ]:
        with pytest.raises(AuthenticationException):
            ask()


@covers("Filesystem.list")
def test_list(sandbox, folder):
    sandbox.files.write(f"{folder}/b", "xyz")
    sandbox.files.write(f"{folder}/a/c", "")
    names = [(entry.name, entry.type, entry.path) for entry in sandbox.files.list(folder)]
    assert names == [("a", FileType.DIR, f"{folder}/a"), ("b", FileType.FILE, f"{folder}/b")]


def test_list_depth(sandbox, folder):
    sandbox.files.write(f"{folder}/1/2/3/4", "")
    deep = lambda depth: [entry.path.removeprefix(folder) for entry in sandbox.files.list(folder, depth=depth)]
    assert deep(1) == ["/1"]
    assert deep(2) == ["/1", "/1/2"]
    assert deep(9) == ["/1", "/1/2", "/1/2/3", "/1/2/3/4"]
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list(folder, depth=0)


def test_list_nothing(sandbox, folder):
    assert sandbox.files.list(folder) == []


@covers("Filesystem.exists")
def test_exists(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "")
    assert sandbox.files.exists(f"{folder}/file") and sandbox.files.exists(folder)


@covers("Filesystem.get_info")
def test_get_info_of_a_file(sandbox, folder):
    before = datetime.datetime.now(datetime.timezone.utc)
    sandbox.files.write(f"{folder}/file", "12345", user="root")
    info = sandbox.files.get_info(f"{folder}/file")
    assert (info.name, info.type, info.path, info.size) == ("file", FileType.FILE, f"{folder}/file", 5)
    assert (info.mode, info.permissions, info.owner, info.group) == (0o644, "-rw-r--r--", "root", "root")
    assert info.symlink_target is None and info.metadata is None
    modified = info.modified_time
    modified = modified if modified.tzinfo else modified.replace(tzinfo=datetime.timezone.utc)
    assert abs((modified - before).total_seconds()) < 120


def test_get_info_of_a_folder_and_a_link(sandbox, folder):
    info = sandbox.files.get_info(folder)
    assert (info.type, info.permissions) == (FileType.DIR, "drwxr-xr-x")
    sandbox.commands.run(f"ln -s {folder} {folder}/link; ln -s /nowhere {folder}/dangling")
    link = sandbox.files.get_info(f"{folder}/link")
    assert (link.type, link.symlink_target, link.name) == (FileType.SYMLINK, folder, "link")
    dangling = sandbox.files.get_info(f"{folder}/dangling")
    assert (dangling.type, dangling.symlink_target) == (FileType.SYMLINK, "/nowhere")


@covers("Filesystem.rename")
def test_rename(sandbox, folder):
    sandbox.files.write(f"{folder}/old", "content")
    info = sandbox.files.rename(f"{folder}/old", f"{folder}/deep/new")
    assert (info.name, info.type, info.path, info.size) == ("new", FileType.FILE, f"{folder}/deep/new", 7)
    assert not sandbox.files.exists(f"{folder}/old")
    assert sandbox.files.read(f"{folder}/deep/new") == "content"


def test_rename_over_a_file_and_of_a_folder(sandbox, folder):
    sandbox.files.write(f"{folder}/a", "a")
    sandbox.files.write(f"{folder}/b", "b")
    sandbox.files.rename(f"{folder}/a", f"{folder}/b")
    assert sandbox.files.read(f"{folder}/b") == "a"
    sandbox.files.make_dir(f"{folder}/d")
    sandbox.files.rename(f"{folder}/d", f"{folder}/e")
    assert sandbox.files.get_info(f"{folder}/e").type == FileType.DIR


@covers("Filesystem.remove")
def test_remove(sandbox, folder):
    sandbox.files.write(f"{folder}/d/e/file", "")
    sandbox.files.remove(f"{folder}/d")
    assert not sandbox.files.exists(f"{folder}/d")
    sandbox.files.remove(f"{folder}/d")


@covers("Filesystem.make_dir")
def test_make_dir(sandbox, folder):
    assert sandbox.files.make_dir(f"{folder}/one/two") is True
    assert sandbox.files.make_dir(f"{folder}/one/two") is False
    assert sandbox.files.get_info(f"{folder}/one/two").type == FileType.DIR


def test_paths_that_play_tricks(sandbox, folder):
    sandbox.files.write(f"{folder}/x/../y/./z", "x")
    assert sandbox.files.read(f"{folder}/y/z") == "x" and not sandbox.files.exists(f"{folder}/x")
    for path in [f"{folder}/nul\0byte", f"{folder}/{'n' * 300}", f"{folder}/{'d/' * 3000}f"]:
        for ask in [
            lambda: sandbox.files.read(path),
            lambda: sandbox.files.write(path, "x", use_octet_stream=True),
            lambda: sandbox.files.make_dir(path),
            lambda: sandbox.files.list(path),
            lambda: sandbox.files.rename(folder, path),
        ]:
            with pytest.raises(InvalidArgumentException):
                ask()
    sandbox.commands.run(f"ln -s loop {folder}/loop")
    with pytest.raises((InvalidArgumentException, SandboxException)):
        sandbox.files.read(f"{folder}/loop")
