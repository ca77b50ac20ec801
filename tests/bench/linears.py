"""Measures the linears of one decode step of the demo model, packed against plain ones.

    python -m tests.bench.linears --repeats 15 --threads 2

Not a test: it gates nothing. Plain is `F.linear` with bf16 weights and activations. The forms take
turns within each repeat, so that what else the machine does meets all of them; medians count.
On a CPU without bf16 instructions bf16 cannot be prepacked, and fp32 activations are measured too,
as the worker computes there in fp32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.compression import PackedLinear, Scheme
from shared.compression.kernels import MemoryBudget

LAYERS, HEAD = 30, (49152, 576)
# (out, in): q, k, v, o, gate, up, down of SmolLM2-135M.
LAYER = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
PLENTY = 1 << 32
TARGETS = {
    ("packed bf16", 1): 0.5,
    ("int8", 1): 0.33,
    ("int4 group 32", 1): 0.25,
    ("packed bf16", 16): 0.65,
}

Step = Callable[[], None]


def weights(layers: int) -> list[Tensor]:
    """Return random bf16 weights of all linears of a step."""
    shapes = [shape for _ in range(layers) for shape in LAYER]
    return [torch.randn(shape).mul_(0.04).bfloat16() for shape in [*shapes, HEAD]]


def plain(matrices: list[Tensor], inputs: dict[int, Tensor]) -> Step:
    """Return a step of `F.linear` calls."""

    def step() -> None:
        for matrix in matrices:
            functional.linear(inputs[matrix.shape[1]], matrix)

    return step


def packed(
    matrices: list[Tensor], inputs: dict[int, Tensor], scheme: Scheme, *, copies: bool = False
) -> tuple[Step, str]:
    """Return a step of packed layers, and the names of their kernels."""
    budget = MemoryBudget(PLENTY if copies else 0)
    dtype = inputs[HEAD[1]].dtype
    layers: list[PackedLinear] = []
    for matrix in matrices:
        linear = nn.Linear(*reversed(matrix.shape), bias=False, device="meta")
        linear.weight = nn.Parameter(matrix, requires_grad=False)
        layers.append(PackedLinear.from_linear(linear, scheme, dtype=dtype, copies=budget))

    def step() -> None:
        for layer in layers:
            layer(inputs[layer.in_features])

    return step, layers[0].kernel


def milliseconds(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Return the median time of each step, one repeat of all after the other."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            before = time.perf_counter()
            step()
            if repeat > 1:  # the first two warm up
                times[name].append((time.perf_counter() - before) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(matrices: list[Tensor], rows: int, dtype: torch.dtype, repeats: int) -> None:
    """Print one table: every form with `rows` rows of activations of `dtype`."""
    inputs = {width: torch.randn(rows, width).to(dtype) for width in (576, 1536)}
    base = {width: tensor.bfloat16() for width, tensor in inputs.items()}
    steps: dict[str, Step] = {"F.linear bf16": plain(matrices, base)}
    kernels = {"F.linear bf16": "linear"}
    if dtype != torch.bfloat16:
        steps["F.linear fp32"] = plain([matrix.float() for matrix in matrices], inputs)
        kernels["F.linear fp32"] = "linear"
    forms = {
        "packed bf16": (Scheme("bf16"), False),
        "int8": (Scheme("int8"), False),
        "int4 group 32": (Scheme("int4", 32), False),
        "int4 + copy": (Scheme("int4", 32), True),
    }
    for name, (scheme, copies) in forms.items():
        steps[name], kernels[name] = packed(matrices, inputs, scheme, copies=copies)
    with torch.inference_mode():
        result = milliseconds(steps, repeats)
    print(f"\nbatch {rows}, activations {dtype}")
    for name, value in result.items():
        target = TARGETS.get((name, rows))
        ratio = value / result["F.linear bf16"]
        wanted = f"  (target {target})" if target else ""
        print(f"  {name:14} {kernels[name]:20} {value:8.2f} ms  {ratio:5.2f}{wanted}")


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--batches", default="1,16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    matrices = weights(arguments.layers)
    for rows in (int(part) for part in arguments.batches.split(",")):
        for dtype in (torch.bfloat16, torch.float32):
            measure(matrices, rows, dtype, arguments.repeats)


if __name__ == "__main__":
    main()
