"""Loads what cells often begin with, once, before the template's snapshot is made. Names nothing in the cells' own module."""

import importlib

MODULES = ("numpy", "pandas", "matplotlib.pyplot", "e2b_charts")


def up():
    """Loads the modules and draws a figure, which has matplotlib find its fonts."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"not warmed up: {error}")
    draw()


def draw():
    """A figure that nobody sees."""
    import io

    import matplotlib.pyplot as pyplot

    figure = pyplot.figure()
    figure.add_subplot().plot([0, 1], [0, 1])
    figure.savefig(io.BytesIO(), format="png")
    pyplot.close(figure)
