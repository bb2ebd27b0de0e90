"""What Hearth itself says beside the SDK: its command line, its log, and what its daemon holds in memory."""

import json
import os
import subprocess
from pathlib import Path

PANIC = "panicked at"


class Daemon:
    """The daemon that the tests speak to. scripts/sdk-tests names it by variables."""

    @classmethod
    def of_environment(cls):
        names = ["HEARTH_BIN", "HEARTH_SOCKET", "HEARTH_DAEMON_LOG", "HEARTH_DAEMON_PID"]
        values = [os.environ.get(name) for name in names]
        return cls(*values) if all(values) else None

    def __init__(self, binary, socket, log, pid=None):
        self.binary, self.socket, self.log_path, self.pid = binary, socket, Path(log), pid

    def hearth(self, *args, env=None):
        """Runs a command of Hearth's own; gives what it printed."""
        ran = self.ran(*args, env=env)
        assert ran.returncode == 0, f"hearth {' '.join(args)}: {ran.stderr}"
        return ran.stdout

    def ran(self, *args, env=None):
        """A command of Hearth's own that has ended, however it did."""
        return subprocess.run([self.binary, *args], env=self.environment(env), capture_output=True, text=True, timeout=120)

    def begun(self, *args):
        """A command of Hearth's own that goes on."""
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([self.binary, *args], env=self.environment(), **piped)

    def environment(self, more=None):
        # Whoever runs the tests may mean another host by these.
        own = {name: value for name, value in os.environ.items() if name not in ("HEARTH_HOST", "HEARTH_KEY", "HEARTH_PROJECT")}
        return {**own, "HEARTH_SOCKET": self.socket, **(more or {})}

    def told(self, *args, env=None):
        """What a command of Hearth's own prints as JSON."""
        return json.loads(self.hearth("--json", *args, env=env))

    def machines(self):
        """Machines by their names; a sandbox's is called as the sandbox is."""
        return {machine["name"]: machine for machine in self.told("ps", "-a")}

    def sandboxes(self):
        return {sandbox["id"]: sandbox for sandbox in self.told("sandbox", "ls")}

    def folders(self):
        """The machines that have a folder on the node, by ID."""
        return {path.name for path in (Path(self.state()) / "machines").iterdir()}

    def state(self):
        return os.environ["HEARTH_DAEMON_STATE"]

    def log(self):
        return self.log_path.read_text(errors="replace")

    def memory_bytes(self):
        """What of the daemon is in memory."""
        return in_memory(Path(f"/proc/{self.pid}/status").read_text())


def in_memory(status):
    """The resident set in a process's status, in bytes."""
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
