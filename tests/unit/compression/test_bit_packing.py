import pytest
import torch

from shared.compression.bit_packing import codes_per_byte, pack, unpack

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("bits", "per_byte"), [(2, 4), (3, 2), (4, 2), (5, 1), (8, 1)])
def test_codes_come_back(bits, per_byte):
    codes = torch.randint(0, 2**bits, (7, 24), dtype=torch.uint8)
    packed = pack(codes, bits)
    assert codes_per_byte(bits) == per_byte
    assert packed.shape == (7, 24 // per_byte)
    assert torch.equal(unpack(packed, bits), codes)


def test_the_first_of_two_lies_in_the_high_half():
    assert pack(torch.tensor([[1, 2]], dtype=torch.uint8), 4).tolist() == [[0x12]]
    assert pack(torch.tensor([[0, 1, 2, 3]], dtype=torch.uint8), 2).tolist() == [[0b00011011]]
