# SPDX-License-Identifier: Apache-2.0
"""The cycle model: how long a compiled program takes, without simulating the RTL.

    prediction = predict(program, config, Memory(bytes_per_cycle=4, latency=100))

It walks the program as the engine does, see ``docs/model.md``. It knows nothing of networks and of
the planner: only the program, the build's parameters and the memory.
"""

from unzipfpga.model.errors import ModelError
from unzipfpga.model.prediction import LayerPrediction, Prediction, predict
from unzipfpga.model.timing import Timing

__all__ = ["LayerPrediction", "ModelError", "Prediction", "Timing", "predict"]
