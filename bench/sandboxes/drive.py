"""Does what the benchmark `sandboxes` wishes, by E2B's SDK as it is, and tells how long it took.

A wish is a line of JSON on standard input; its answer is a line on standard output. Times are in milliseconds. What is measured
against the SDK here goes to the machine's own address, by the same SDK or by a plain socket.
"""

import json
import socket
import sys
import threading
import time

from e2b import Sandbox
from e2b.connection_config import ConnectionConfig

AGENT_PORT = 49983
COPY_PORT = 7000
PIECE = 1 << 20
# Takes the file that follows a "u", or gives it after a "d", as a plain loop of reads and writes.
COPIER = f"""
import socket, sys
path = sys.argv[1]
listener = socket.create_server(("", {COPY_PORT}))
print("listens", flush=True)
piece = memoryview(bytearray({PIECE}))
while True:
    peer, _ = listener.accept()
    with peer:
        if peer.recv(1) == b"u":
            with open(path, "wb", buffering=0) as file:
                while size := peer.recv_into(piece):
                    file.write(piece[:size])
            peer.send(b"k")
        else:
            with open(path, "rb", buffering=0) as file:
                while size := file.readinto(piece):
                    peer.sendall(piece[:size])
"""

sandboxes = {}


def since(began):
    return (time.monotonic() - began) * 1000


def begin(template):
    """A sandbox in which nothing runs."""
    sandbox = Sandbox.create(template, timeout=3600)
    sandboxes[sandbox.sandbox_id] = sandbox
    return {"id": sandbox.sandbox_id}


def create(template):
    """A sandbox, and the first output of its first command."""
    began = time.monotonic()
    id = begin(template)["id"]
    created, seen = since(began), []
    sandboxes[id].commands.run("echo ready", on_stdout=lambda _: seen.append(since(began)))
    return {"id": id, "created_ms": created, "first_ms": seen[0]}


def crowd(template, count):
    """So many at once: for each, how long it took from the moment at which all were asked for."""
    firsts, failed = [], []
    began = time.monotonic()

    def one():
        asked = since(began)
        try:
            firsts.append(asked + create(template)["first_ms"])
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"first_ms": firsts, "failed": failed}


def kill_all():
    while sandboxes:
        sandboxes.popitem()[1].kill()
    return {}


def straight(sandbox, address):
    """The same sandbox by the same SDK, which asks the agent itself."""
    return Sandbox(
        sandbox_id=sandbox.sandbox_id,
        sandbox_domain="localhost",
        envd_version=sandbox._envd_version,
        envd_access_token=sandbox._envd_access_token,
        connection_config=ConnectionConfig(
            sandbox_url=f"http://{address}:{AGENT_PORT}", extra_sandbox_headers={"X-Access-Token": sandbox._envd_access_token}
        ),
    )


def trip(id, address, command, count):
    """A command, or a call without one, in turns through the gateway and straight to the agent."""
    ways = {"ours_ms": sandboxes[id], "baseline_ms": straight(sandboxes[id], address)}
    took = {name: [] for name in ways}
    for turn in range(count + 1):
        # Whoever is first in a turn is so in every other.
        for name, sandbox in sorted(ways.items(), reverse=turn % 2 == 0):
            began = time.monotonic()
            if command:
                sandbox.commands.run(command)
            else:
                sandbox.commands.list()
            # The first opens the connections.
            if turn:
                took[name].append(since(began))
    return took


def copier(id, path):
    """Starts the program that takes and gives a file by plain TCP."""
    sandbox = sandboxes[id]
    sandbox.files.write("/tmp/copier.py", COPIER)
    handle = sandbox.commands.run(f"exec python3 /tmp/copier.py {path}", background=True, timeout=0)
    for out, _, _ in handle:
        assert out == "listens\n", out
        return {}


def upload(id, source, path):
    began = time.monotonic()
    with open(source, "rb") as file:
        sandboxes[id].files.write(path, file)
        return {"ms": since(began), "bytes": file.tell()}


def download(id, path):
    began = time.monotonic()
    size = sum(len(piece) for piece in sandboxes[id].files.read(path, format="stream"))
    return {"ms": since(began), "bytes": size}


def plain_upload(address, source):
    began = time.monotonic()
    with socket.create_connection((address, COPY_PORT)) as guest, open(source, "rb") as file:
        guest.sendall(b"u")
        guest.sendfile(file)
        guest.shutdown(socket.SHUT_WR)
        assert guest.recv(1) == b"k"
        return {"ms": since(began), "bytes": file.tell()}


def plain_download(address):
    began = time.monotonic()
    piece, size = bytearray(PIECE), 0
    with socket.create_connection((address, COPY_PORT)) as guest:
        guest.sendall(b"d")
        while got := guest.recv_into(piece):
            size += got
    return {"ms": since(began), "bytes": size}


def command(id, command):
    sandboxes[id].commands.run(command, timeout=300)
    return {}


WISHES = (begin, create, crowd, kill_all, trip, copier, upload, download, plain_upload, plain_download, command)
by_name = {wish.__name__: wish for wish in WISHES}
for line in sys.stdin:
    wish = json.loads(line)
    print(json.dumps(by_name[wish.pop("wish")](**wish)), flush=True)
