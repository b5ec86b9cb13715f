# SPDX-License-Identifier: Apache-2.0
"""Laws of the doctor: what is wrong fails or warns by name, with what to do; what is well is ok."""

import dataclasses
from types import SimpleNamespace

import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.logic.doctor import (
    MachineFacts,
    Offer,
    StreamFacts,
    check_machine,
    check_stream,
    failures,
    refuse,
)

ROBOT = Embodiment.load("fr3_sim")
CAMERA, JOINTS = ROBOT.cameras["front"], ROBOT.state["joint_pos"]
GIB = 2**30


def image(**changes):
    about = {"height": 2, "width": 2, "step": 6, "encoding": "rgb8", "is_bigendian": 0}
    return SimpleNamespace(**{**about, "data": bytes(12), **changes})


def joints(**changes):
    names, zeros = list(JOINTS.names), [0.0] * len(JOINTS.names)
    about = {"name": names, "position": zeros, "velocity": zeros, "effort": zeros}
    return SimpleNamespace(**{**about, **changes})


WELL = StreamFacts(
    topic="/front",
    offers=(Offer("/driver", CAMERA.type, reliable=True, latched=False),),
    rate_hz=30.0,
    silent_s=0.01,
    offset_s=0.004,
    message=image(),
    size_bytes=921_600,
)


def found(spec=CAMERA, needed=True, **changes):
    facts = dataclasses.replace(WELL, **changes)
    if spec is JOINTS:
        offer = (Offer("/driver", JOINTS.type, reliable=True, latched=False),)
        facts = dataclasses.replace(
            facts, **{"offers": offer, "rate_hz": JOINTS.rate_hz, "message": joints(), **changes}
        )
    return check_stream("key", spec, facts, needed=needed)


def test_good_stream_has_one_line_that_says_how_it_is():
    (line,) = found()
    assert line.level == "ok"
    assert "30.0 Hz, reliable, 2x2 rgb8, 4 ms old" in line.to_text()
    assert [line.level for line in found(JOINTS)] == ["ok"]


@pytest.mark.parametrize(
    ("spec", "changes", "level", "text"),
    [
        (CAMERA, {"offers": ()}, "fail", "no publisher"),
        (CAMERA, {"offers": (Offer("/d", "a/msg/B", True, False),)}, "fail", "a/msg/B"),
        (CAMERA, {"silent_s": float("inf")}, "fail", "is silent"),
        (CAMERA, {"silent_s": 7.5}, "fail", "for 7.5 s"),
        (CAMERA, {"message": image(encoding="yuv")}, "fail", "'yuv' is not supported"),
        (CAMERA, {"message": image(height=0)}, "fail", "0x2"),
        (CAMERA, {"offset_s": 1.7e9}, "fail", "another epoch"),
        (CAMERA, {"offset_s": -0.2}, "warn", "200 ms in the future"),
        (CAMERA, {"offset_s": 0.3}, "warn", "300 ms old"),
        (CAMERA, {"rate_hz": 15.0}, "warn", "has 15.0 Hz, the embodiment says 30 Hz"),
        (CAMERA, {"rate_hz": 60.0}, "warn", "has 60.0 Hz"),
        (CAMERA, {"lost": 20}, "fail", "large_images.xml"),
        (CAMERA, {"lost": 2}, "warn", "2 messages"),
        (CAMERA, {"offers": WELL.offers * 2}, "warn", "2 publishers: /driver"),
        (JOINTS, {"message": joints(name=["a"] * 7)}, "fail", "lacks the joints"),
        (JOINTS, {"message": joints(position=[float("nan")] * 7)}, "fail", "not finite"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(spec, changes, level, text):
    line = found(spec, **changes)[0]
    assert line.level == level
    assert text in line.to_text()
    assert line.advice


def test_command_stream_may_be_silent_before_the_first_motion():
    assert [line.level for line in found(needed=False, silent_s=float("inf"))] == ["warn"]


def test_stream_by_receive_clock_may_have_any_stamps():
    receive = dataclasses.replace(CAMERA, clock="receive")
    assert [line.level for line in found(receive, offset_s=1.7e9)] == ["warn"]


def machine(**changes):
    about = {"directory": "/data", "free_bytes": 500 * GIB, "rmw": "rmw_fastrtps_cpp"}
    facts = MachineFacts(**{**about, "streams": {"/front": WELL}, **changes})
    return {line.subject: line for line in check_machine(facts)}


def test_good_machine_is_ok():
    lines = machine(write_bytes_per_s=500e6, segment_bytes=32 * 2**20)
    assert {line.level for line in lines.values()} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "subject", "level"),
    [
        ({"free_bytes": GIB // 2}, "disk", "fail"),
        ({"free_bytes": 10 * GIB}, "disk", "warn"),
        ({"write_bytes_per_s": 20e6}, "disk speed", "fail"),
        ({"write_bytes_per_s": 35e6}, "disk speed", "warn"),
        ({"segment_bytes": 512 * 1024}, "middleware", "fail"),
        ({"use_sim_time": True}, "clock", "fail"),
        ({"has_clock": True}, "clock", "warn"),
    ],
)
def test_machine_that_would_spoil_a_recording_is_named(changes, subject, level):
    line = machine(**changes)[subject]
    assert line.level == level
    assert line.advice


def test_refusal_names_every_failure_and_no_warning():
    lines = [*found(offers=()), *found(rate_hz=15.0), *found(silent_s=7.5)]
    assert len(failures(lines)) == 2
    with pytest.raises(UwmError, match=r"no publisher.*silent for 7\.5 s") as refused:
        refuse(lines)
    assert "15.0" not in str(refused.value)
    refuse(found())
