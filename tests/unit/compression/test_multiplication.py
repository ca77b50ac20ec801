"""A multiplication computes what its PackedLinear does, in Python and in TorchScript."""

import pytest
import torch
from torch import nn

from shared.compression import PackedLinear, Scheme
from shared.compression.kernels import COPY_FROM_ROWS, MemoryBudget

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated"),
]

INPUTS, OUTPUTS = 96, 64
EPILOGUES = ["", "silu", "add", "mul"]
SCHEMES = [Scheme("bf16"), Scheme("int8"), Scheme("int4", 32), Scheme("int4", 48)]


def packed(scheme, dtype, *, bias=True, budget=0):
    torch.manual_seed(0)
    linear = nn.Linear(INPUTS, OUTPUTS, bias=bias, dtype=dtype)
    return PackedLinear.from_linear(linear, scheme, copies=MemoryBudget(budget))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("budget", [0, 1 << 20])
@torch.inference_mode()
def test_it_is_the_same_in_python_and_in_torchscript(scheme, dtype, bias, budget):
    linear = packed(scheme, dtype, bias=bias, budget=budget)
    multiply = linear.multiplication()
    script = torch.jit.script(multiply) if multiply.compiles else multiply
    for rows in (1, 5, COPY_FROM_ROWS, 40):
        x, other = torch.randn(rows, INPUTS, dtype=dtype), torch.randn(rows, OUTPUTS, dtype=dtype)
        plain = linear(x)
        assert torch.equal(multiply(x), plain)
        for epilogue in EPILOGUES:
            taken = other if epilogue in {"add", "mul"} else None
            product = multiply(x, epilogue, taken)
            assert torch.equal(script(x, epilogue, taken), product)
            assert product.dtype == dtype
            expected = {
                "": plain,
                "silu": nn.functional.silu(plain),
                "add": plain + other,
                "mul": plain * other,
            }[epilogue]
            torch.testing.assert_close(product, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("scheme", [Scheme("bf16"), Scheme("int8"), Scheme("int4")], ids=str)
def test_torchs_own_kernels_compile_and_the_reference_does_not(scheme):
    multiply = packed(scheme, torch.bfloat16).multiplication()
    kernel = packed(scheme, torch.bfloat16).kernel
    assert multiply.compiles == ("blocks" not in kernel and "reference" not in kernel)
    assert not packed(Scheme("int4", 48), torch.bfloat16).multiplication().compiles


def test_rows_that_do_not_lie_together_are_taken():
    multiply = packed(Scheme("bf16"), torch.bfloat16).multiplication()
    x = torch.randn(INPUTS, 7).bfloat16()
    assert torch.equal(multiply(x.t()), multiply(x.t().contiguous()))
