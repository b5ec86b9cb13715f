# SPDX-License-Identifier: Apache-2.0
"""Which nodes are on the graph, seen from a node of its own that does nothing else."""

from __future__ import annotations

import os

import rclpy
from rclpy.context import Context
from rclpy.node import Node


class GraphWatch:
    """Looks at the ROS graph for the length of a ``with`` block."""

    def __enter__(self) -> GraphWatch:
        """Join the graph, in a context of its own: the caller may have one, or none."""
        self._context = Context()
        # No signal handlers: rclpy's would end the caller's work before the caller knows.
        rclpy.init(context=self._context, args=[])
        try:
            self._node = Node(
                f"graph_watch_{os.getpid()}",
                context=self._context,
                use_global_arguments=False,
                enable_rosout=False,
                start_parameter_services=False,
            )
        except BaseException:
            rclpy.shutdown(context=self._context)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def node_names(self) -> set[str]:
        """Full names of all nodes seen, e.g. ``/left/policy``."""
        return {
            f"{namespace.rstrip('/')}/{name}"
            for name, namespace in self._node.get_node_names_and_namespaces()
        }
