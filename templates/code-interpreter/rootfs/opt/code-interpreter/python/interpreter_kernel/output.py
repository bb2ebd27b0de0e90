"""What a cell prints waits for its reader, instead of filling the memory or being dropped, and comes by whole lines.

    print ──► buffer of the stream ──► publisher ──► server
    waits while both hold too much     see there

ipykernel empties the buffer by a clock that strikes between any two writes, and `print` writes a line and its end one after the
other; here the clock leaves what has no end yet in the buffer for a moment.
"""

import array
import codecs
import fcntl
import os
import select
import termios
import threading
import time

from ipykernel.iostream import OutStream

from .publisher import LOOK_AGAIN_S

# Of one stream's buffer, and the size of a message made of it.
STREAM_CHARS = 128 << 10
# What is written at once; lines up to what is left of the buffer are not cut for its size.
WRITE_CHARS = STREAM_CHARS // 2
# For how long the clock leaves a line without an end. What is flushed, as at the end of a cell, does not wait.
UNFINISHED_S = 0.3


class BoundedStream(OutStream):
    """ipykernel's stdout and stderr with a bound on what was written and is not published yet. What is written past Python, by
    children and libraries, comes by a pipe in the place of the file descriptor."""

    def __init__(self, *args, **options):
        # In the buffer, and what a writer that waits wants there besides.
        self._chars = self._wanted_chars = 0
        self._lock = threading.RLock()
        self._less_chars = threading.Condition(self._lock)
        # Whether it is lines that are published just now, and since when the buffers hold only part of one.
        self._by_lines, self._unfinished = False, {}
        # Set in the publishing thread alone.
        self._clock = None
        self._relay_lock = threading.RLock()
        self._relay = threading.Condition(self._relay_lock)
        self._relayed_bytes = 0
        super().__init__(*args, **options)

    def flush(self):
        """Publishes what was written, by children too: a result that is shown comes after it."""
        publisher = self.pub_thread
        if publisher is None or not publisher.waits():
            super().flush()
            return
        self.settle()
        # A reader that stands still is no fault of the cell's: the server ends the wait when the reader goes.
        publisher.schedule(self._flush)
        publisher.wait_for_all()

    def settle(self):
        """Waits until what is in the pipe was taken up, so that it belongs to the cell that wrote it."""
        # Neither of the two threads that bring it along can wait for that.
        if self._fid is None or threading.current_thread() in (self.pub_thread.thread, self.watch_fd_thread):
            return
        with self._relay_lock:
            wanted = self._relayed_bytes + _waiting_bytes(self._fid)
            while self._relayed_bytes < wanted and self.watch_fd_thread.is_alive():
                self._relay.wait(LOOK_AGAIN_S)

    def _watch_pipe_fd(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while self._should_watch:
            select.select([self._fid], [], [])
            with self._relay_lock:
                data = os.read(self._fid, STREAM_CHARS)
                if not data:
                    return
                self.write(decoder.decode(data))
                self._relayed_bytes += len(data)
                self._relay.notify_all()

    def write(self, string):
        if not isinstance(string, str) or not self.pub_thread:
            return super().write(string)
        write = self._write_piece if self._is_master_process() else self._write_in_child
        for start in range(0, len(string), WRITE_CHARS):
            write(string[start : start + WRITE_CHARS])
        return len(string)

    def _write_piece(self, piece):
        self._wait_for_room(len(piece))
        super().write(piece)

    def _write_in_child(self, piece):
        # A forked child has no clock: lines at once, and the rest when it is flushed, as it is where the child ends.
        self._subprocess_flush_pending = True
        super().write(piece)
        self._flush_lines()

    def _wait_for_room(self, size):
        publisher = self.pub_thread
        if publisher.waits():
            publisher.wait_for_room()
            is_asked = False
            with self._lock:
                while self._chars and self._chars + size > STREAM_CHARS and publisher.thread.is_alive():
                    self._wanted_chars = max(self._wanted_chars, size)
                    if not is_asked:
                        # Else the buffer would be emptied only by the clock.
                        publisher.schedule(self._flush_lines)
                    is_asked = not self._less_chars.wait(LOOK_AGAIN_S)
        with self._lock:
            self._chars += size

    def _schedule_flush(self):
        if not self._flush_pending:
            self._flush_pending = True
            self.pub_thread.schedule(self._set_clock)

    def _set_clock(self):
        """One strike at a time: each that is set for itself would go on for as long as there is output, next to all before it."""
        if self._clock is None and self._is_master_process():
            self._clock = self._io_loop.call_later(self.flush_interval, self._strike)

    def _strike(self):
        self._clock = None
        self._flush_lines()

    def _flush_lines(self):
        """Publishes whole lines, and others that waited long enough. In the thread that publishes, as `_flush` is."""
        self._by_lines = True
        try:
            self._flush()
        finally:
            self._by_lines = False
        if self._unfinished:
            self._set_clock()

    def _rotate_buffers(self):
        with self._buffer_lock:
            buffers = super()._rotate_buffers()
            before, self._unfinished = self._unfinished, {}
            with self._lock:
                self._chars = self._put_back(buffers, before) if self._by_lines else 0
                self._wanted_chars = 0
                self._less_chars.notify_all()
        return buffers

    def _put_back(self, buffers, before):
        """Moves lines without an end from `buffers` to those that follow, and gives their size. One that stood alone in its buffer
        stays to be published once it is old, or where there is no room beside it. `before`: since when one stands alone."""
        now, size = time.monotonic(), 0
        for parent, buffer in buffers.items():
            text = buffer.getvalue()
            end = max(text.rfind("\n"), text.rfind("\r")) + 1
            since, left = now if end else before.get(parent, now), len(text) - end
            is_crowded = size + left + self._wanted_chars > STREAM_CHARS
            if not left or (not end and (is_crowded or now - since >= UNFINISHED_S)):
                continue
            self._buffers[parent].write(text[end:])
            buffer.seek(end)
            buffer.truncate()
            self._unfinished[parent] = since
            size += left
        return size


def _waiting_bytes(fd):
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
