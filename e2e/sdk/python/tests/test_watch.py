import pytest
from conftest import is_asynchronous, wait_until
from covers import covers
from e2b import FileNotFoundException, FilesystemEventType, FileType, InvalidArgumentException, SandboxException

CREATE, WRITE, REMOVE, RENAME, CHMOD = (
    FilesystemEventType.CREATE,
    FilesystemEventType.WRITE,
    FilesystemEventType.REMOVE,
    FilesystemEventType.RENAME,
    FilesystemEventType.CHMOD,
)


class Watch:
    """A watch and its events, however the flavour tells of them."""

    def __init__(self, sandbox, path, **options):
        self.sandbox, self.events, self.ends = sandbox, [], []
        if is_asynchronous(sandbox):
            options["on_event"], options["on_exit"] = self.events.append, self.ends.append
        self.handle = sandbox.files.watch_dir(path, **options)

    def seen(self):
        if not is_asynchronous(self.sandbox):
            self.events += self.handle.get_new_events()
        return [(event.type, event.name) for event in self.events]

    def expect(self, *events):
        wait_until(lambda: set(events) <= set(self.seen()), f"{events}, but {self.seen()}")


@pytest.fixture
def watching(sandbox):
    made = []

    def watch(path, **options):
        made.append(Watch(sandbox, path, **options))
        return made[-1]

    yield watch
    for watch in made:
        watch.handle.stop()


@covers("Filesystem.watch_dir", "WatchHandle.get_new_events")
def test_each_kind_of_event(sandbox, folder, watching):
    watch = watching(folder)
    sandbox.files.write(f"{folder}/file", "x")
    watch.expect((CREATE, "file"), (WRITE, "file"))
    sandbox.commands.run(f"chmod 600 {folder}/file")
    watch.expect((CHMOD, "file"))
    sandbox.files.rename(f"{folder}/file", f"{folder}/other")
    watch.expect((RENAME, "file"), (CREATE, "other"))
    sandbox.files.remove(f"{folder}/other")
    watch.expect((REMOVE, "other"))


def test_only_the_folder_itself(sandbox, folder, watching):
    sandbox.files.make_dir(f"{folder}/sub")
    watch = watching(folder)
    sandbox.files.write(f"{folder}/sub/file", "x")
    sandbox.files.write(f"{folder}/last", "x")
    watch.expect((CREATE, "last"))
    assert not [name for _, name in watch.seen() if name.startswith("sub/")]


def test_recursive(sandbox, folder, watching):
    sandbox.files.make_dir(f"{folder}/old/deep")
    watch = watching(folder, recursive=True)
    sandbox.files.write(f"{folder}/old/deep/file", "x")
    watch.expect((CREATE, "old/deep/file"), (WRITE, "old/deep/file"))
    sandbox.files.write(f"{folder}/new/deep/file", "x")
    watch.expect((CREATE, "new"), (CREATE, "new/deep"), (CREATE, "new/deep/file"))
    sandbox.files.write(f"{folder}/new/deep/later", "x")
    watch.expect((CREATE, "new/deep/later"))


def test_recursive_after_a_folder_has_moved(sandbox, folder, watching):
    sandbox.files.make_dir(f"{folder}/a/b")
    watch = watching(folder, recursive=True)
    sandbox.files.rename(f"{folder}/a", f"{folder}/c")
    watch.expect((RENAME, "a"), (CREATE, "c"))
    sandbox.files.write(f"{folder}/c/b/file", "x")
    watch.expect((CREATE, "c/b/file"))
    assert not [name for _, name in watch.seen() if name.startswith("a/")]


def test_entries(sandbox, folder, watching):
    watch = watching(folder, include_entry=True)
    sandbox.files.write(f"{folder}/file", "12345")
    watch.expect((WRITE, "file"))
    entry = next(event.entry for event in watch.events if event.type == WRITE)
    assert (entry.name, entry.type, entry.path) == ("file", FileType.FILE, f"{folder}/file")
    sandbox.files.remove(f"{folder}/file")
    watch.expect((REMOVE, "file"))
    assert next(event.entry for event in watch.events if event.type == REMOVE) is None


def test_without_entries(sandbox, folder, watching):
    watch = watching(folder)
    sandbox.files.write(f"{folder}/file", "x")
    watch.expect((CREATE, "file"))
    assert {event.entry for event in watch.events} == {None}


def test_what_cannot_be_watched(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x")
    with pytest.raises(FileNotFoundException):
        Watch(sandbox, f"{folder}/absent")
    with pytest.raises(InvalidArgumentException):
        Watch(sandbox, f"{folder}/file")


@covers("WatchHandle.stop")
def test_a_watch_is_stopped(sandbox, folder):
    watch = Watch(sandbox, folder)
    watch.handle.stop()
    if is_asynchronous(sandbox):
        wait_until(lambda: watch.ends == [None], "the end of the watch")
    else:
        with pytest.raises(SandboxException):
            watch.handle.get_new_events()


def test_a_folder_that_vanishes(sandbox, folder):
    sandbox.files.make_dir(f"{folder}/gone")
    watch = Watch(sandbox, f"{folder}/gone")
    sandbox.files.write(f"{folder}/gone/file", "x")
    sandbox.files.remove(f"{folder}/gone")
    watch.expect((REMOVE, "file"), (REMOVE, "."))
    if is_asynchronous(sandbox):
        wait_until(lambda: watch.ends == [None], "the end of the watch")
    watch.handle.stop()


def test_network_mounts_may_be_allowed(sandbox, folder, watching):
    watch = watching(folder, allow_network_mounts=True)
    sandbox.files.write(f"{folder}/file", "x")
    watch.expect((CREATE, "file"))


def test_a_flood_of_events(sandbox, folder, watching):
    watch = watching(folder)
    sandbox.commands.run(f"cd {folder} && touch $(seq 1000)")
    watch.expect(*[(CREATE, str(number)) for number in range(1, 1001)])
