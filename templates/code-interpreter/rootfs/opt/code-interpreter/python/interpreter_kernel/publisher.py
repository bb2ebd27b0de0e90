"""The thread that publishes what cells print and show, with a bound on what it holds.

ipykernel's publisher drops messages that its reader is too slow for, and what waits to be published is unbounded.
Here the socket blocks where its reader stands still, the thread blocks with it, and whoever prints or shows waits.

    print, show ──► queue of the thread ──► socket ──► server
    wait            counted in bytes        blocks

The thread gives work to itself as well. ipykernel wakes it by messages of a socket, which blocks once it is full: full of the thread's own
messages, it would wait for itself. So it is woken by its loop, which never blocks.

An interrupt may strike between any two steps of a cell's thread. Locks are therefore entered by themselves: a condition's `__enter__` and
`__exit__` are Python's, and an interrupt within them leaves the lock taken for ever.
"""

import threading

import zmq
from ipykernel.iostream import IOPubThread

# What may wait in the queue before those who show and print wait too.
QUEUE_BYTES = 4 << 20
# Messages in the socket, on this side: each may be a large thing that is shown. To be set before the socket is bound.
SOCKET_MESSAGES = 2
# A single thing that is shown. The SDKs hold it in memory several times over.
SHOWN_MAX_BYTES = 64 << 20
# For those who wait to look again whether there is anybody to wait for.
LOOK_AGAIN_S = 1


class BoundedPublisher(IOPubThread):
    """ipykernel's publishing thread with a bound."""

    def __init__(self, socket, **options):
        # Else a full socket drops instead of blocking.
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._held_bytes, self._sends = 0, False
        self._lock = threading.RLock()
        self._less_held = threading.Condition(self._lock)
        super().__init__(socket, **options)

    def waits(self):
        """Whether the calling thread may wait: the publishing one must not, and a forked child has no such thread."""
        return self._is_master_process() and self.thread.is_alive() and threading.current_thread() is not self.thread

    def wait_for_room(self):
        """Until little enough is held. An interrupt ends the wait."""
        if not self.waits():
            return
        with self._lock:
            while self._held_bytes > QUEUE_BYTES and self.thread.is_alive():
                if not self._events and not self._sends:
                    # Left by an interrupt between counting a message and scheduling it.
                    self._held_bytes = 0
                    return
                self._wake()
                self._less_held.wait(LOOK_AGAIN_S)

    def wait_for_all(self):
        """Until all is done that was scheduled before."""
        done = threading.Lock()
        done.acquire()
        self.schedule(done.release)
        while not done.acquire(timeout=LOOK_AGAIN_S) and self.thread.is_alive():
            self._wake()

    def schedule(self, f):
        if not self.thread.is_alive():
            f()
            return
        self._events.append(f)
        self._wake()

    def send_multipart(self, parts, *args, **kwargs):
        size = sum(len(part) for part in parts)
        if size > SHOWN_MAX_BYTES:
            raise ValueError(
                f"what is to be shown has {size} bytes, and at most {SHOWN_MAX_BYTES} can be: "
                "show a part of it, or write it to a file"
            )
        self.wait_for_room()
        with self._lock:
            self._held_bytes += size
        self.schedule(lambda: self._send_held(size, parts, *args, **kwargs))

    def _wake(self):
        self.io_loop.add_callback(self._handle_event, None)

    def _send_held(self, size, parts, *args, **kwargs):
        self._sends = True
        try:
            self._really_send(parts, *args, **kwargs)
        finally:
            self._sends = False
            with self._lock:
                self._held_bytes = max(0, self._held_bytes - size)
                self._less_held.notify_all()
