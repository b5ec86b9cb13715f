# SPDX-License-Identifier: Apache-2.0
"""Unified world models for robots: data, model, policy and simulation, without any ROS import.

One vocabulary holds for every file, message, option and document of this project:

==================  ==================================================================
embodiment          one robot as a policy sees it: cameras, state, actions, rates, limits
                    and the topics they live on; one YAML file
step                one row of a dataset: everything at one tick of the embodiment's rate
episode             consecutive steps of one attempt, with its task sentence and outcome
window              the steps that one training sample needs
observation ``o``   the last ``T`` steps' images and state
action chunk ``a``  the next ``A`` actions
next observation    the ``T`` images that follow the chunk (what the model imagines)
mode                what is asked of the model: policy p(a|o), forward_dynamics p(o'|o,a),
                    inverse_dynamics p(a|o,o'), video p(o'|o), joint p(a,o'|o)
role                what an episode may teach: expert (all losses), play (dynamics only),
                    video (no actions)
store               a Zarr dataset of episodes
checkpoint          a folder with weights, configs, normaliser and embodiment
==================  ==================================================================

Shape letters: B batch, T observation steps, A chunk length, D action size, V views, C channels,
H W pixels, h w latent cells, N tokens, E width, S state size.

Units live in names: ``stamp_ns``, ``rate_hz``, ``timeout_s``, ``joint_rad``, ``gripper_m``.
"""

__version__ = "0.1.0"
