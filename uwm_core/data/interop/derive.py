# SPDX-License-Identifier: Apache-2.0
"""An embodiment for data whose robot is not described: its numbers are known, its wiring is not.

Sizes, columns and the rate are the data's. Topics say ``unknown/...``, the limits allow anything,
nothing has a unit: it is enough to train on and to look at. To drive, write it out
(``uwm import --write-embodiment FILE``) and fill in what the data could not say.
"""

from __future__ import annotations

from collections.abc import Mapping

from uwm_core.action_channel import ActionChannel
from uwm_core.data.interop.source import Layout, key_of
from uwm_core.embodiment import Embodiment, Gripper, JointLimits, Safety
from uwm_core.errors import DataError
from uwm_core.streams import ARRAY, Camera, Vector

# Wider than any number that data hold, so that a derived limit never looks like a measured one.
ANY = 1e6


def derive(layout: Layout, names: Mapping[str, str] | None = None) -> Embodiment:
    """Describe the robot of a data set as far as the data do.

    Args:
        layout: What every row of the data set holds.
        names: Key of the layout by the key that it shall have; others keep theirs, written as keys.

    Returns:
        An embodiment of the layout's cameras, state and action.

    Raises:
        DataError: If two names become one key, or there is no action to describe.
    """
    if not layout.action:
        raise DataError(
            f"{layout.name}: has no actions, so no robot can be derived from it; name the one that "
            "shall learn from it (--embodiment fr3)"
        )
    keys = _keys(layout, names or {})
    joints = len(layout.action)
    try:
        return Embodiment(
            name=key_of(layout.name),
            description=f"Derived from {layout.name}: topics, units and limits are not known.",
            rate_hz=layout.rate_hz,
            arm_joints=layout.action,
            home_rad=(0.0,) * joints,
            limits=JointLimits(
                position_rad=((-ANY, ANY),) * joints,
                velocity_rad_s=(ANY,) * joints,
                acceleration_rad_s2=(ANY,) * joints,
            ),
            gripper=Gripper(max_width_m=1.0),
            cameras=_cameras(layout, keys),
            state=_state(layout, keys),
            action=_action(layout),
            safety=Safety(
                max_observation_age_s=5 / layout.rate_hz,
                max_chunk_age_s=5 / layout.rate_hz,
                start_tolerance_rad=0.1,
                limit_margin_rad=0.0,
                velocity_scale=0.1,
            ),
        )
    except ValueError as error:
        raise DataError(f"{layout.name}: no embodiment can be derived: {error}") from None


def _keys(layout: Layout, names: Mapping[str, str]) -> dict[str, str]:
    """The embodiment's key by the layout's."""
    chosen = {theirs: ours for ours, theirs in names.items()}
    keys = {key: chosen.get(key, key_of(key)) for key in (*layout.cameras, *layout.state)}
    for key in keys.values():
        same = [theirs for theirs, ours in keys.items() if ours == key]
        if len(same) > 1:
            raise DataError(
                f"{layout.name}: {' and '.join(same)} both become {key!r}; name one of them "
                f"otherwise (--map other={same[1]})"
            )
    return keys


def _cameras(layout: Layout, keys: Mapping[str, str]) -> dict[str, Camera]:
    return {
        keys[key]: Camera(
            topic=f"unknown/{keys[key]}/image_raw",
            rate_hz=layout.rate_hz,
            size=size,
            max_age_s=2 / layout.rate_hz,
        )
        for key, size in layout.cameras.items()
    }


def _state(layout: Layout, keys: Mapping[str, str]) -> dict[str, Vector]:
    return {
        keys[key]: Vector(
            topic=f"unknown/{keys[key]}",
            rate_hz=layout.rate_hz,
            type=ARRAY,
            names=names,
            field="data",
            unit="unitless",
            clock="receive",
            max_age_s=2 / layout.rate_hz,
        )
        for key, names in layout.state.items()
    }


def _action(layout: Layout) -> dict[str, ActionChannel]:
    return {
        "action": ActionChannel(
            topic="unknown/action",
            rate_hz=layout.rate_hz,
            type=ARRAY,
            names=layout.action,
            field="data",
            unit="unitless",
            clock="receive",
            max_age_s=2 / layout.rate_hz,
            command_topic="unknown/command",
            command_type=ARRAY,
        )
    }
