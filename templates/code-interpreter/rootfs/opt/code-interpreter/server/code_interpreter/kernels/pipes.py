"""Reads what a kernel writes to its stdout and stderr, no faster than it is taken, and gives it on by whole lines.

A program that writes to a pipe does so by pieces of some size, which end anywhere. What has no end yet waits a moment for it, and
no longer than the cell lasts.
"""

import array
import asyncio
import codecs
import fcntl
import os
import termios

from .. import events

PIECE_BYTES = 64 << 10
UNFINISHED_S = 0.2


class Pump:
    """One pipe. What is read while no cell runs is thrown away, as there is nobody to give it to."""

    def __init__(self, stream):
        self.stream, self.emit = stream, None
        self._fd, self.write_fd = os.pipe()
        os.set_blocking(self._fd, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read_bytes = self._given_bytes = 0
        self._progress = asyncio.Condition()
        # The beginning of a line, and until when it may wait for the rest. Nothing waits while someone drains.
        self._unfinished, self._due, self._drains = "", 0, 0
        self._woken = asyncio.Event()
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
        self._drains += 1
        self._woken.set()
        try:
            async with self._progress:
                await self._progress.wait_for(lambda: self._given_bytes >= wanted or self._task.done())
        finally:
            self._drains -= 1

    def close(self):
        """Reads no more."""
        if self._task is not None:
            self._task.cancel()
        for fd in (self._fd, self.write_fd):
            if fd is not None:
                os.close(fd)
        self._fd = self.write_fd = self._task = None

    async def _run(self):
        data = None
        while data != b"":
            data = await self._read()
            text = self._unfinished + self._decoder.decode(data or b"", data == b"")
            self._read_bytes += len(data or b"")
            whole = self._divide(text, bool(data))
            if whole and self.emit is not None:
                await self.emit(events.output(self.stream, whole))
            if not self._unfinished:
                async with self._progress:
                    self._given_bytes = self._read_bytes
                    self._progress.notify_all()

    def _divide(self, text, may_wait):
        """Gives what is to be given on now, and keeps the rest."""
        now, end = asyncio.get_running_loop().time(), max(text.rfind("\n"), text.rfind("\r")) + 1
        if end or not self._unfinished:
            self._due = now + UNFINISHED_S
        is_young = now < self._due and len(text) - end <= PIECE_BYTES
        if not (may_wait and is_young) or self._drains or self.emit is None:
            end = len(text)
        self._unfinished = text[end:]
        return text[:end]

    async def _read(self):
        """What comes; no bytes at the end of it all, and nothing where the rest of a line did not come in time."""
        while True:
            try:
                return os.read(self._fd, PIECE_BYTES)
            except BlockingIOError:
                pass
            self._woken.clear()
            if self._unfinished and self._drains:
                return None
            try:
                await self._wait(self._due - asyncio.get_running_loop().time() if self._unfinished else None)
            except TimeoutError:
                return None

    async def _wait(self, timeout_s):
        loop, fd = asyncio.get_running_loop(), self._fd
        loop.add_reader(fd, self._woken.set)
        try:
            await asyncio.wait_for(self._woken.wait(), timeout_s)
        finally:
            loop.remove_reader(fd)


def _waiting_bytes(fd):
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
