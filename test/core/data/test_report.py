# SPDX-License-Identifier: Apache-2.0
"""Laws of the sync report: bag and store say the same, and what is wrong is on the page."""

import dataclasses
import html.parser
import json

import numpy as np
import pytest

from uwm_core.cli.main import main
from uwm_core.data.convert import ConvertConfig, convert
from uwm_core.data.report import report_bag, report_store
from uwm_core.data.report_page import page
from uwm_core.data.store import Store
from uwm_core.embodiment import Embodiment

NS = 1_000_000_000


@pytest.fixture
def faulty(bags, tmp_path):
    """A bag whose front camera skips half a second and whose joints come from a fast clock."""

    def rows():
        for message in bags.streams(6.0):
            seconds = (message.receive_ns - bags.START_NS) / NS
            if message.topic == "/front/color/image_raw" and 2.0 < seconds < 2.5:
                continue
            if message.topic == "/franka/joint_states":
                message.receive_ns += 300_000_000
            yield message

    metadata = {
        "uwm.embodiment": Embodiment.load("fr3_sim").to_yaml(),
        "uwm.task": "lift <the> cube",
    }
    return bags.write_bag(tmp_path / "faulty", sorted(rows(), key=lambda m: m.receive_ns),
                          metadata=metadata)  # fmt: skip


def test_a_gap_and_a_clock_are_named_with_place_and_size(faulty):
    report = report_bag(faulty)
    told = report.episodes[0].warnings(report.embodiment)
    assert any("camera/front has a gap of 0.5" in sentence for sentence in told)
    assert any("state/joint_pos is received +0.30" in sentence for sentence in told)
    assert not any("wrist" in sentence for sentence in told)


def test_a_store_knows_what_its_bag_was_measured_to_be(bags, faulty, tmp_path):
    convert([faulty], tmp_path / "s.zarr", ConvertConfig(holes="split"))
    store = Store.open(tmp_path / "s.zarr")
    assert len(store) == 2  # cut at the gap
    measured = report_bag(faulty).episodes[0].streams["state/joint_pos"]
    for entry in report_store(store).episodes:
        kept = entry.streams["state/joint_pos"]
        assert kept.rate_hz == pytest.approx(200.0, rel=0.01)
        assert kept.offset_s == pytest.approx(measured.offset_s, abs=1e-4)
        assert 0 <= kept.age_max_s <= 1 / 200 + 1e-6


def test_the_json_is_what_the_command_prints(faulty, capsys):
    assert main(["inspect", str(faulty), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "uwm_sync_report" and told["steps"] == told["episodes"][0]["steps"]
    assert told == json.loads(json.dumps(report_bag(faulty).to_json()))


class _Page(html.parser.HTMLParser):
    """Tags that are open, and everything that would make a browser ask the network."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]
        if tag not in ("meta", "img", "path", "circle"):
            self.open.append(tag)
        assert tag != "script"

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_self_contained_and_shows_the_warnings(faulty, tmp_path):
    convert([faulty], tmp_path / "s.zarr", ConvertConfig(holes="split"))
    store = Store.open(tmp_path / "s.zarr")
    report = report_store(store)
    read = _Page()
    read.feed(page(report, store.episode, np.zeros((20, 30, 3), np.uint8)))
    assert read.open == [] and read.fetched == []
    text = " ".join(read.text)
    assert "lift <the> cube" in text  # shown as text, not taken for markup
    for entry in report.episodes:
        for sentence in entry.warnings(report.embodiment):
            assert sentence in text
    assert "fr3_joint7" in text


def test_imported_data_has_a_page_without_streams(bags, good_bag, tmp_path):
    convert([good_bag], tmp_path / "s.zarr")
    report = report_store(Store.open(tmp_path / "s.zarr"))
    bare = dataclasses.replace(report.episodes[0], streams={}, tracking=())
    text = page(dataclasses.replace(report, episodes=(bare,)))
    assert "Streams were not measured" in text
