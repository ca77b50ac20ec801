"""Weights in fewer bytes: quantised tensors, and Linears that compute with them."""

from shared.compression.compress_module import LayerReport, compress_module
from shared.compression.groupwise import CompressedTensor, CompressionConfig, compress, decompress
from shared.compression.multiplication import Multiplication
from shared.compression.packed_linear import PackedLinear
from shared.compression.products import finished
from shared.compression.scheme import Scheme
from shared.compression.weight_errors import errors_by_form

__all__ = [
    "CompressedTensor",
    "CompressionConfig",
    "LayerReport",
    "Multiplication",
    "PackedLinear",
    "Scheme",
    "compress",
    "compress_module",
    "decompress",
    "errors_by_form",
    "finished",
]
