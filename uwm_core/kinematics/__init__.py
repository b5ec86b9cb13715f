# SPDX-License-Identifier: Apache-2.0
"""Kinematics of an arm, without ROS and without torch.

Where its links are (``model``), whether they may be there (``guard``), how the hand gets to a pose
(``inverse``), and what joints a chunk asks for (``targets``).
pinocchio reads the URDF and turns single poses around; it is
imported when the first model is made.
"""
