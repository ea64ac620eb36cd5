# SPDX-License-Identifier: Apache-2.0
"""Training: data, learners, checkpoints, float twins."""
