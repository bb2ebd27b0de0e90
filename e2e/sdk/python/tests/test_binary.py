"""Every method of the agent's two services in binary protobuf, as clients in Go speak it. The SDK's own clients do, left to themselves."""

import contextlib
import threading

import pytest
from conftest import wait_until
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b.envd.filesystem import filesystem_pb as files
from e2b.envd.filesystem.filesystem_connect import FilesystemClientSync
from e2b.envd.interceptors import build_interceptors
from e2b.envd.process import process_pb as processes
from e2b.envd.process.process_connect import ProcessClientSync
from protobuf import Oneof
from pyqwest import SyncClient, SyncHTTPTransport

pytestmark = pytest.mark.sync_only

UNARY, STREAM = "application/proto", "application/connect+proto"


class Wire:
    """The way to the agent. Notes what each method was asked and answered in."""

    def __init__(self):
        self.inner, self.types = SyncHTTPTransport(), {}

    def execute_sync(self, request):
        response = self.inner.execute_sync(request)
        method = request.url.rsplit("/", 1)[1]
        if response.status == 200:
            self.types[method] = (request.headers["content-type"], response.headers["content-type"])
        return response

    def was(self, content_type, *methods):
        assert {method: self.types.get(method) for method in methods} == dict.fromkeys(methods, (content_type, content_type))


@pytest.fixture
def wire():
    return Wire()


def client(kind, sandbox, wire):
    url = sandbox.envd_api_url
    interceptors = build_interceptors(sandbox.connection_config, url)
    # Of compression clients in Go only say that they would understand it.
    return kind(url, interceptors=interceptors, http_client=SyncClient(wire), send_compression=None)


@pytest.fixture
def process(sandbox, wire):
    return client(ProcessClientSync, sandbox, wire)


@pytest.fixture
def filesystem(sandbox, wire):
    return client(FilesystemClientSync, sandbox, wire)


def by_pid(pid):
    return processes.ProcessSelector(selector=Oneof("pid", pid))


def by_tag(tag):
    return processes.ProcessSelector(selector=Oneof("tag", tag))


def of_stdin(data):
    return processes.ProcessInput(input=Oneof("stdin", data))


class Events(threading.Thread):
    """The events of a stream, as they come: its process, what it writes, and how it ends."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream, self.pid, self.output, self.end, self.error = stream, None, {}, None, None
        self.start()

    def run(self):
        try:
            for message in self.stream:
                self.take(message.event.event)
        except BaseException as error:
            self.error = error

    def take(self, event):
        match event:
            case Oneof(field="start", value=start):
                self.pid = start.pid
            case Oneof(field="data", value=data):
                self.output[data.output.field] = self.output.get(data.output.field, b"") + data.output.value
            case Oneof(field="end", value=end):
                self.end = end

    def begun(self):
        wait_until(lambda: self.pid or self.error, "the first event")
        assert self.error is None, repr(self.error)
        return self.pid

    def ended(self):
        self.join(30)
        assert not self.is_alive() and self.error is None, repr(self.error)
        return self.end


def start(process, script, **options):
    config = processes.ProcessConfig(cmd="/bin/bash", args=["-c", script], envs={"GREETING": "žluť"}, cwd="/usr")
    return Events(process.start(processes.StartRequest(process=config, **options)))


def test_start_and_its_events(process, wire):
    events = start(process, "echo $GREETING; pwd >&2; printf '\\xff\\x00'; exit 7")
    end = events.ended()
    assert events.output == {"stdout": "žluť\n".encode() + b"\xff\x00", "stderr": b"/usr\n"}
    assert (end.exit_code, end.exited, end.status, end.error) == (7, True, "exit status 7", "exit status 7")
    wire.was(STREAM, "Start")


def test_list_connect_input_and_its_end(process, wire):
    first = start(process, "read one; echo one=$one; cat; echo over", tag="binary", stdin=True)
    pid = first.begun()
    listed = {found.pid: found for found in process.list(processes.ListRequest()).processes}
    found = listed[pid]
    assert (found.tag, found.config.cmd, found.config.cwd, found.config.envs) == ("binary", "/bin/bash", "/usr", {"GREETING": "žluť"})
    second = Events(process.connect(processes.ConnectRequest(process=by_tag("binary"))))
    assert second.begun() == pid
    process.send_input(processes.SendInputRequest(process=by_pid(pid), input=of_stdin(b"sent\n")))
    wait_until(lambda: second.output.get("stdout") == b"one=sent\n", "what was sent")

    def messages():
        yield processes.StreamInputRequest(event=Oneof("start", processes.StreamInputRequest.StartEvent(process=by_pid(pid))))
        yield processes.StreamInputRequest(event=Oneof("keepalive", processes.StreamInputRequest.KeepAlive()))
        for part in [b"streamed ", b"\xfe\x00\n"]:
            yield processes.StreamInputRequest(event=Oneof("data", processes.StreamInputRequest.DataEvent(input=of_stdin(part))))

    process.stream_input(messages())
    process.close_stdin(processes.CloseStdinRequest(process=by_tag("binary")))
    for events in [first, second]:
        end = events.ended()
        assert events.output == {"stdout": b"one=sent\nstreamed \xfe\x00\nover\n"}
        assert (end.exit_code, end.exited, end.error) == (0, True, "")
    assert pid not in [found.pid for found in process.list(processes.ListRequest()).processes]
    wire.was(UNARY, "List", "SendInput", "CloseStdin")
    wire.was(STREAM, "Start", "Connect", "StreamInput")


def size(rows, cols):
    return processes.PTY(size=processes.PTY.Size(rows=rows, cols=cols))


def test_update_of_a_terminal(process, wire):
    events = start(process, "read; stty size; read", pty=size(24, 80))
    pid = events.begun()
    process.update(processes.UpdateRequest(process=by_pid(pid), pty=size(50, 132)))
    typed = processes.ProcessInput(input=Oneof("pty", b"\n"))
    process.send_input(processes.SendInputRequest(process=by_pid(pid), input=typed))
    wait_until(lambda: b"50 132" in events.output.get("pty", b""), "the terminal's size")
    process.send_input(processes.SendInputRequest(process=by_pid(pid), input=typed))
    assert events.ended().exit_code == 0
    wire.was(UNARY, "Update", "SendInput")


@pytest.mark.parametrize("signal,word", [(processes.Signal.SIGKILL, "killed"), (processes.Signal.SIGTERM, "terminated")])
def test_signals(process, wire, signal, word):
    events = start(process, "exec sleep 600")
    pid = events.begun()
    process.send_signal(processes.SendSignalRequest(process=by_pid(pid), signal=signal))
    end = events.ended()
    assert (end.exit_code, end.exited, end.error) == (-1, False, f"signal: {word}")
    wire.was(UNARY, "SendSignal")


def refused(call):
    with pytest.raises(ConnectError) as error:
        call()
    return error.value.code


def test_what_is_refused(process, filesystem, folder):
    """Errors are JSON whatever was asked in, and in a stream its last frame."""
    nobody, nowhere = by_pid(4_000_000), f"{folder}/no/such"
    assert refused(lambda: process.send_signal(processes.SendSignalRequest(process=nobody, signal=processes.Signal.SIGKILL))) == Code.NOT_FOUND
    assert refused(lambda: process.update(processes.UpdateRequest(process=nobody, pty=size(1, 1)))) == Code.NOT_FOUND
    assert refused(lambda: process.send_input(processes.SendInputRequest(process=nobody, input=of_stdin(b"x")))) == Code.NOT_FOUND
    assert refused(lambda: list(process.connect(processes.ConnectRequest(process=nobody)))) == Code.NOT_FOUND
    assert refused(lambda: list(process.start(processes.StartRequest()))) == Code.INVALID_ARGUMENT
    assert refused(lambda: filesystem.stat(files.StatRequest(path=nowhere))) == Code.NOT_FOUND
    assert refused(lambda: filesystem.make_dir(files.MakeDirRequest(path=folder))) == Code.ALREADY_EXISTS
    assert refused(lambda: list(filesystem.watch_dir(files.WatchDirRequest(path=nowhere)))) == Code.NOT_FOUND
    assert refused(lambda: filesystem.get_watcher_events(files.GetWatcherEventsRequest(watcher_id="none"))) == Code.NOT_FOUND


def test_files(sandbox, filesystem, folder, wire):
    made = filesystem.make_dir(files.MakeDirRequest(path=f"{folder}/a/b")).entry
    assert (made.name, made.path, made.type) == ("b", f"{folder}/a/b", files.FileType.DIRECTORY)
    sandbox.files.write(f"{folder}/a/file", "x" * 1000)
    sandbox.commands.run(f"chmod 640 {folder}/a/file; ln -s file {folder}/a/link")
    entry = filesystem.stat(files.StatRequest(path=f"{folder}/a/file")).entry
    assert (entry.type, entry.size, entry.mode & 0o777, entry.owner) == (files.FileType.FILE, 1000, 0o640, "user")
    assert entry.permissions.endswith("rw-r-----") and entry.modified_time.seconds > 1_600_000_000
    assert filesystem.stat(files.StatRequest(path=f"{folder}/a/link")).entry.symlink_target
    names = lambda depth: sorted(entry.name for entry in filesystem.list_dir(files.ListDirRequest(path=folder, depth=depth)).entries)
    assert names(1) == ["a"] and names(2) == ["a", "b", "file", "link"]
    moved = filesystem.move(files.MoveRequest(source=f"{folder}/a/file", destination=f"{folder}/moved")).entry
    assert (moved.name, moved.size) == ("moved", 1000)
    filesystem.remove(files.RemoveRequest(path=f"{folder}/a"))
    assert names(2) == ["moved"]
    wire.was(UNARY, "Stat", "MakeDir", "Move", "ListDir", "Remove")


class Watched(threading.Thread):
    """What a stream tells of a folder."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream, self.begun, self.events = stream, threading.Event(), []
        self.start()

    def run(self):
        # By its time-out, or with the folder.
        with contextlib.suppress(ConnectError):
            for message in self.stream:
                match message.event:
                    case Oneof(field="start"):
                        self.begun.set()
                    case Oneof(field="filesystem", value=event):
                        self.events.append(event)


def found(events, kind, name):
    return next((event for event in events if (event.type, event.name) == (kind, name)), None)


def test_watch_dir(sandbox, filesystem, folder, wire):
    sandbox.files.make_dir(f"{folder}/deep")
    watched = Watched(filesystem.watch_dir(files.WatchDirRequest(path=folder, recursive=True, include_entry=True), timeout_ms=30_000))
    assert watched.begun.wait(30)
    sandbox.files.write(f"{folder}/deep/file", "12345")
    written = wait_until(lambda: found(watched.events, files.EventType.WRITE, "deep/file"), "the write")
    assert written.entry.path == f"{folder}/deep/file"
    sandbox.files.remove(f"{folder}/deep/file")
    gone = wait_until(lambda: found(watched.events, files.EventType.REMOVE, "deep/file"), "the removal")
    assert gone.entry is None
    wire.was(STREAM, "WatchDir")


def test_watchers_that_are_asked(sandbox, filesystem, folder, wire):
    watcher = filesystem.create_watcher(files.CreateWatcherRequest(path=folder, include_entry=True)).watcher_id
    ask = lambda: filesystem.get_watcher_events(files.GetWatcherEventsRequest(watcher_id=watcher)).events
    assert ask() == []
    sandbox.files.write(f"{folder}/file", "12345")
    seen = []
    made = wait_until(lambda: seen.extend(ask()) or found(seen, files.EventType.CREATE, "file"), "the file's making")
    assert made.entry.type == files.FileType.FILE
    filesystem.remove_watcher(files.RemoveWatcherRequest(watcher_id=watcher))
    assert refused(ask) == Code.NOT_FOUND
    wire.was(UNARY, "CreateWatcher", "GetWatcherEvents", "RemoveWatcher")
