"""The header that carries a request's id, by which it is known in all services and their logs."""

from __future__ import annotations

REQUEST_ID_HEADER = "x-request-id"
