"""A process of its own session, with whatever it starts."""

import asyncio
import contextlib
import os
import signal

# Of all processes of the sandbox these are ended first where memory runs out, and not the server.
OOM_SCORE_ADJ = 500


class Process:
    """A child, watched until it ends."""

    def __init__(self, child):
        self.child = child
        self._ended = asyncio.create_task(child.wait())

    @classmethod
    async def spawn(cls, argv, cwd, **options):
        """Starts a program. `options` are those of `asyncio.create_subprocess_exec`."""
        child = await asyncio.create_subprocess_exec(*argv, cwd=cwd, start_new_session=True, **options)
        with contextlib.suppress(OSError), open(f"/proc/{child.pid}/oom_score_adj", "w") as file:
            file.write(str(OOM_SCORE_ADJ))
        return cls(child)

    @property
    def is_alive(self):
        """Whether it was not seen to end."""
        return self.child.returncode is None

    async def how_it_ended(self):
        """Waits for it, and says how it ended in words."""
        status = await asyncio.shield(self._ended)
        if status == -signal.SIGKILL:
            return "the kernel was ended by SIGKILL, as the system does with a process where memory runs out"
        if status < 0:
            return f"the kernel was ended by {signal.Signals(-status).name}"
        return f"the kernel ended with exit code {status}"

    def signal_group(self, number):
        """To the process and to what it runs in the foreground."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)

    async def kill(self):
        """Ends it with all that it started."""
        self.signal_group(signal.SIGSTOP)
        doomed = _family(self.child.pid)
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self.child.kill()
        await asyncio.shield(self._ended)


def _family(root):
    """The processes of the root's session, and those that descend from the root."""
    parents, family = {}, set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{entry}/stat") as file:
                # The name, which may hold anything, stands in parentheses.
                fields = file.read().rpartition(")")[2].split()
                parents[int(entry)] = int(fields[1])
                if int(fields[3]) == root:
                    family.add(int(entry))
    for pid in parents:
        line = []
        while pid in parents and pid not in family and pid != root and len(line) < 1000:
            line.append(pid)
            pid = parents[pid]
        if pid == root or pid in family:
            family.update(line)
    return family
