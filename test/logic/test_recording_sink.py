# SPDX-License-Identifier: Apache-2.0
"""Laws of the Zarr sink's parent side, with a stand-in for the converter."""

import sys
import time

import pytest

from uwm_ros.logic.recording_sink import StoreSink

# Answers like the converter; a bag named "die" kills it once, "bad" is refused.
STAND_IN = """
import json, os, sys
folder = sys.argv[1]
for line in sys.stdin:
    name = os.path.basename(json.loads(line)["bag"])
    if name == "die" and not os.path.exists(folder + "/died"):
        open(folder + "/died", "w").close()
        os._exit(3)
    with open(folder + "/done", "a") as file:
        file.write(name + "\\n")
    error = "no good" if name == "bad" else ""
    print(json.dumps({"bag": name, "done": "", "error": error}), flush=True)
"""


@pytest.fixture
def told():
    return []


@pytest.fixture
def sink(tmp_path, told):
    sink = StoreSink(tmp_path, told.append, (sys.executable, "-c", STAND_IN))
    yield sink
    sink.close(30.0)


def wait(condition):
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def done(tmp_path):
    return (tmp_path / "done").read_text().split()


def test_bags_are_told_in_order_and_counted_until_they_are_in(sink, tmp_path):
    assert (sink.state, sink.waiting) == ("idle", 0)
    for name in "abc":
        sink.follow(tmp_path / name)
    wait(lambda: sink.waiting == 0)
    assert sink.state == "idle"
    assert done(tmp_path) == ["a", "b", "c"]


def test_bad_bag_is_told_and_the_next_one_heals(sink, tmp_path, told):
    sink.follow(tmp_path / "bad")
    wait(lambda: sink.state == "failed: no good")
    assert told == ["not in the store: no good"]
    sink.follow(tmp_path / "a")
    wait(lambda: sink.state == "idle")


def test_converter_that_died_is_started_again_and_told_what_it_had_not_done(sink, tmp_path, told):
    sink.follow(tmp_path / "a")
    sink.follow(tmp_path / "die")
    wait(lambda: "exit code 3" in sink.state)
    assert sink.waiting == 1
    sink.follow(tmp_path / "b")
    wait(lambda: sink.waiting == 0)
    assert done(tmp_path) == ["a", "die", "b"]
    assert sink.state == "idle"


def test_close_waits_for_what_is_being_done(sink, tmp_path):
    sink.follow(tmp_path / "a")
    assert sink.close(60.0)
    assert done(tmp_path) == ["a"]
