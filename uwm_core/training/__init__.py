# SPDX-License-Identifier: Apache-2.0
"""From a store to a checkpoint, and how good the checkpoint is.

Map: `config` (what a YAML file in config/train says), `codec` (phase 1: small codec and cached
latents), `loop` (phase 2: the world model), `optim` (schedule, EMA), `state` (what a resumed run
needs), `journal` (metrics as JSON lines and TensorBoard), `metrics` and `evaluate` (figures),
`sheet` (pictures of them).
"""
