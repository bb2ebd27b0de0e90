"""Servers in a sandbox, by where they listen: one at the loopback alone is reached from outside like one at every address."""

import pytest
from conftest import wait_until
from covers import covers
from plain import ask_port, closed

# Nothing of it is a flavour's own.
pytestmark = pytest.mark.sync_only

# Answers with the address that asked: whoever is reached through the agent is asked from the loopback. Its port may be the agent's
# still, for as long as that has not seen that the server before it is gone.
SERVER = """
import http.server, socket, sys, time
class Told(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.client_address[0].encode()
        self.send_response(200), self.send_header("Content-Length", str(len(body))), self.end_headers(), self.wfile.write(body)
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
while True:
    try:
        server = Server((sys.argv[1], int(sys.argv[2])), Told)
        break
    except OSError as error:
        print(error, flush=True)
        time.sleep(0.1)
server.serve_forever()
"""


def serve(sandbox, host, port):
    sandbox.files.write("/tmp/server.py", SERVER)
    return sandbox.commands.run(f"exec python3 /tmp/server.py {host} {port}", background=True, timeout=0).pid


def asked_from(sandbox, port):
    """Where the server was asked from; nothing where none is reached, which is told by a 502 and by nothing else."""
    answer = ask_port(sandbox, port)
    assert answer.status in (200, 502), answer
    return answer.body.decode() if answer.status == 200 else None


def is_closed(sandbox, port):
    answer = ask_port(sandbox, port)
    return answer.status == 502 and answer.json() == closed(sandbox.sandbox_id, port)


@pytest.mark.parametrize("host,port", [("127.0.0.1", 8201), ("127.0.0.9", 8202), ("::1", 8203)])
@covers("Sandbox.get_host")
def test_a_server_at_the_loopback_alone(sandbox, host, port):
    # It begins to listen after it was asked for.
    assert is_closed(sandbox, port)
    pid = serve(sandbox, host, port)
    loopback = "::1" if host == "::1" else "127.0.0.1"
    assert wait_until(lambda: asked_from(sandbox, port), "the way to the server") == loopback
    assert [asked_from(sandbox, port) for _ in range(20)] == [loopback] * 20
    sandbox.commands.kill(pid)
    wait_until(lambda: is_closed(sandbox, port), "the port's end")


def test_a_server_at_every_address_is_reached_itself(sandbox):
    here, beside = 8211, 8212
    serve(sandbox, "0.0.0.0", here)
    peer = wait_until(lambda: asked_from(sandbox, here), "the server's answer")
    assert not peer.startswith("127.")
    # While the agent sees others come and go, nothing comes between.
    for _ in range(2):
        pid = serve(sandbox, "127.0.0.1", beside)
        wait_until(lambda: asked_from(sandbox, beside), "the way to the other")
        assert asked_from(sandbox, here) == peer
        sandbox.commands.kill(pid)
        wait_until(lambda: is_closed(sandbox, beside), "the other's end")
        assert asked_from(sandbox, here) == peer


def test_a_server_that_comes_back_elsewhere(sandbox):
    """As one does that is told to serve the world, and then no longer."""
    port, seen = 8221, []
    for host in ["127.0.0.1", "0.0.0.0", "::1", "::", "127.0.0.1"]:
        # Whoever is killed has its listener gone at once, while the agent looks only now and then.
        pid = serve(sandbox, host, port)
        seen.append(wait_until(lambda: asked_from(sandbox, port), f"the way to {host}"))
        sandbox.commands.kill(pid)
    assert (seen[0], seen[2], seen[4]) == ("127.0.0.1", "::1", "127.0.0.1")
    assert not {"127.0.0.1", "::1", "::ffff:127.0.0.1"} & {seen[1], seen[3]}


@covers("Sandbox.get_host")
def test_after_a_pause_and_in_a_copy(create):
    sandbox = create()
    kept, new = 8231, 8232
    pid = serve(sandbox, "127.0.0.1", kept)
    wait_until(lambda: asked_from(sandbox, kept), "the way to the server")
    sandbox.pause()
    sandbox.connect(timeout=300)
    (copy,) = sandbox.fork(count=1, timeout=300)
    try:
        for one in [sandbox, copy]:
            assert wait_until(lambda: asked_from(one, kept), "the way to the server that was there") == "127.0.0.1"
            serve(one, "::1", new)
            assert wait_until(lambda: asked_from(one, new), "the way to a new one") == "::1"
        assert copy.commands.kill(pid) is True
        wait_until(lambda: is_closed(copy, kept), "the end in the copy")
        assert asked_from(sandbox, kept) == "127.0.0.1"
    finally:
        copy.kill()
