"""A small call to another service of the fleet: a POST, its whole answer, within a few seconds.

Owns the bounds of time and size. What is asked is the caller's affair.
"""

from __future__ import annotations

import asyncio

from services.controller.upstream.origin import Origin, header_block
from services.controller.upstream.pool import UpstreamPool
from shared.errors import UpstreamFailed, UpstreamTimeout

SECONDS = 3.0
MAX_ANSWER_BYTES = 64 * 1024


async def internal_post(
    pool: UpstreamPool, origin: Origin, path: str, headers: dict[str, str], body: bytes = b""
) -> int:
    """Return the status of the answer.

    Raises:
        UpstreamFailed: no connection, or it broke off. UpstreamTimeout: it took too long.
    """
    try:
        async with asyncio.timeout(SECONDS):
            connection = await pool.request(origin, path, header_block(headers.items()), body)
            complete = False
            try:
                left = MAX_ANSWER_BYTES
                while piece := await connection.read():
                    left -= len(piece)
                    if left < 0:
                        msg = "The service's answer has no end."
                        raise UpstreamFailed(msg)
                complete = True
            finally:
                connection.release(complete=complete)
    except TimeoutError:
        msg = f"The service did not answer within {SECONDS:g} seconds."
        raise UpstreamTimeout(msg) from None
    return connection.status
