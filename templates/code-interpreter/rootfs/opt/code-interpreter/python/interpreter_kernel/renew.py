"""Random numbers that differ between all that go on from one snapshot.

The agent gives a machine that was restored another generation; what has its state in this process's memory is seeded anew
before the next cell. A generator that a cell made with a seed of its own goes on as it was, which is what a seed is for.
"""

import os
import sys


class Generation:
    """Which of those that went on from one snapshot this is, as of the last look."""

    def __init__(self, path):
        self._path = path
        self._last = self._read()

    def renew(self):
        """Seeds anew if this is another one by now."""
        now = self._read()
        if now != self._last:
            self._last = now
            seed_anew()

    def _read(self):
        try:
            with open(self._path, "rb") as file:
                return file.read(64)
        except OSError:
            return b""


def seed_anew():
    """Only what is loaded already: the rest seeds itself when it is loaded."""
    if ssl := sys.modules.get("_ssl"):
        # OpenSSL's, by which keys are made; it is seeded anew from the kernel's as well.
        ssl.RAND_add(os.urandom(32), 32.0)
    if random := sys.modules.get("random"):
        random.seed()
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()
    if tempfile := sys.modules.get("tempfile"):
        # Has a generator of its own, by which temporary files are named.
        tempfile._name_sequence = None
