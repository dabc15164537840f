"""Files as the TF Object Detection API and its zoo write them, for tests of their readers."""

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from models.networks.ssd import EXTRA_MAPS
from models.weights.unfolding import with_epsilon

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def scopes(depth: float) -> dict[str, str]:
    """The API's scope of each of our layers."""
    extractor = "FeatureExtractor/MobilenetV1"
    names = {"conv1": f"{extractor}/Conv2d_0"}
    for block in range(1, 14):
        for ours, theirs in (("dw", "depthwise"), ("pw", "pointwise")):
            names[f"conv_{ours}_{block}"] = f"{extractor}/Conv2d_{block}_{theirs}"
    for index, filters in enumerate(EXTRA_MAPS, start=2):
        filters = max(int(filters * depth), 16)
        squeezed = max(filters // 2, 16)
        extra = f"{extractor}/Conv2d_13_pointwise"
        names[f"map_{index}_squeeze"] = f"{extra}_1_Conv2d_{index}_1x1_{squeezed}"
        names[f"map_{index}"] = f"{extra}_2_Conv2d_{index}_3x3_s2_{filters}"
    for index in range(6):
        names[f"box_head_{index}"] = f"BoxPredictor_{index}/BoxEncodingPredictor"
        names[f"class_head_{index}"] = f"BoxPredictor_{index}/ClassPredictor"
    return names


def pyramid_scopes(config) -> dict[str, str]:
    """The API's scope of each of our layers and batch norms, for the families with a pyramid.

    Counted and named as in a published converter of the zoo's ssd_resnet50_v1_fpn checkpoint: 265
    variables of the backbone, 26 of the pyramid, 172 of the predictor.
    """
    if config.family == "ssd_fpn":
        extractor = "FeatureExtractor/MobilenetV1"
        names = {ours: scope for ours, scope in scopes(1.0).items() if ours.startswith("conv")}
        coarse = {6: "bottom_up_Conv2d_14", 7: "bottom_up_Conv2d_15"}
    else:
        extractor = "FeatureExtractor/resnet_v1_50"
        names = {"conv1": f"{extractor}/conv1"}
        for stage, units in ((2, 3), (3, 4), (4, 6), (5, 3)):
            for unit in range(1, units + 1):
                theirs = f"{extractor}/block{stage - 1}/unit_{unit}/bottleneck_v1"
                for index, name in enumerate(("shortcut", "conv1", "conv2", "conv3")):
                    if unit == 1 or index:
                        names[f"conv{stage}_block{unit}_{index}"] = f"{theirs}/{name}"
        coarse = {6: "bottom_up_block5", 7: "bottom_up_block6"}
    first, last = config.pyramid.min_level, config.pyramid.max_level
    for number, level in enumerate(range(first, 6), start=1):
        names[f"projection_level_{level}"] = f"{extractor}/fpn/projection_{number}"
        if level < 5:
            names[f"smoothing_level_{level}"] = f"{extractor}/fpn/smoothing_{number}"
    for level in range(6, last + 1):
        names[f"bottom_up_level_{level}"] = f"{extractor}/fpn/{coarse[level]}"
    for ours, theirs in (("box", "Box"), ("class", "Class")):
        predictor = f"WeightSharedConvolutionalBoxPredictor/{theirs}"
        for index in range(config.pyramid.head_layers):
            scope = f"{predictor}PredictionTower/conv2d_{index}"
            names[f"{ours}_tower_{index}"] = scope
            for feature, level in enumerate(range(first, last + 1)):
                batch_norm = f"{ours}_tower_{index}_level_{level}_bn"
                names[batch_norm] = f"{scope}/BatchNorm/feature_{feature}"
        names[f"{ours}_head"] = f"{predictor}Predictor"
    return names


def pyramid_variables_of(network, config) -> dict[str, np.ndarray]:
    """A float network's weights as the variables of a zoo checkpoint with a feature pyramid."""
    variables = {"global_step": np.int64(25_000)}
    layers = {layer.name: layer.get_weights() for layer in network.layers}
    if config.family == "retinanet":
        # The same function with the epsilon of TF-Slim's ResNet.
        layers |= {
            name: with_epsilon(values, config.bn_epsilon, 1e-5)
            for name, values in layers.items()
            if name.startswith("conv") and name.endswith("_bn")
        }
    for layer, scope in pyramid_scopes(config).items():
        if layer.endswith("_bn"):
            names = (f"{scope}/{statistic}" for statistic in BATCH_NORM)
            variables |= dict(zip(names, layers[layer], strict=True))
            continue
        kernel, *bias = layers[layer]
        if layer == "class_head":
            kernel, *bias = (with_background(a, config.num_classes) for a in (kernel, *bias))
        name = "depthwise_weights" if "_dw_" in layer else "weights"
        variables[f"{scope}/{name}"] = kernel
        if bias:
            variables[f"{scope}/biases"] = bias[0]
        elif f"{layer}_bn" in layers:
            names = (f"{scope}/BatchNorm/{statistic}" for statistic in BATCH_NORM)
            variables |= dict(zip(names, layers[f"{layer}_bn"], strict=True))
    return variables


def with_background(array: np.ndarray, num_classes: int) -> np.ndarray:
    """[..., A * C] -> [..., A * (1 + C)], with a column that must not be taken for a class."""
    split = array.reshape(*array.shape[:-1], -1, num_classes)
    background = np.full_like(split[..., :1], 7.0)
    return np.concatenate([background, split], axis=-1).reshape(*array.shape[:-1], -1)


def variables_of(network, config) -> dict[str, np.ndarray]:
    """A float network's weights as the variables of a zoo checkpoint, quantization-aware as the
    zoo's `ssd_mobilenet_v1_0.75_depth_quantized_300x300_coco14_sync_2018_07_18`: 388 of them."""
    variables = {"global_step": np.int64(7)}
    for layer, scope in scopes(config.depth_multiplier).items():
        kernel, *bias = network.get_layer(layer).get_weights()
        if "class" in layer:
            kernel, *bias = (with_background(a, config.num_classes) for a in (kernel, *bias))
        name = "depthwise_weights" if "_dw_" in layer else "weights"
        variables[f"{scope}/{name}"] = kernel
        if bias:
            variables[f"{scope}/biases"] = bias[0]
        else:
            values = network.get_layer(f"{layer}_bn").get_weights()
            names = (f"{scope}/BatchNorm/{statistic}" for statistic in BATCH_NORM)
            variables |= dict(zip(names, values, strict=True))
        # The graph of the backbone has its scope twice.
        ranges = scope if "_Conv2d_" in scope else scope.replace("V1/", "V1/MobilenetV1/")
        for kind in ("act_quant", "weights_quant"):
            variables |= {f"{ranges}/{kind}/{end}": np.float32(0) for end in ("min", "max")}
    return variables


def write_checkpoint(prefix: str, variables: dict[str, np.ndarray]) -> str:
    """Writes a TF1 checkpoint: PREFIX.index and its data."""
    tensors = [tf.constant(value) for value in variables.values()]
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=tensors,
    )
    return prefix


def folded(network, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution with its batch norm folded into them."""
    kernel, *bias = network.get_layer(layer).get_weights()
    if bias:
        return kernel, bias[0]
    batch_norm = network.get_layer(f"{layer}_bn")
    gamma, beta, mean, variance = batch_norm.get_weights()
    factor = gamma / np.sqrt(variance + batch_norm.epsilon)
    return kernel * (factor[:, None] if "_dw_" in layer else factor), beta - mean * factor


def tflite_of(network, config, *, quantized: bool, anchors: np.ndarray | None = None) -> bytes:
    """A network as the API exports it: names, layouts, background, anchors. It can't be run."""
    file = _File(quantized)
    size = config.input_size
    image = file.tensor("normalized_input_image_tensor", (1, size, size, 3))
    for layer, scope in scopes(config.depth_multiplier).items():
        kernel, bias = folded(network, layer)
        if "class" in layer:
            kernel, bias = (with_background(a, config.num_classes) for a in (kernel, bias))
        if "_Conv2d_" not in scope:
            scope = scope.replace("V1/", "V1/MobilenetV1/")
        weights = f"{scope}/weights_quant/FakeQuantWithMinMaxVars"
        inputs = [
            image,
            # To [1, h, w, C] and [out, h, w, in].
            file.constant(weights, kernel.transpose(3, 0, 1, 2)),
            file.constant(f"{scope}/Conv2D_bias", bias, bits=32),
        ]
        output = "BiasAdd" if "head" in layer else "Relu6"
        outputs = [file.tensor(f"{scope}/{output}", (1, 1, 1, len(bias)))]
        depthwise = "_dw_" in layer
        op = schema.BuiltinOperator.DEPTHWISE_CONV_2D if depthwise else None
        file.operator(schema.BuiltinOperator.CONV_2D if op is None else op, inputs, outputs)
    values = config.anchors if anchors is None else anchors
    anchor_tensor = file.constant("anchors", values)
    raw = [file.tensor(name, (1, len(values), 4)) for name in ("Squeeze", "convert_scores")]
    file.operator(
        schema.BuiltinOperator.CUSTOM,
        [*raw, anchor_tensor],
        [file.tensor("TFLite_Detection_PostProcess", ())],
        b"TFLite_Detection_PostProcess",
    )
    return file.content([image])


class _File:
    """A flatbuffer under construction."""

    def __init__(self, quantized: bool):
        self.quantized = quantized
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.buffers = [schema.BufferT()]
        self.codes = []

    def tensor(self, name: str, shape: tuple, dtype=schema.TensorType.FLOAT32) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), dtype, 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: np.ndarray, bits: int = 8) -> int:
        buffer = schema.BufferT()
        dtype, data, quantization = schema.TensorType.FLOAT32, values.astype("<f4"), None
        if self.quantized:
            quantization = schema.QuantizationParametersT()
            low, high = min(values.min(), 0.0), max(values.max(), 0.0)
            # A range of 0 can't be divided by.
            scale = np.float32((high - low) / 255 if bits == 8 else 1e-5) or np.float32(1)
            zero_point = round(float(-low / scale)) if bits == 8 else 0
            quantization.scale, quantization.zeroPoint = [float(scale)], [zero_point]
            data = np.round(values / scale) + zero_point
            dtype = schema.TensorType.UINT8 if bits == 8 else schema.TensorType.INT32
            data = np.clip(data, 0, 255).astype("u1") if bits == 8 else data.astype("<i4")
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.buffers.append(buffer)
        index = self.tensor(name, values.shape, dtype)
        self.graph.tensors[index].buffer = len(self.buffers) - 1
        self.graph.tensors[index].quantization = quantization
        return index

    def operator(self, builtin: int, inputs: list, outputs: list, custom: bytes | None = None):
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = builtin, min(builtin, 127)
        code.customCode = custom
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes)
        operator.inputs, operator.outputs = inputs, outputs
        self.codes.append(code)
        self.graph.operators.append(operator)

    def content(self, inputs: list) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, []
        model = schema.ModelT()
        model.version, model.subgraphs = 3, [self.graph]
        model.buffers, model.operatorCodes = self.buffers, self.codes
        builder = Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
