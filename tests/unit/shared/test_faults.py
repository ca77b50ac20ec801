"""What a failure adds to its answer's headers, over plain ASGI and Starlette alike."""

from __future__ import annotations

import pytest

from shared.errors import Forbidden, LLMZooError, Overloaded, RateLimited, Unauthorized
from shared.http.faults import error_response, send_error


def limited(retry_after):
    fault = RateLimited("used up", retry_after=retry_after)
    fault.headers["x-ratelimit-limit-requests"] = "3"
    return fault


@pytest.mark.parametrize(
    ("fault", "status", "expected"),
    [
        (limited(1.2), 429, {"retry-after": "2", "x-ratelimit-limit-requests": "3"}),
        (limited(None), 429, {"x-ratelimit-limit-requests": "3"}),
        (Overloaded("full", retry_after=0.1), 429, {"retry-after": "1"}),
        (Unauthorized("who?"), 401, {"www-authenticate": "Bearer"}),
        (Forbidden("no"), 403, {}),
    ],
)
async def test_the_headers_of_an_answer(fault: LLMZooError, status, expected):
    sent = []

    async def send(message):
        sent.append(message)

    await send_error(send, fault)
    plain = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    response = error_response(fault)
    assert sent[0]["status"] == response.status_code == status
    assert plain == {"content-type": "application/json", **expected}
    assert expected.items() <= dict(response.headers).items()
