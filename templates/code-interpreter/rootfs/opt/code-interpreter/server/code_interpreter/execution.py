"""One execution: what is to be run, and a bounded queue of what comes of it.

kernel ──emit──► queue ──events──► client
                   │
                abandon: the client is gone; what still comes is thrown away, and whoever runs the code is told
"""

import asyncio
import dataclasses

from . import events

# A piece of output has at most some 128 KiB.
QUEUE_EVENTS = 16


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
        self._queue = asyncio.Queue(QUEUE_EVENTS)

    async def emit(self, event):
        """Waits until the client has room for the event."""
        if not self.abandoned.is_set():
            await self._queue.put(event)

    def abandon(self):
        """Nobody reads any more."""
        self.abandoned.set()
        # Lets go on whoever waits in `emit`.
        while not self._queue.empty():
            self._queue.get_nowait()

    async def events(self, keepalive_s):
        """The events up to the end, and one that keeps the connection alive wherever there is none for `keepalive_s`."""
        while True:
            try:
                event = await asyncio.wait_for(self._queue.get(), keepalive_s)
            except TimeoutError:
                event = events.KEEPALIVE
            yield event
            if event is events.END:
                return
