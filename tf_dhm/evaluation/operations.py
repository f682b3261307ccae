"""Time of every operation of a TFLite file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tf_dhm.core.progress import Progress
from tf_dhm.evaluation.network_cases import random_input
from tf_dhm.evaluation.timing import time_calls
from tf_dhm.runtime.tflite import Network


def profile_operations(path: Path, rounds: int) -> pd.DataFrame:
    """Time of each operation of a TFLite file on one thread.

    No interpreter tells the times of operations within XNNPACK, so the graph is cut after every
    operation, and an operation is given what its graph takes more than the one before. Weights are widened
    from float16 once, when a file is loaded, so that is not timed.

    Args:
        path: of the file; its first signature is timed.
        rounds: turns of every cut graph, of 20 calls each; the fastest 2 % count.

    Returns:
        columns operation, output (shape), us, total_us (up to and with it), in their order.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    model.subgraphs, model.signatureDefs = model.subgraphs[:1], []
    graph = model.subgraphs[0]
    operators = graph.operators
    names = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in operators]
    timed = [number for number, name in enumerate(names) if name != "DEQUANTIZE"]
    calls = []
    for number in timed:
        graph.operators, graph.outputs = operators[: number + 1], operators[number].outputs
        network = Network(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
        details = network.inputs[0]
        network.run(random_input(tuple(details["shape"]), details["dtype"]))
        calls.append(network.interpreter.invoke)
    turns = [
        [time_calls(call, 20) for call in calls] for _ in Progress(range(rounds), path.stem, unit=" rounds")
    ]
    totals = np.percentile(np.concatenate(turns, axis=1), 2, axis=1) * 1e6  # (operations,)
    return pd.DataFrame(
        {
            "operation": [names[number] for number in timed],
            "output": [
                "x".join(map(str, graph.tensors[operators[number].outputs[0]].shape)) for number in timed
            ],
            "us": np.diff(totals, prepend=0.0).round(1),
            "total_us": totals.round(1),
        }
    )
