# SPDX-License-Identifier: Apache-2.0
"""The operator's seat: programs that run whole attempts and demonstrations on the ROS graph.

A person would call the same services by hand (reset the scene, start the teleoperation, run the
executor, stop the recorder). Nothing here is needed to drive a robot.
"""
