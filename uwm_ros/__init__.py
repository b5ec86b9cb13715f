# SPDX-License-Identifier: Apache-2.0
"""Nodes that record, drive and imagine with a world model on a ROS 2 graph.

The ROS half of the project; everything that needs no ROS is in `uwm_core`. Rooms: `logic` (pure
decisions), `bridge` (rclpy glue), `nodes` (one module per process), `description` (what is
started), `bringup` (starts it without launch_ros), `operator` (runs attempts and demonstrations),
`cli` (verbs that need ROS). `uwm_ros.msg` and `uwm_ros.srv` are generated from `msg/` and `srv/`
and may be installed in another folder than this file.
"""

from pkgutil import extend_path

# The generated messages and the code may live in two folders of one name (source tree, editable
# install): both belong to this package.
__path__ = extend_path(__path__, __name__)
