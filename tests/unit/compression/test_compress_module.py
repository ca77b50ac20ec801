import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from shared.compression import PackedLinear, Scheme, compress_module, errors_by_form
from shared.errors import ConfigurationError

pytestmark = pytest.mark.torch

INT8 = Scheme("int8")


class Scaled(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, x):
        return 2 * super().forward(x)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(96, 64)
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(64, 48), nn.GELU(), nn.Linear(48, 64)) for _ in range(2)]
        )
        self.odd = Scaled(64, 64)
        self.old = Conv1D(80, 64)
        self.head = nn.Linear(64, 96, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(self.odd(x)), self.old(x)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model().eval()


def test_every_linear_is_replaced_wherever_it_stands(model):
    ids = torch.arange(8).view(2, 4)
    with torch.no_grad():
        before = model(ids)
        reports = compress_module(model, INT8)
        after = model(ids)
    packed = {name for name, part in model.named_modules() if isinstance(part, PackedLinear)}
    assert packed == {"layers.0.0", "layers.0.2", "layers.1.0", "layers.1.2", "old"}
    for exact, result in zip(before, after, strict=True):
        assert float((result - exact).norm() / exact.norm()) < 0.02
    assert isinstance(model.odd, Scaled)
    assert {report.name for report in reports} == packed | {"head"}


def test_the_report_tells_shape_bytes_and_error(model):
    reports = {report.name: report for report in compress_module(model, INT8)}
    first = reports["layers.0.0"]
    assert first.shape == (48, 64)
    assert first.bytes_before == 48 * 64 * 4
    assert first.bytes_after == 48 * 64 + 48 * 4
    assert 0.001 < first.relative_error < 0.01
    assert first.kernel == "blocks"
    assert reports["old"].shape == (80, 64)


def test_a_tied_head_is_left_to_its_embedding(model):
    reports = {report.name: report for report in compress_module(model, INT8)}
    assert model.head.weight is model.embed.weight
    assert reports["head"].skipped == "tied"
    assert reports["head"].bytes_after == reports["head"].bytes_before


def test_a_tied_head_is_packed_in_addition_if_asked(model):
    before = model.embed.weight.detach().clone()
    compress_module(model, INT8, pack_tied=True)
    assert isinstance(model.head, PackedLinear)
    assert torch.equal(model.embed.weight, before)


def test_the_skip_list_takes_patterns(model):
    reports = compress_module(model, INT8, skip=("layers.0.*", "old"))
    assert isinstance(model.layers[0][0], nn.Linear)
    assert isinstance(model.layers[1][0], PackedLinear)
    skipped = {report.name for report in reports if report.skipped == "skip list"}
    assert skipped == {"layers.0.0", "layers.0.2", "old"}


def test_one_layer_in_two_places_and_two_with_one_weight_stay_one():
    shared, twin = nn.Linear(32, 32), nn.Linear(32, 32)
    twin.weight = shared.weight
    model = nn.Sequential(shared, shared, twin)
    reports = compress_module(model, INT8)
    assert model[0] is model[1]
    assert model[2] is not model[0]
    assert model[2]._loaded() is model[0]._loaded()
    assert not torch.equal(model[2].bias, model[0].bias)
    assert [report.name for report in reports] == ["0", "2"]


def test_the_model_computes_in_the_dtype_asked_for(model):
    compress_module(model, Scheme("int4", 32), dtype=torch.bfloat16)
    assert model.layers[0][0].dtype == torch.bfloat16


def test_the_state_dict_of_a_packed_model_loads_into_its_like(model):
    compress_module(model, Scheme("int4", 32, symmetric=False))
    other = Model().eval()
    compress_module(other, Scheme("int4", 32, symmetric=False))
    other.load_state_dict(model.state_dict())
    ids = torch.arange(4)
    assert torch.equal(other(ids)[0], model(ids)[0])


def test_a_linear_cannot_replace_itself():
    with pytest.raises(ConfigurationError, match="from_linear"):
        compress_module(nn.Linear(4, 4), INT8)


def test_errors_of_all_forms_are_in_their_order():
    errors = errors_by_form(torch.randn(256, 512))
    assert 0.006 < errors["int8 group 256"] <= 0.0075
    assert errors["int8 group 256"] < errors["int8 per channel"] < 0.011
    assert errors["bf16"] < 0.003
    assert errors["int4 asymmetric group 32"] <= 0.085
    for kind in ("symmetric", "asymmetric"):
        grouped = [errors[f"int4 {kind} group {size}"] for size in (32, 64, 128)]
        assert grouped == sorted(grouped)
    assert errors_by_form(torch.zeros(4, 64))["int8 group 256"] == 0
