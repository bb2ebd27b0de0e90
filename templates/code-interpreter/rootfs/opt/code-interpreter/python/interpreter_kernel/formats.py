"""Results as the SDKs want them, beside what IPython shows: a table's columns, and what a chart is made of.

Nothing here imports pandas or matplotlib: the printers are found by their types' names once someone did.
"""

import datetime
import enum
import math
import sys
import warnings

from IPython.core.formatters import BaseFormatter
from traitlets import ObjectName, Unicode

DATA = "e2b/data"
CHART = "e2b/chart"
# A larger table, or a chart of more points, is shown and not sent as data as well.
DATA_MAX_CELLS = 200_000
CHART_MAX_POINTS = 100_000


class DataFormatter(BaseFormatter):
    """Tables, by column."""

    format_type = Unicode(DATA)
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = dict


class ChartFormatter(BaseFormatter):
    """What a figure of matplotlib shows. It has no printer for figures, as matplotlib's own set-up removes all that there are."""

    format_type = Unicode(CHART)
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = dict

    def __call__(self, shown):
        figures = sys.modules.get("matplotlib.figure")
        if figures and isinstance(shown, figures.Figure):
            return chart_of(shown)
        return super().__call__(shown)


def install(shell):
    """Has the shell make both."""
    formatters = shell.display_formatter.formatters
    formatters[DATA] = DataFormatter(parent=shell.display_formatter)
    formatters[CHART] = ChartFormatter(parent=shell.display_formatter)
    formatters[DATA].for_type_by_name("pandas.core.frame", "DataFrame", table_columns)
    formatters[DATA].for_type_by_name("pandas", "DataFrame", table_columns)


def table_columns(table):
    """A list of values for each column."""
    if table.size > DATA_MAX_CELLS:
        return None
    try:
        return {str(name): plain(list(table.iloc[:, at])) for at, name in enumerate(table.columns)}
    except Exception:
        # A table that cannot be taken apart is shown all the same.
        return None


def chart_of(figure):
    """What `e2b_charts` finds in the figure."""
    try:
        if points_of(figure) > CHART_MAX_POINTS:
            return None
        from e2b_charts import chart_figure_to_dict

        # It warns of numbers that are numpy's; the cell would be blamed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return plain(chart_figure_to_dict(figure)) or None
    except Exception:
        # It knows some kinds of charts; of others there is the picture.
        return None


def points_of(figure):
    """How much there is to tell of a figure."""
    lines = sum(len(line.get_xdata(orig=False)) for axes in figure.axes for line in axes.lines)
    dots = sum(len(dots.get_offsets()) for axes in figure.axes for dots in axes.collections)
    return lines + dots + sum(len(axes.patches) for axes in figure.axes)


def plain(value):
    """The value by JSON's types alone. What is no number in JSON becomes null."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (datetime.date, datetime.time)):
        return None if value != value else value.isoformat()
    # Numbers and arrays of numpy.
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    text = str(value)
    return None if text in ("NaT", "<NA>") else text
