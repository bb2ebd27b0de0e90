"""What a cell prints and shows waits for its reader, instead of filling the memory or being dropped.

ipykernel's publisher drops messages that its reader is too slow for, and what waits to be published is unbounded.
Here the socket blocks where its reader stands still, the thread that publishes blocks with it, and whoever prints waits
until little enough is ahead of it.

    print ──► buffer of the stream ──► queue of the thread ──► socket ──► server
    waits while both hold too much     counted in bytes        blocks

Output comes by whole lines. ipykernel empties the buffer by a clock that strikes between any two writes, and `print` writes
a line and its end one after the other; here the clock leaves what has no end yet in the buffer for a moment.
"""

import array
import codecs
import fcntl
import os
import select
import termios
import threading
import time

import zmq
from ipykernel.iostream import IOPubThread, OutStream

# Of one stream's buffer, and the size of a message made of it.
STREAM_CHARS = 128 << 10
# What is written at once; lines up to what is left of the buffer are not cut for its size.
WRITE_CHARS = STREAM_CHARS // 2
# For how long the clock leaves a line without an end. What is flushed, as at the end of a cell, does not wait.
UNFINISHED_S = 0.3
# What may wait in the thread's queue before those who show and print wait too.
QUEUE_BYTES = 4 << 20
# Messages in the socket, on this side.
SOCKET_MESSAGES = 16
# A single thing that is shown. The SDKs hold it in memory several times over.
SHOWN_MAX_BYTES = 64 << 20


class BoundedPublisher(IOPubThread):
    """ipykernel's publishing thread with a bound on what it holds."""

    def __init__(self, socket, **options):
        socket.setsockopt(zmq.SNDHWM, SOCKET_MESSAGES)
        # Else a full socket drops instead of blocking.
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._held_bytes = 0
        self._less_held = threading.Condition()
        super().__init__(socket, **options)

    def waits(self):
        """Whether the calling thread may wait: the publishing one must not, and a forked child has no such thread."""
        return self._is_master_process() and self.thread.is_alive() and threading.current_thread() is not self.thread

    def wait_for_room(self):
        """Until little enough is held. An interrupt ends the wait."""
        if not self.waits():
            return
        with self._less_held:
            while self._held_bytes > QUEUE_BYTES and self.thread.is_alive():
                self._less_held.wait(1)

    def send_multipart(self, parts, *args, **kwargs):
        size = sum(len(part) for part in parts)
        if size > SHOWN_MAX_BYTES:
            raise ValueError(
                f"what is to be shown has {size} bytes, and at most {SHOWN_MAX_BYTES} can be: "
                "show a part of it, or write it to a file"
            )
        self.wait_for_room()
        with self._less_held:
            self._held_bytes += size
        self.schedule(lambda: self._send_held(size, parts, *args, **kwargs))

    def _send_held(self, size, parts, *args, **kwargs):
        try:
            self._really_send(parts, *args, **kwargs)
        finally:
            with self._less_held:
                self._held_bytes -= size
                self._less_held.notify_all()


class BoundedStream(OutStream):
    """ipykernel's stdout and stderr with a bound on what was written and is not published yet. What is written past Python, by
    children and libraries, comes by a pipe in the place of the file descriptor."""

    # A reader that stands still is no fault of the cell's; the server ends the wait when the reader goes.
    flush_timeout = 24 * 3600

    def __init__(self, *args, **options):
        # In the buffer, and what a writer that waits wants there besides.
        self._chars = self._wanted_chars = 0
        self._less_chars = threading.Condition()
        # Whether it is lines that are published just now, and since when the buffers hold only part of one.
        self._by_lines, self._unfinished = False, {}
        self._relay = threading.Condition()
        self._relayed_bytes = 0
        super().__init__(*args, **options)

    def flush(self):
        """Publishes what was written, by children too: a result that is shown comes after it."""
        if self.pub_thread and self._is_master_process():
            self.settle()
        super().flush()

    def settle(self):
        """Waits until what is in the pipe was taken up, so that it belongs to the cell that wrote it."""
        # Neither of the two threads that bring it along can wait for that.
        if self._fid is None or threading.current_thread() in (self.pub_thread.thread, self.watch_fd_thread):
            return
        with self._relay:
            wanted = self._relayed_bytes + _waiting_bytes(self._fid)
            while self._relayed_bytes < wanted and self.watch_fd_thread.is_alive():
                self._relay.wait(1)

    def _watch_pipe_fd(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while self._should_watch:
            select.select([self._fid], [], [])
            with self._relay:
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
            with self._less_chars:
                while self._chars and self._chars + size > STREAM_CHARS and publisher.thread.is_alive():
                    self._wanted_chars = max(self._wanted_chars, size)
                    # Else the buffer would be emptied only by the clock.
                    publisher.schedule(self._flush_lines)
                    self._less_chars.wait(1)
        with self._less_chars:
            self._chars += size

    def _schedule_flush(self):
        """Sets the clock, which nothing unsets: it may strike in the next cell, within a line."""
        if not self._flush_pending:
            self._flush_pending = True
            self.pub_thread.schedule(lambda: self._io_loop.call_later(self.flush_interval, self._flush_lines))

    def _flush_lines(self):
        """Publishes whole lines, and others that waited long enough. In the thread that publishes, as `_flush` is."""
        self._by_lines = True
        try:
            self._flush()
        finally:
            self._by_lines = False
        if self._unfinished and self._is_master_process():
            self._schedule_flush()

    def _rotate_buffers(self):
        with self._buffer_lock:
            buffers = super()._rotate_buffers()
            before, self._unfinished = self._unfinished, {}
            with self._less_chars:
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
