# SPDX-License-Identifier: Apache-2.0
"""Small random graphs that infer, and what they give, computed window by window in plain numpy."""

import numpy as np

from phasecore.models.compiler.graph import INPUT, Graph, GraphLayer, Pool
from phasecore.models.compiler.tile import split_columns
from phasecore.models.compiler.windows import LayerInput
from phasecore.models.golden.core import Core
from phasecore.models.golden.device import IDEAL
from phasecore.models.golden.post_processing import SIGMOID, TANH
from phasecore.rtl.spec.core import DEFAULT
from phasecore.rtl.spec.instructions import Function, Opcode, Segment, encode

CORE = DEFAULT.replace(
    rows=32, cols=32, post_lanes=16, update_lanes=16, devices_per_polarity=1, slots=16, objects=8,
    routes=8, vector_words=128,
)  # fmt: skip


def layer(
    rng, name, source, outputs, *, function=Function.RELU, pool=Pool.NONE, skip=None, parts=1,
    joined=(), gaps=(), **reads,
):  # fmt: skip
    """A layer with random weights; those between channels of two of ``parts`` are 0, and those of
    channels in ``gaps``."""
    found = LayerInput(**reads)
    weights = rng.normal(0, 1, (found.matrix_rows, outputs)) * np.sqrt(parts / found.matrix_rows)
    part = np.arange(found.matrix_rows) % found.channels * parts // found.channels
    weights[part[:, np.newaxis] != np.arange(outputs) * parts // outputs] = 0
    weights.reshape(-1, found.channels, outputs)[:, list(gaps)] = 0
    return GraphLayer(
        name=name, source=source, reads=found, weights=weights, bias=rng.normal(0, 0.1, outputs),
        function=function, pool=pool, skip=skip, parts=parts, joined=joined,
    )  # fmt: skip


def pool(name, source, **reads):
    """A layer without weights, which takes the largest of windows."""
    return GraphLayer.pooling(name, source, LayerInput(**reads, largest=True))


def residual(rng, side=6):
    """Two branches from one tensor, of three layers in two row tiles, and of a projection."""
    half = -(-side // 2)
    frame = {"height": side, "width": side, "channels": 4}
    small = {"height": half, "width": half, "channels": 6}
    layers = (
        layer(rng, "stem", INPUT, 4, height=side, width=side, channels=2, kernel=(3, 3),
              padding=(1, 1, 1, 1), packed=True),
        layer(rng, "down", "stem", 6, **frame, kernel=(3, 3), stride=(2, 2),
              padding=(0, 0, 1, 1) if side % 2 == 0 else (1, 1, 1, 1)),
        layer(rng, "side", "stem", 6, **frame, stride=(2, 2), function=Function.IDENTITY),
        layer(rng, "sum", "down", 6, **small, kernel=(3, 3), padding=(1, 1, 1, 1), skip="side"),
    )  # fmt: skip
    return Graph(name="residual", dataset="none", shape=(side, side, 2), layers=layers)


def tiny_residual(rng):
    """Likewise for five cores of the tiny chip."""
    frame = {"height": 4, "width": 4, "channels": 2}
    layers = (
        layer(rng, "stem", INPUT, 2, height=4, width=4, channels=1, kernel=(3, 3),
              padding=(1, 1, 1, 1), packed=True),
        layer(rng, "down", "stem", 2, **frame, kernel=(3, 3), stride=(2, 2), padding=(0, 0, 1, 1)),
        layer(rng, "side", "stem", 3, **frame, stride=(2, 2), function=Function.IDENTITY),
        layer(rng, "sum", "down", 3, height=2, width=2, channels=2, kernel=(2, 2),
              padding=(0, 0, 1, 1), skip="side"),
    )  # fmt: skip
    return Graph(name="tiny", dataset="none", shape=(4, 4, 1), layers=layers)


def pooled(rng, pool=Pool.LARGEST, function=Function.RELU, outputs=4):
    """A pooled convolution whose last positions are left out, and a fully connected layer."""
    block = (3, 2) if pool is Pool.LARGEST else (2, 2)
    first = layer(
        rng, "first", INPUT, outputs, height=8, width=8, channels=1, kernel=(3, 3), packed=True,
        block=block, pool=pool, function=function,
    )  # fmt: skip
    rows, cols = first.reads.iterations
    last = layer(
        rng, "last", "first", 5, height=rows, width=cols, channels=outputs, kernel=(rows, cols),
        function=Function.IDENTITY,
    )  # fmt: skip
    return Graph(name="pooled", dataset="none", shape=(8, 8, 1), layers=(first, last))


def means(rng, function=Function.RELU, outputs=5):
    """A mean of blocks of 2 by 3, of which no power of two is a part, and one of a frame, whose
    layer has a residual."""
    stem = layer(
        rng, "stem", INPUT, 4, height=8, width=8, channels=1, kernel=(3, 3), packed=True,
        block=(2, 3), pool=Pool.MEAN, function=function,
    )  # fmt: skip
    frame = {"height": 3, "width": 2, "channels": 4}
    layers = (
        stem,
        layer(rng, "side", "stem", outputs, **frame, function=Function.IDENTITY),
        layer(rng, "sum", "stem", outputs, **frame, kernel=(3, 3), padding=(1, 1, 1, 1),
              skip="side", pool=Pool.FRAME, function=function),
        layer(rng, "last", "sum", 5, height=1, width=1, channels=outputs,
              function=Function.IDENTITY),
    )  # fmt: skip
    return Graph(name="means", dataset="none", shape=(8, 8, 1), layers=layers)


def depthwise(rng):
    """Kernels by channel, then by pair of channels, in two row tiles each; a mean of the frame."""
    frame = {"height": 5, "width": 5, "channels": 4, "kernel": (3, 3), "padding": (1, 1, 1, 1)}
    layers = (
        layer(rng, "each", INPUT, 4, **frame, parts=4),
        layer(rng, "pairs", "each", 6, **frame, parts=2, pool=Pool.FRAME),
        layer(rng, "last", "pairs", 3, height=1, width=1, channels=6, function=Function.IDENTITY),
    )  # fmt: skip
    return Graph(name="depthwise", dataset="none", shape=(5, 5, 4), layers=layers)


def wide(rng, config=CORE):
    """Kernels by channel on two cores, more columns than a core has, read in one vector and in two,
    and a residual of them."""
    frame = {"height": 4, "width": 4}
    layers = (
        layer(rng, "each", INPUT, 24, **frame, channels=24, kernel=(2, 1), padding=(1, 0, 0, 0),
              parts=24),
        layer(rng, "wide", "each", 40, **frame, channels=24, function=Function.IDENTITY),
        layer(rng, "sum", "wide", 40, **frame, channels=40, kernel=(1, 2), padding=(0, 1, 0, 0),
              skip="wide"),
        layer(rng, "last", "sum", 5, **frame, channels=40, pool=Pool.FRAME),
    )  # fmt: skip
    graph = Graph(name="wide", dataset="none", shape=(4, 4, 24), layers=layers)
    return split_columns(graph, config)


def joined(rng, side=5):
    """Branches of different reach that meet in one vector, of which one comes from the input, and
    one is of several vectors at different lines; a residual of branches, too."""
    frame = {"height": side, "width": side}
    around = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    layers = (
        layer(rng, "near", INPUT, 3, **frame, channels=2),
        layer(rng, "far", INPUT, 6, **frame, channels=2, **around, function=Function.TANH),
        layer(rng, "both", "near", 4, joined=("far",), **frame, channels=14, kernel=(2, 2),
              padding=(0, 0, 1, 1), gaps=range(3, 8)),
        layer(rng, "all", "far", 5, joined=("near", "both"), **frame, channels=20, skip="wide",
              gaps=(6, 7, *range(11, 16)), function=Function.IDENTITY),
        layer(rng, "last", "all", 4, joined=(INPUT,), **frame, channels=10, pool=Pool.FRAME,
              gaps=range(5, 8)),
    )  # fmt: skip
    wide = layer(rng, "wide", "near", 5, **frame, channels=3, **around)
    layers = (*layers[:3], wide, *layers[3:])
    return Graph(name="joined", dataset="none", shape=(side, side, 2), layers=layers)


def pools(rng, config=CORE):
    """Windows of pooling that overlap, of values below 0, too: read by two layers, side by side
    with another layer, and as the only pixel of a layer's windows; more outputs than columns."""
    frame = {"height": 5, "width": 5}
    around = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    layers = (
        layer(rng, "stem", INPUT, 6, height=9, width=9, channels=1, **around, packed=True,
              function=Function.TANH),
        pool("pool", "stem", height=9, width=9, channels=6, **around, stride=(2, 2)),
        layer(rng, "near", "pool", 5, **frame, channels=6, function=Function.TANH),
        layer(rng, "far", "pool", 7, **frame, channels=6, **around),
        pool("most", "near", **frame, channels=5, **around),
        layer(rng, "both", "far", 40, joined=("most",), **frame, channels=13, **around,
              largest=True, gaps=(7,), function=Function.IDENTITY),
    )  # fmt: skip
    graph = Graph(name="pools", dataset="none", shape=(9, 9, 1), layers=layers)
    return split_columns(graph, config)


def wide_mean(rng, config=CORE):
    """The mean of a frame of more columns than lines behind them, apart; negative ones, too."""
    frame = {"height": 3, "width": 4, "channels": 4}
    layers = (
        layer(rng, "side", INPUT, 24, **frame, function=Function.IDENTITY),
        layer(rng, "sum", INPUT, 24, **frame, skip="side", pool=Pool.FRAME, function=Function.TANH),
        layer(rng, "last", "sum", 36, height=1, width=1, channels=24, function=Function.IDENTITY),
    )  # fmt: skip
    graph = Graph(name="wide-mean", dataset="none", shape=(3, 4, 4), layers=layers)
    return split_columns(graph, config)


def tiny_pools(rng):
    """Two windows that overlap, for five cores of the tiny chip; the output is of two layers."""
    around = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    layers = (
        layer(rng, "stem", INPUT, 2, height=4, width=4, channels=1, **around, packed=True,
              function=Function.TANH),
        pool("pool", "stem", height=4, width=4, channels=2, **around, stride=(2, 2)),
        layer(rng, "near", "pool", 3, height=2, width=2, channels=2),
        layer(rng, "far", "pool", 3, height=2, width=2, channels=2, kernel=(2, 2),
              padding=(0, 0, 1, 1), largest=True),
    )  # fmt: skip
    return Graph(
        name="tiny-pools", dataset="none", shape=(4, 4, 1), layers=layers, ends=("near", "far")
    )


def reach(rng, side=7):
    """Two branches, one of which is three rows late, side by side and as residuals of each other.

    A ring that held what windows need alone would stop them.
    """
    frame = {"height": side, "width": side}
    layers = (
        layer(rng, "stem", INPUT, 1, **frame, channels=1, function=Function.IDENTITY),
        layer(rng, "fast", "stem", 3, **frame, channels=1, function=Function.IDENTITY),
        layer(rng, "slow", "stem", 3, **frame, channels=1, kernel=(5, 5), padding=(2, 2, 2, 2)),
        layer(rng, "both", "fast", 4, joined=("slow",), **frame, channels=11, gaps=range(3, 8)),
        layer(rng, "sum", "slow", 3, **frame, channels=3, skip="fast"),
        layer(rng, "other", "fast", 3, **frame, channels=3, skip="slow"),
        layer(
            rng,
            "last",
            "both",
            3,
            joined=("sum", "other"),
            **frame,
            channels=19,
            gaps=(*range(4, 8), *range(11, 16)),
        ),
    )
    return Graph(name="reach", dataset="none", shape=(side, side, 1), layers=layers)


def tiny_joined(rng):
    """Two branches that meet in one vector, for five cores of the tiny chip."""
    frame = {"height": 4, "width": 4}
    layers = (
        layer(rng, "near", INPUT, 3, **frame, channels=1),
        layer(rng, "far", INPUT, 2, **frame, channels=1, kernel=(3, 3), padding=(1, 1, 1, 1)),
        layer(rng, "both", "near", 3, joined=("far",), **frame, channels=10, kernel=(2, 1),
              gaps=range(3, 8)),
    )  # fmt: skip
    return Graph(name="tiny-joined", dataset="none", shape=(4, 4, 1), layers=layers)


def tiny_dense(rng):
    """Two fully connected layers."""
    layers = (
        layer(rng, "first", INPUT, 3, height=1, width=1, channels=4),
        layer(rng, "last", "first", 2, height=1, width=1, channels=3, function=Function.IDENTITY),
    )
    return Graph(name="tiny-dense", dataset="none", shape=(1, 1, 4), layers=layers)


def tiny_depthwise(rng):
    """Kernels by channel, a residual and a mean of the frame, for five cores of the tiny chip."""
    frame = {"height": 4, "width": 4, "channels": 2}
    layers = (
        layer(rng, "each", INPUT, 2, **frame, kernel=(3, 3), padding=(1, 1, 1, 1), parts=2),
        layer(rng, "side", "each", 3, **frame, function=Function.IDENTITY),
        layer(rng, "sum", "each", 3, **frame, skip="side", pool=Pool.FRAME),
        layer(rng, "last", "sum", 4, height=1, width=1, channels=3, function=Function.IDENTITY),
    )  # fmt: skip
    return Graph(name="tiny-depthwise", dataset="none", shape=(4, 4, 2), layers=layers)


def naive(graph, layers, weights, images, config=CORE):
    """Output codes of every image, shape (images, codes), of cores of one configuration.

    ``weights`` are conductances by layer; only counts of converters are a core's, an ideal one's.
    """
    converters = [
        [
            _Converter(
                config,
                (matrix[_rows(one.layer, tile)] * tile.share).astype(np.int64),
                tile.lsb_log2,
            )
            for tile in one.tiles
            if not one.layer.only_pools
        ]
        for one, matrix in zip(layers, weights, strict=True)
    ]
    found = []
    for image in images:
        tensors = {INPUT: image.astype(np.int64)}
        for one, tiles in zip(layers, converters, strict=True):
            tensors[one.layer.name] = _layer(one, tiles, tensors)
        ends = [tensors[end.name].reshape(-1, end.outputs) for end in graph.results]
        found.append(np.concatenate(ends, axis=1).reshape(-1))
    return np.stack(found)


def _rows(layer, tile):
    """Rows of a tile in the layer's matrix."""
    matrix = np.arange(layer.reads.matrix_rows).reshape(-1, layer.reads.channels)
    own = matrix[:, tile.channels.start : tile.channels.stop].reshape(-1)
    return own[tile.rows.start : tile.rows.stop]


def _layer(one, converters, tensors):
    reads = one.layer.reads
    top, left, bottom, right = reads.padding
    frame = np.zeros((reads.height, reads.width, 0), dtype=np.int64)
    for tensor in one.layer.sources:
        frame = np.pad(frame, ((0, 0), (0, 0), (0, -frame.shape[2] % 8)))
        part = tensors[tensor].reshape(reads.height, reads.width, -1)
        frame = np.concatenate([frame, part], axis=2)
    outside = -128 if reads.largest else 0
    frame = np.pad(frame, ((top, bottom), (left, right), (0, 0)), constant_values=outside)
    positions = np.zeros((*reads.positions, one.layer.columns), dtype=np.int64)
    for row, col in np.ndindex(reads.positions):
        y, x = row * reads.stride[0], col * reads.stride[1]
        window = frame[y : y + reads.kernel[0], x : x + reads.kernel[1]]
        window = window.max((0, 1)) if reads.largest else window.reshape(-1)
        if one.layer.only_pools:
            positions[row, col] = window
            continue
        # Partial sums travel in units of 64.
        sums = 0
        for number, (tile, converter) in enumerate(zip(one.tiles, converters, strict=True)):
            part = _rows(one.layer, tile)
            sums = sums + converter(window[part]) * tile.scale + tile.offset * 64
            if number + 1 < len(one.tiles):
                sums = np.rint(sums / 64).astype(np.int64) * 64
        sums = sums + one.bias_codes * one.bias_scale
        if one.layer.skip:
            other = tensors[one.layer.skip].reshape(*reads.positions, -1)
            sums = sums + other[row, col] * one.skip_scale
        index = np.rint(sums / 2**one.shift).astype(np.int64)
        positions[row, col] = _activation(index, one.layer.function)
    return _pooled(one, positions)


def _activation(index, function):
    if function in (Function.TANH, Function.SIGMOID):
        table = TANH if function is Function.TANH else SIGMOID
        return table[index.clip(-255, 255) + 255]
    low = 0 if function is Function.RELU else -127
    return index.clip(low, 127)


def _pooled(one, positions):
    layer = one.layer
    rows, cols = layer.reads.iterations
    high, wide = layer.reads.block
    if layer.pool is Pool.FRAME:
        (rows, cols), (high, wide) = (1, 1), (rows, cols)
    found = []
    for row, col in np.ndindex(rows, cols):
        block = positions[row * high : (row + 1) * high, col * wide : (col + 1) * wide]
        block = block.reshape(-1, layer.outputs)
        mean = np.rint(block.sum(axis=0) * one.pool_scale / 2**one.pool_shift)
        mean = mean.clip(-127, 127).astype(np.int64)
        found.append(mean if layer.pool in (Pool.MEAN, Pool.FRAME) else block.max(axis=0))
    return np.concatenate(found)


class _Converter:
    """Codes of a tile's converters, of a core that does nothing else and has one copy."""

    def __init__(self, config, weights, lsb):
        rows, self.cols = weights.shape
        config = config.replace(devices_per_polarity=1, g_bits=14, sum_words=0)
        self.core = core = Core(config.replace(objects=0, routes=0, vector_words=0), IDEAL, 1)
        core.crossbar.conductance[:] = 0
        core.crossbar.conductance[:rows, : self.cols, 0, 0] = np.maximum(weights, 0)
        core.crossbar.conductance[:rows, : self.cols, 1, 0] = np.maximum(-weights, 0)
        core.crossbar.refresh_weights()
        core.segments[0] = Segment(
            row_start=0, row_count=rows, col_start=0, col_count=self.cols, forward_lsb_log2=lsb
        )
        core.post.scales[0], core.post.offsets[0] = 128, 0
        core.run([encode(Opcode.CALIBRATE), encode(Opcode.HALT)])

    def __call__(self, window):
        self.core.slots[0, : len(window)] = window
        names = ("axis", "from_slot", "slot", "accumulate", "table", "destination_line")
        self.core.run([
            encode(Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3),
            encode(Opcode.ACTIVATE, segment=0, function=Function.IDENTITY, shift=7, affine=1,
                   destination=1, **dict.fromkeys(names, 0)),
            encode(Opcode.HALT),
        ])  # fmt: skip
        return self.core.slots[1, : self.cols].astype(np.int64)
