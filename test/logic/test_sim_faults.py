# SPDX-License-Identifier: Apache-2.0
"""Laws of the faults on request: each breaks one thing, and "" mends it."""

import pytest

from uwm_core.errors import UnknownNameError
from uwm_ros.logic.sim_faults import FAULTS, Faults

NAMES = tuple("abcdefg")


def told(faults):
    """Everything that the faults change."""
    return {
        "stops": [faults.stops(camera) for camera in ("front", "wrist")],
        "freezes": [faults.freezes(camera) for camera in ("front", "wrist")],
        "silent": faults.silences_states,
        "controller": faults.silences_controller,
        "blocked": faults.blocks_arm,
        "stamp": faults.stamp_ns(10**18) - 10**18,
        "joints": faults.joints(NAMES),
    }


def test_every_fault_changes_one_thing_and_clearing_mends_it():
    faults = Faults(["wrist", "front"])
    well = told(faults)
    assert well["joints"] == (list(NAMES), list(range(7))) and not well["stamp"]
    for name in FAULTS:
        faults.set(name)
        broken = told(faults)
        assert sum(broken[key] != well[key] for key in well) == 1, name
        faults.set("")
        assert told(faults) == well


@pytest.mark.parametrize("count", [2, 3, 7])
def test_wrong_order_moves_every_name_with_its_value(count):
    faults = Faults(())
    faults.set("wrong_joint_order")
    shown, order = faults.joints(NAMES[:count])
    assert sorted(shown) == list(NAMES[:count])
    assert shown == [NAMES[place] for place in order] != list(NAMES[:count])


def test_unknown_fault_is_refused_by_name():
    with pytest.raises(UnknownNameError, match=r"camera_stop'.*Did you mean 'camera_stops'"):
        Faults(()).set("camera_stop")
