"""One execution: what is to be run, and a bounded queue of what comes of it.

kernel ──emit──► queue, counted in bytes ──lines──► client
                   │
                abandon: the client is gone; what still comes is thrown away, and whoever runs the code is told
"""

import asyncio
import collections
import dataclasses

from . import events

# Of all lines that wait for the client; a single one may be larger.
QUEUE_BYTES = 2 << 20


@dataclasses.dataclass(frozen=True)
class Cell:
    """Code with the environment variables it is run with: its own, and those of the sandbox that the kernel has not seen."""

    code: str
    env: dict = dataclasses.field(default_factory=dict)
    sandbox_env: dict = dataclasses.field(default_factory=dict)
    # Neither counted nor told of.
    silent: bool = False


class Execution:
    """The way of events from a kernel to one client."""

    def __init__(self, code, env, access_token=None):
        self.code, self.env, self.access_token = code, env, access_token
        self.abandoned = asyncio.Event()
        self._lines, self._waiting_bytes, self._has_ended = collections.deque(), 0, False
        self._came, self._went = asyncio.Event(), asyncio.Event()

    async def emit(self, event):
        """Waits until the client has room for the event."""
        if self.abandoned.is_set():
            return
        line = events.line(event)
        while not self._has_room(len(line)):
            self._went.clear()
            await self._went.wait()
        if not self.abandoned.is_set():
            self._lines.append(line)
            self._waiting_bytes += len(line)
            self._has_ended = event is events.END
            self._came.set()

    def abandon(self):
        """Nobody reads any more."""
        self.abandoned.set()
        self._lines.clear()
        # Lets go on whoever waits in `emit`.
        self._went.set()

    async def lines(self, keepalive_s):
        """The events as they are sent, up to the end, and one that keeps the connection alive wherever there is none for `keepalive_s`."""
        while not (self._has_ended and not self._lines):
            try:
                await asyncio.wait_for(self._came.wait(), keepalive_s)
            except TimeoutError:
                yield events.line(events.KEEPALIVE)
                continue
            line = self._lines.popleft()
            self._waiting_bytes -= len(line)
            self._went.set()
            if not self._lines:
                self._came.clear()
            yield line

    def _has_room(self, size):
        return self.abandoned.is_set() or not self._lines or self._waiting_bytes + size <= QUEUE_BYTES
