# SPDX-License-Identifier: Apache-2.0
"""The networks: observation to condition (``observe``), and the transformer (``denoiser``).

``blocks`` and ``embed`` are the transformer's parts, ``images`` what happens to pixels before any
network, ``encoders`` the image encoders. No noise schedule and no codec is known here.
"""
