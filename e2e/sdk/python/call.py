"""A call under way, while something happens to the sandbox that it is for."""

import threading

# What it takes to be told, on a host that other tests load.
SOON_S = 20


class Call(threading.Thread):
    """A call under way, and the exception that it ends with."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target, self.begun, self.error = target, threading.Event(), None

    def run(self):
        try:
            self.target(self.begun)
        except BaseException as error:
            self.error = error

    def ended(self):
        self.join(SOON_S)
        assert not self.is_alive(), f"the call still hangs {SOON_S} s after the sandbox was killed"
        return self.error
