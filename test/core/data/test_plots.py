# SPDX-License-Identifier: Apache-2.0
"""Laws of the report's plots: what is drawn is where the value says, and nothing is lost."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from uwm_core.data.plots import MAX_POINTS, Curve, curves, dots


def points(svg, style):
    root = ElementTree.fromstring(svg)
    path = next(e for e in root.iter("path") if e.get("class") == style)
    return np.array(re.findall(r"[ML](\S+) (\S+?)(?=[ML]|$)", path.get("d")), float)


def test_a_straight_line_is_straight_and_rises_upwards():
    drawn = points(curves("ramp", [Curve(np.arange(11), np.arange(11))]), "plain")
    assert np.allclose(np.diff(drawn, n=2, axis=0), 0, atol=0.11)
    assert (np.diff(drawn[:, 0]) > 0).all() and (np.diff(drawn[:, 1]) < 0).all()


def test_a_single_spike_survives_the_thinning():
    y = np.zeros(100_000)
    y[54_321] = 1.0
    drawn = points(curves("spike", [Curve(np.arange(len(y)), y)]), "plain")
    assert len(drawn) <= MAX_POINTS + 2
    assert drawn[:, 1].min() == 18.0  # the top of the frame


def test_a_hole_lifts_the_pen():
    y = np.array([0.0, 1.0, np.nan, 1.0, 0.0])
    assert curves("hole", [Curve(np.arange(5), y)]).count("M") == 2 + 1  # two pieces and the axis


def test_titles_are_text_and_never_markup():
    svg = curves("<b>&", [Curve([0, 1], [0, 1])])
    assert "&lt;b&gt;&amp;" in svg and "<b>" not in svg


def test_nothing_to_draw_is_an_empty_frame():
    for svg in (curves("none", []), dots("none", []), dots("nan", [np.nan])):
        assert ElementTree.fromstring(svg).find("circle") is None


def test_there_is_a_dot_for_every_finite_value_and_a_line_at_the_expected_one():
    svg = dots("rate", [1.0, np.nan, 3.0], expected=2.0)
    root = ElementTree.fromstring(svg)
    ys = sorted(float(dot.get("cy")) for dot in root.iter("circle"))
    assert len(ys) == 2
    assert abs(points(svg, "limit")[0, 1] - np.mean(ys)) < 0.11
