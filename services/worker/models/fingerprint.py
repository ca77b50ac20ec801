"""One short name for everything that decides which tokens a loaded model gives.

Owns what goes into it, so that two workers with equal fingerprints may continue each other's
streams. The engine adds its own numerics (quantisation, kernels) where it has any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

_SAMPLES = 64
_SAMPLE_BYTES = 4096


def fingerprint(weight_files: Iterable[Path], texts: Iterable[str]) -> str:
    """Return `fp_` and 32 hexadecimal digits over the weights and `texts`, in their order.

    Of each weight file it takes the size and 64 samples of 4 KiB spread over it, the header
    first: equal for copies on two hosts, unequal for two trainings of one model, and quick for
    files of many gigabytes. It is an identity, no proof against a forger.
    """
    digest = hashlib.sha256()
    for file in weight_files:
        for part in _samples(file):
            digest.update(part)
    for text in texts:
        content = text.encode()
        digest.update(f"{len(content)}:".encode() + content)
    return "fp_" + digest.hexdigest()[:32]


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield f"{file.name}:{size}:".encode()
    with file.open("rb") as stream:
        for sample in range(_SAMPLES):
            stream.seek(max(size - _SAMPLE_BYTES, 0) * sample // (_SAMPLES - 1))
            yield stream.read(_SAMPLE_BYTES)
