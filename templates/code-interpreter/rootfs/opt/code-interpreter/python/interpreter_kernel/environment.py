"""Environment variables: the sandbox's, which stay, and those of one execution, which do not."""

import contextlib
import os


def set_all(variables):
    """For this and all later cells."""
    os.environ.update(variables)


@contextlib.contextmanager
def set_for_a_while(variables):
    """Within the block; then each is again what it was."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
