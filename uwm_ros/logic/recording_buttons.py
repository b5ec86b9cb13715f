# SPDX-License-Identifier: Apache-2.0
"""Buttons of a joystick or a foot pedal that steer a recorder: which was just pressed.

A press counts once, on its edge, and contacts that bounce within `settle_s` count as one press.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uwm_core.errors import UnknownNameError, UwmError

# `toggle` starts an episode, or keeps the running one: enough for a pedal with one contact.
COMMANDS = ("start", "success", "failure", "discard", "undo", "toggle")
_NS = 1_000_000_000


def parse_buttons(entries: Sequence[str]) -> dict[int, str]:
    """Read a button map, e.g. `["0:toggle", "1:undo"]`.

    Raises:
        UwmError: If an entry has another form, or names an unknown command.
    """
    buttons: dict[int, str] = {}
    for entry in entries:
        number, _, command = entry.partition(":")
        if not number.strip().isdigit():
            raise UwmError(f"button {entry!r} must look like '0:toggle'")
        if command.strip() not in COMMANDS:
            raise UnknownNameError(f"command of button {number.strip()}", command.strip(), COMMANDS)
        buttons[int(number)] = command.strip()
    return buttons


class Buttons:
    """Turns the state of buttons into commands."""

    def __init__(self, buttons: Mapping[int, str], settle_s: float = 0.3) -> None:
        """Watch `buttons`: command by number."""
        self._buttons = dict(buttons)
        self._settle_ns = round(settle_s * _NS)
        self._down: set[int] = set()
        self._changed_ns: dict[int, int] = {}
        self._known = False

    def update(self, pressed: Sequence[int], now_ns: int) -> list[str]:
        """Commands of the buttons that have just gone down.

        Args:
            pressed: State of every button, as in `sensor_msgs/Joy`: 1 is down.
            now_ns: Moment of this state.
        """
        down = {number for number, state in enumerate(pressed) if state}
        # A pedal that is down when its driver starts has not been pressed for us.
        before = self._down if self._known else down
        self._down, self._known = down, True
        commands = []
        for number in sorted((down ^ before) & self._buttons.keys()):
            quiet_ns = now_ns - self._changed_ns.get(number, now_ns - self._settle_ns)
            self._changed_ns[number] = now_ns
            if number in down and quiet_ns >= self._settle_ns:
                commands.append(self._buttons[number])
        return commands
