"""JavaScript and TypeScript: a Node.js process that evaluates cells as a REPL does, told what to do by lines of JSON."""

import asyncio
import json
import os
import signal
import socket

from .. import events
from .piped import PipedKernel

# A line from the kernel: one thing that is shown.
LINE_MAX_BYTES = 96 << 20
# Of what comes, read ahead of what is wanted; twice that at most.
AHEAD_BYTES = 1 << 20


class NodeKernel(PipedKernel):
    """See `javascript/kernel.mjs` for the other side."""

    def __init__(self, programs, cwd, types):
        super().__init__(programs, cwd)
        self._types = types
        self._reader = self._writer = None

    def interrupt(self):
        self._process.signal_group(signal.SIGINT)
        self._send({"do": "interrupt"})

    async def _start(self):
        ours, theirs = socket.socketpair()
        try:
            script = os.path.join(self._programs.root, "javascript", "kernel.mjs")
            environment = {**os.environ, "HEARTH_KERNEL_FD": str(theirs.fileno())}
            await self._spawn_piped(
                [self._programs.node, "--no-warnings", script],
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=AHEAD_BYTES)
        await self._receive()

    async def _execute(self, cell, emit):
        count = self._next_count()
        await emit(events.number(count))
        self._give_output_to(emit)
        try:
            self._send(
                {
                    "do": "execute",
                    "code": cell.code,
                    "types": self._types,
                    "count": count,
                    "env": cell.env,
                    "sandbox_env": cell.sandbox_env,
                }
            )
            while (said := await self._receive())["say"] != "done":
                # What was written before the thing was shown comes before it.
                await self._drain()
                if said["say"] == "show":
                    await emit(events.result(said["bundle"], said["is_main"]))
                elif said["say"] == "error":
                    await emit(events.error(said["name"], said["value"], said["traceback"]))
            await self._drain()
        finally:
            self._give_output_to(None)

    def _send(self, message):
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _receive(self):
        try:
            return json.loads(await self._line())
        except (ConnectionError, asyncio.IncompleteReadError):
            raise await self._closed() from None

    async def _line(self):
        pieces, size = [], 0
        while size <= LINE_MAX_BYTES:
            try:
                return b"".join((*pieces, await self._reader.readuntil()))
            except asyncio.LimitOverrunError as more:
                pieces.append(await self._reader.readexactly(more.consumed))
                size += more.consumed
        raise ConnectionError(f"the kernel sent a line of more than {LINE_MAX_BYTES} bytes")

    def _close(self):
        super()._close()
        if self._writer is not None:
            self._writer.close()
