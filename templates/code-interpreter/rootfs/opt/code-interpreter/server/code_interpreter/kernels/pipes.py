"""Reads what a kernel writes to its stdout and stderr, no faster than it is taken."""

import array
import asyncio
import codecs
import fcntl
import os
import termios

from .. import events

PIECE_BYTES = 64 << 10


class Pump:
    """One pipe. What is read while no cell runs is thrown away, as there is nobody to give it to."""

    def __init__(self, stream):
        self.stream, self.emit = stream, None
        self._fd, self.write_fd = os.pipe()
        os.set_blocking(self._fd, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read_bytes = self._given_bytes = 0
        self._progress = asyncio.Condition()
        self._task = None

    def start(self):
        """Begins to read, once the child has the other end."""
        os.close(self.write_fd)
        self.write_fd = None
        self._task = asyncio.create_task(self._run())

    async def drain(self):
        """Until all that was written before the call was given on."""
        if self._task is None or self._task.done():
            return
        wanted = self._read_bytes + _waiting_bytes(self._fd)
        async with self._progress:
            await self._progress.wait_for(lambda: self._given_bytes >= wanted or self._task.done())

    def close(self):
        """Reads no more."""
        if self._task is not None:
            self._task.cancel()
        for fd in (self._fd, self.write_fd):
            if fd is not None:
                os.close(fd)
        self._fd = self.write_fd = self._task = None

    async def _run(self):
        while True:
            data = await self._read()
            text = self._decoder.decode(data, not data)
            self._read_bytes += len(data)
            if text and self.emit is not None:
                await self.emit(events.output(self.stream, text))
            async with self._progress:
                self._given_bytes = self._read_bytes
                self._progress.notify_all()
            if not data:
                return

    async def _read(self):
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        while True:
            try:
                return os.read(self._fd, PIECE_BYTES)
            except BlockingIOError:
                readable.clear()
            loop.add_reader(self._fd, readable.set)
            fd = self._fd
            try:
                await readable.wait()
            finally:
                loop.remove_reader(fd)


def _waiting_bytes(fd):
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
