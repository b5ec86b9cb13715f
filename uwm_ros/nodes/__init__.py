# SPDX-License-Identifier: Apache-2.0
"""The nodes: each subscribes, calls the logic, publishes; no judgement lives here.

One module per node, each with `main(argv)`; run `python -m uwm_ros.nodes.<name> --ros-args ...` or
`ros2 run uwm_ros <name>`.
"""
