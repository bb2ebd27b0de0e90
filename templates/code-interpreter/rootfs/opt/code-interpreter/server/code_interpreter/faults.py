"""What goes wrong, with what it is to a client."""


class Refused(Exception):
    """A request that cannot be served, with the HTTP status that says so."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class KernelGone(Exception):
    """The kernel's process ended, or was ended, while it was wanted. `name` is that of the error a client sees."""

    def __init__(self, name, message):
        super().__init__(message)
        self.name = name
