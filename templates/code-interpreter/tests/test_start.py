"""The template's start command."""

import os
import re
import signal
import subprocess
import sys

from conftest import PATIENCE_S, install, is_alive, sandbox_opts, wait_until
from e2b_code_interpreter import Sandbox


def test_it_serves_and_begins_again_when_the_server_dies(tmp_path):
    install(tmp_path)
    log = tmp_path / "log"
    home = tmp_path / "home"
    home.mkdir()
    # As an image has it: one Python, first on the path.
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(home), "TMPDIR": str(tmp_path)}
    command = [tmp_path / "opt/start", "--host", "127.0.0.1", "--port", "0", "--agent", "", "--cold"]
    command += ["--node", os.environ["KERNEL_NODE"]]
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        ask_and_kill(log, 1)
        ask_and_kill(log, 2)
        port_of(log, 3)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    assert (home / ".local/lib").is_dir()


def port_of(log, time):
    """Where the server listens that is the nth of its kind."""
    pattern = re.compile(r"^listening on 127\.0\.0\.1:(\d+)$", re.MULTILINE)
    return wait_until(lambda: pattern.findall(log.read_text())[time - 1 : time], log)[0]


def ask_and_kill(log, time):
    """The server dies, and its kernels with it."""
    sandbox = Sandbox(**sandbox_opts(f"http://127.0.0.1:{port_of(log, time)}"))
    kernels = [
        sandbox.run_code("import os\nos.getpid()").text,
        sandbox.run_code("process.pid", language="js").text,
        sandbox.run_code("echo $$", language="bash").logs.stdout[0],
    ]
    server = sandbox.run_code("os.getppid()").text
    os.kill(int(server), signal.SIGKILL)
    wait_until(lambda: not any(is_alive(int(kernel)) for kernel in kernels), "the kernels ended with their server", 20)
