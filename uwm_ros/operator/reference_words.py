# SPDX-License-Identifier: Apache-2.0
"""What each topic and service is for, in the words of the page of all topics."""

from __future__ import annotations

TOPICS = {
    "diagnostics": "how the node is: OK, WARN or ERROR, one sentence, figures; 1 Hz and on change",
    "joy": "buttons and axes of a joystick, a SpaceMouse or a pedal",
    "spacenav/twist": "deflections of -1 to 1: linear, then angular",
    "policy/action_chunk": "the next actions, stamped with the observation that they answer",
    "policy/status": "heartbeat of the policy: state, inference times, deadlines",
    "teleop/action_chunk": "the same as the policy's, from a person; played after a take-over",
    "executor/status": "state and why; 10 Hz and on change",
    "executor/safety": "state, cause in one word, margins to every limit, timing of the commands",
    "executor/chunk_timing": "where the time went, from picture to first command, per chunk",
    "executor/stop_now": "any message on it stops, as `executor/stop` does; for a button",
    "franka_robot_state_broadcaster/robot_state": (
        "mode and errors of a real Franka, where franka_msgs is installed"
    ),
    "manager/status": "what bringing up waits for, one line per item",
    "preview/markers": "way of the hand, workspace, table, words of the executor; for RViz",
    "preview/path": "pose of the hand per action, each stamped with its due time",
    "recorder/status": "streams, rates, gaps, losses, alarms; 2 Hz and on change",
    "recorder/mark": "what happened when, as JSON; in every bag too",
    "replay/report": "how a replay went, as JSON; latched",
    "sim/task": "ground truth of the simulated task; for teleoperation, never for a policy",
    "tf": "frames",
    "tf_static": "fixed frames",
}

SERVICES = {
    "executor/run": "arm; the next good chunk near the measured state moves the arm",
    "executor/arm": "the same as `executor/run`",
    "executor/hold": "come to rest and stay until the next run",
    "executor/stop": "come to rest and stay until reset",
    "executor/reset": "forget a stop or a hold",
    "executor/recover": "clear the robot's own errors; never done by itself",
    "executor/take_over": "true: a person's chunks are played; false: the policy's again",
    "flight_recorder/save": "write the last half minute; answers with the path of the bag",
    "manager/up": "configure, look, activate: policy and imagination",
    "manager/down": "hold, deactivate, clean up, in this order",
    "policy/change_state": "of the lifecycle",
    "policy/get_state": "of the lifecycle",
    "imagination/change_state": "of the lifecycle",
    "imagination/get_state": "of the lifecycle",
    "recorder/start": "start an episode",
    "recorder/stop": "end it, with its outcome",
    "recorder/discard": "end it or take the last one back, into the trash",
    "recorder/undo": "take back the last decision; a second time takes that back",
    "recorder/relabel": "change outcome, task or role of a finished episode",
    "recorder/note": "keep a remark with an episode",
    "recorder/check": "what would keep a recording from being good",
    "sim/reset": "arm home, cube where the seed says",
    "scripted_teleop/start": "begin an attempt",
    "scripted_teleop/stop": "end it",
}
