# SPDX-License-Identifier: Apache-2.0
"""A device model of one's own: a profile is a dataclass of physical quantities.

Here a device whose pulses are twice as coarse and spread more, beside the published one. The same
fields in a JSON file are `phasecore train --profile FILE`.
"""

from dataclasses import replace
from pathlib import Path

import phasecore

pcm = phasecore.PROFILES["pcm"]
coarse = replace(
    pcm,
    name="coarse",
    set_mean=2 * pcm.set_mean,  # uS per SET pulse
    set_sd=2 * pcm.set_sd,
    stuck_high=0.01,  # one device in a hundred conducts all it can, whatever one does
)
Path("coarse.json").write_text(coarse.to_json(), encoding="utf-8")

for profile in (pcm, coarse):
    result = phasecore.train("mlp-64-50-10", profile=profile, epochs=2)
    print(f"{profile.name:<8}{result.accuracy_model:.1%}")
