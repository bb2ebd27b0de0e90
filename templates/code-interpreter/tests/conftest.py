"""A code interpreter from this tree, on a free port of loopback, and sandboxes of the unmodified SDKs that are pointed at it."""

import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
from e2b.connection_config import ConnectionConfig
from e2b_code_interpreter import AsyncSandbox, Sandbox
from packaging.version import Version

ROOTFS = pathlib.Path(__file__).resolve().parent.parent / "rootfs"
PATIENCE_S = 60
TOKEN = "token-of-the-sandbox"


def wait_until(predicate, what, patience_s=PATIENCE_S):
    """Asks again and again until the answer is true; gives that answer."""
    deadline = time.monotonic() + patience_s
    while not (answer := predicate()):
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.02)
    return answer


def is_alive(pid):
    """Whether there is such a process that has not ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def rss_mib(pid):
    """Memory that a process has of its own."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)[1]) // 1024


def sandbox_opts(url):
    """What an SDK's sandbox is made of, where no API gave it."""
    return {
        "sandbox_id": "tested",
        "sandbox_domain": None,
        "envd_version": Version("0.6.3"),
        "envd_access_token": TOKEN,
        "traffic_access_token": None,
        "connection_config": ConnectionConfig(api_key="e2b_" + "0" * 40, sandbox_url=url),
    }


class Agent(http.server.ThreadingHTTPServer):
    """As much of the sandbox's agent as the code interpreter asks."""

    daemon_threads = True

    def __init__(self):
        self.variables, self.asked, self.broken = {}, 0, False
        super().__init__(("127.0.0.1", 0), AgentRequest)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class AgentRequest(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.path == "/envs" and self.headers.get("X-Access-Token") == TOKEN
        body = json.dumps(self.server.variables if allowed else {"code": 401}).encode()
        self.server.asked += 1
        self.send_response(500 if self.server.broken else 200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server:
    """One server with its log."""

    def __init__(self, folder, *options):
        self.home = folder / "home"
        self.home.mkdir()
        self.generation = folder / "generation"
        self.log = folder / "log"
        command = [sys.executable, "-I", folder / "opt/server", "--host", "127.0.0.1", "--port", "0", "--home", self.home]
        command += ["--python", sys.executable, "--node", os.environ["KERNEL_NODE"], "--generation", self.generation]
        # By which ipykernel knows a test, where it leaves file descriptors alone.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment = {**outside, "TMPDIR": str(folder), "HOME": str(self.home), "FROM_THE_IMAGE": "yes"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [str(part) for part in (*command, *options)], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.url = "http://127.0.0.1:" + wait_until(self._port, "the server listens")

    def _port(self):
        text = self.log.read_text()
        assert self.process.poll() is None, text
        found = re.search(r"^listening on 127\.0\.0\.1:(\d+)$", text, re.MULTILINE)
        return found and found[1]

    def opts(self):
        return sandbox_opts(self.url)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()


def install(folder):
    """The tree as an image has it, with the packages of the JavaScript kernel."""
    shutil.copytree(ROOTFS / "opt/code-interpreter", folder / "opt", ignore=shutil.ignore_patterns("node_modules"))
    (folder / "opt/javascript/node_modules").symlink_to(os.environ["KERNEL_PACKAGES"])


@pytest.fixture(scope="session")
def make_server(tmp_path_factory):
    """Starts servers; ends them with the tests and looks that nothing of theirs is left."""
    servers = []

    def make(*options):
        # Short, as it is part of the paths of sockets.
        folder = tmp_path_factory.mktemp("s")
        install(folder)
        servers.append(Server(folder, *options))
        return servers[-1]

    yield make
    for server in servers:
        server.end()
    for server in servers:
        wait_until(lambda: not left_behind(server), "its processes are gone", 10)
        assert not list(server.log.parent.glob("code-interpreter-*")), "its folder is left"


def left_behind(server):
    """Processes that bear the server's folder in their environment."""
    marker = f"TMPDIR={server.log.parent}".encode()
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0") and is_alive(entry.name):
                found.append((entry.name, (entry / "cmdline").read_bytes()))
        except OSError:
            continue
    return found


@pytest.fixture(scope="session")
def agent():
    """The sandbox's agent, with one variable."""
    agent = Agent()
    agent.variables = {"OF_THE_SANDBOX": "given at its creation"}
    yield agent
    agent.shutdown()
    agent.server_close()


@pytest.fixture(scope="session")
def server(make_server, agent):
    """The server that most tests share, warmed up."""
    return make_server("--agent", agent.url)


@pytest.fixture
def sandbox(server):
    """A sandbox of the Python SDK; the contexts that a test makes are removed."""
    sandbox = Sandbox(**server.opts())
    before = {context.id for context in sandbox.list_code_contexts()}
    yield sandbox
    for context in sandbox.list_code_contexts():
        if context.id not in before:
            sandbox.remove_code_context(context)


@pytest.fixture
def async_sandbox(server):
    """The same of its asynchronous half."""
    return AsyncSandbox(**server.opts())
