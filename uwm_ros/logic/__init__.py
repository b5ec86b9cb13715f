# SPDX-License-Identifier: Apache-2.0
"""Decisions without rclpy and without torch; time and measurements come in as arguments.

limits: what a joint may do, and motion that respects it. trajectory: stamped points and the curve
between them. judge: chunk -> pass, clip or hold. machine: the executor's states. schedule: single
values at their due times. hand_drive: a person's wishes as a leader arm. key_wishes: keys as
wishes. teleoperation: the scripted stand-in. replaying: an episode as chunks. streams: ages and
clock trouble. edges: log once. worker: one thread, latest request wins. latency: recent
percentiles. recording: queue and bag of a running episode; recording_shelf: finished ones;
recording_buttons: pedals; recording_sink: the store beside the bags. alarms: what is wrong with a
stream. doctor: whether a recording would be good. peek: stamps in serialized bytes.
"""
