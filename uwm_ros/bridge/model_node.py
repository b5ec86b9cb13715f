# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that lives off a checkpoint: what policy and imagination have in common.

configure loads and warms up, activate begins, deactivate stops, cleanup forgets. What is begun and
stopped is the subclass's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.diagnostics import Diagnostics
from uwm_ros.bridge.model import Load, ModelOptions, ready_policy
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.runtime import settle
from uwm_ros.logic.edges import EdgeLog

if TYPE_CHECKING:
    from uwm_core.policy import Policy


class ModelNode(LifecycleNode):
    """Loads, begins, stops; subclasses give `_begin`, `_stop` and `_report`.

    Attributes:
        _policy: The checkpoint; None before configure.
        _label: State of the lifecycle, as it is told.
        _reason: What is wrong, one sentence; empty while all is well.
        _refused: Whether that is why the node could not be configured.
        imagines: Whether images are wanted of the model, so that a VAE is read at configure.
    """

    imagines = False

    def __init__(self, name: str, load: Load, **options: Any) -> None:
        """Read what every such node is told; nothing is loaded before configure.

        Raises:
            UwmError: If a parameter or the embodiment is not usable.
        """
        super().__init__(name, **options)
        read = self._read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        self._model = ModelOptions.read(read)
        self._load = load
        self._policy: Policy | None = None
        self._label, self._reason, self._refused = "unconfigured", "", False
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._first: Any = None
        if read.flag("autostart", False, "configure and activate without being asked"):
            self._first = self.create_timer(0.0, self._start_by_itself)

    def close(self) -> None:
        """Stop before the context goes."""
        self._stop()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the checkpoint and answer once about nothing."""
        self._refused = False
        try:
            self.get_logger().info(f"loading checkpoint {self._model.checkpoint!r}")
            self._policy = ready_policy(self._load, self._model, self._embodiment)
            if self.imagines:
                self._policy.make_ready_for_images()
        except Exception as error:  # a lifecycle node answers failure, whatever it was
            expected = isinstance(error, UwmError)
            self._reason = str(error) if expected else f"{type(error).__name__}: {error}"
            self._refused = True
            self.get_logger().error(f"not configured: {self._reason}")
            self._report()
            return TransitionCallbackReturn.FAILURE
        settle()
        self._label, self._reason = "inactive", ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin."""
        assert self._policy is not None
        self._begin(self._policy)
        self._label = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; the checkpoint stays."""
        self._stop()
        self._label, self._reason = "inactive", ""
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the checkpoint."""
        self._policy = None
        self._label = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        self._stop()
        self._policy = None
        self._label = "finalized"
        return super().on_shutdown(state)

    def _begin(self, policy: Policy) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def _report(self) -> None:
        raise NotImplementedError

    def _start_by_itself(self) -> None:
        """Configure and activate; where that fails, the process ends with the reason."""
        self.destroy_timer(self._first)
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise UwmError(self._reason or "could not be activated")
