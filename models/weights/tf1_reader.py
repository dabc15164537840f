"""A process of its own that reads a TF1 checkpoint into a .npz file.

    python -m models.weights.tf1_reader PREFIX FILE.npz

Imports nothing of ours: it is started for each checkpoint.
"""

import json
import re
import sys

import numpy as np

# Variables that are no weights, and why they are left out.
NO_WEIGHTS = (
    (r".*_quant/.*", "a range of quantization: training here finds its own"),
    (r".*/(biased|local_step)", "a range of quantization: training here finds its own"),
    (r".*/(Momentum|RMSProp(_1)?|Adam(_1)?)", "state of its optimizer"),
    (r".*/ExponentialMovingAverage", "an average: the variable itself is loaded"),
    (r"global_step|.*beta[12]_power|learning_rate", "a counter of its training"),
)


def dump(prefix: str, out: str) -> None:
    """Writes `index`, JSON of name and shape by key, and the float32 arrays by key."""
    from tensorflow.train import load_checkpoint

    reader = load_checkpoint(prefix)
    dtypes = reader.get_variable_to_dtype_map()
    index, arrays = {}, {}
    for number, (name, shape) in enumerate(reader.get_variable_to_shape_map().items()):
        index[str(number)] = [name, shape]
        unwanted = any(re.fullmatch(pattern, name) for pattern, _ in NO_WEIGHTS)
        if not unwanted and dtypes[name].name == "float32":
            arrays[str(number)] = reader.get_tensor(name)
    np.savez(out, index=np.array(json.dumps(index)), **arrays)


if __name__ == "__main__":
    dump(*sys.argv[1:])
