# SPDX-License-Identifier: Apache-2.0
"""Glue between rclpy and the rest, shared by every node.

runtime: start, spin, stop a node. parameters: typed reading. qos: subscriptions that match what
is offered. types: message classes by name. images, chunks: records to messages and back. clock:
nanoseconds and stamps. diagnostics: `/diagnostics`. observing: an embodiment's streams as one
observation buffer. taps, streams: raw messages for a recorder; takes: its episodes; machine: what a
computer brings to a recording.
"""
