# SPDX-License-Identifier: Apache-2.0
"""Outputs: everything through which commands leave for the robot, one module per kind."""

from uwm_ros.bridge.outputs.arm import ArmOutput, make_arm_output
from uwm_ros.bridge.outputs.values import ValueOutput, make_value_outputs

__all__ = ["ArmOutput", "ValueOutput", "make_arm_output", "make_value_outputs"]
