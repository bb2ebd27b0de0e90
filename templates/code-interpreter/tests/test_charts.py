"""Figures of matplotlib: a picture, and what the chart is made of."""

import base64

import pytest
from e2b_code_interpreter.charts import (
    BarChart,
    BoxAndWhiskerChart,
    ChartType,
    LineChart,
    PieChart,
    ScatterChart,
    SuperChart,
)

PLOT = "import matplotlib.pyplot as plt\n"


@pytest.fixture
def chart_of(sandbox):
    """The only chart of a cell, whose picture is there as well."""

    def run(code):
        execution = sandbox.run_code(PLOT + code)
        assert execution.error is None, execution.error.traceback
        (result,) = [result for result in execution.results if result.png]
        assert base64.b64decode(result.png).startswith(b"\x89PNG")
        assert "chart" in result.formats()
        return result.chart

    return run


def test_line(chart_of):
    chart = chart_of(
        "plt.plot([1, 2, 3], [10.0, float('nan'), 30.0], label='first')\nplt.plot([1, 2], [4, 5], label='second')\n"
        "plt.xlabel('Time (s)')\nplt.ylabel('Size [m]')\nplt.title('Lines')\nplt.show()"
    )
    assert isinstance(chart, LineChart) and chart.type == ChartType.LINE and chart.title == "Lines"
    assert (chart.x_label, chart.x_unit, chart.y_label, chart.y_unit) == ("Time (s)", "s", "Size [m]", "m")
    assert [element.label for element in chart.elements] == ["first", "second"]
    assert chart.elements[0].points == [(1, 10.0), (2, None), (3, 30.0)]
    assert chart.x_scale.value == "linear"


def test_line_over_dates(chart_of):
    chart = chart_of("import datetime\ndays = [datetime.date(2024, 1, n) for n in (1, 2)]\nplt.plot(days, [1, 2])\nplt.show()")
    assert chart.x_scale.value == "datetime"
    assert chart.elements[0].points[0][0].startswith("2024-01-01")


def test_scatter(chart_of):
    chart = chart_of("plt.scatter([1, 2], [3, 4], label='dots')\nplt.title('Dots')\nplt.show()")
    assert isinstance(chart, ScatterChart)
    assert [(element.label, element.points) for element in chart.elements] == [("dots", [(1, 3), (2, 4)])]


def test_bar(chart_of):
    chart = chart_of("plt.bar(['A', 'B'], [3, 5], label='sales')\nplt.ylabel('Count')\nplt.title('Bars')\nplt.show()")
    assert isinstance(chart, BarChart) and chart.title == "Bars" and chart.y_label == "Count"
    assert [(bar.label, float(bar.value)) for bar in chart.elements] == [("A", 3), ("B", 5)]


def test_pie(chart_of):
    chart = chart_of("plt.pie([25, 75], labels=['one', 'two'])\nplt.title('Pie')\nplt.show()")
    assert isinstance(chart, PieChart)
    assert [(slice.label, round(slice.angle), slice.radius) for slice in chart.elements] == [("one", 90, 1), ("two", 270, 1)]


def test_box_and_whiskers(chart_of):
    chart = chart_of(
        "plt.boxplot([[1, 2, 3, 4, 5, 6, 50], [2, 4, 6, 8, 10]], tick_labels=['a', 'b'], patch_artist=True)\nplt.ylabel('Size')\nplt.show()"
    )
    assert isinstance(chart, BoxAndWhiskerChart) and chart.y_label == "Size"
    first, second = chart.elements
    assert (first.label, first.min, first.first_quartile, first.median, first.third_quartile, first.max) == (
        "a",
        1,
        2.5,
        4,
        5.5,
        6,
    )
    assert first.outliers == [50]
    assert (second.label, second.min, second.median, second.max, second.outliers) == ("b", 2, 6, 10, [])


def test_a_single_box_is_at_least_a_picture(sandbox):
    # `e2b_charts` takes it for a horizontal one and gives up.
    execution = sandbox.run_code(PLOT + "plt.boxplot([[1, 2, 3]], patch_artist=True)\nplt.show()")
    assert execution.error is None and execution.logs.stderr == [] and execution.results[0].png


def test_several_axes(chart_of):
    chart = chart_of("figure, (left, right) = plt.subplots(1, 2)\nleft.plot([1, 2], [3, 4])\nright.bar(['a'], [1])\nplt.show()")
    assert isinstance(chart, SuperChart)
    assert [type(element) for element in chart.elements] == [LineChart, BarChart]


def test_a_chart_of_unknown_kind_is_a_picture(sandbox):
    execution = sandbox.run_code(PLOT + "import numpy\nplt.imshow(numpy.zeros((2, 2)))\nplt.show()")
    (result,) = execution.results
    assert execution.error is None and result.png
    assert result.chart is None or result.chart.type == ChartType.UNKNOWN


def test_a_chart_of_very_many_points_is_a_picture(sandbox):
    (result,) = sandbox.run_code(PLOT + "import numpy\nplt.plot(numpy.zeros(2_000_000))\nplt.show()").results
    assert result.png and result.chart is None


def test_figures_are_shown_where_the_cell_ends(sandbox):
    execution = sandbox.run_code(PLOT + "plt.plot([1], [2])\n'value'")
    assert execution.text == "value"
    assert [bool(result.png) for result in execution.results] == [False, True]


def test_a_figure_as_value(sandbox):
    execution = sandbox.run_code(PLOT + "figure, axes = plt.subplots()\naxes.plot([1], [2])\nplt.close(figure)\nfigure")
    (result,) = execution.results
    assert result.is_main_result and result.png and isinstance(result.chart, LineChart)
