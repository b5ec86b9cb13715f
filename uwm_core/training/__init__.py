# SPDX-License-Identifier: Apache-2.0
"""From a store to a checkpoint, and how good the checkpoint is.

Map: `config` (what a YAML file in config/train says), `loop` (a whole run), `start` (weights of
another run), `codec` (phase 1: small codec and cached latents), `model_task` (phase 2: the world
model), `optimise` (takes the steps of both), `engine` (how a step is computed), `team` (processes
that share a run), `optim` (schedule, EMA), `state` and `shards` (what a resumed run needs),
`journal` (metrics as JSON lines and TensorBoard), `metrics` and `evaluate` (figures), `sheet`
(pictures of them).
"""
