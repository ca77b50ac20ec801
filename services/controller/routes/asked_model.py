"""Which model a request asks for. Owns the errors where it names none."""

from __future__ import annotations

from typing import Any

from shared.errors import InvalidRequest


def asked_model(request: dict[str, Any]) -> str:
    """Return the model's name.

    Raises:
        InvalidRequest: there is none, or none that could be one.
    """
    if "model" not in request:
        msg = "Missing required parameter: 'model'."
        raise InvalidRequest(msg, param="model", code="missing_required_parameter")
    model = request["model"]
    if not isinstance(model, str):
        msg = "Invalid value for 'model': a string is needed."
        raise InvalidRequest(msg, param="model", code="invalid_type")
    if not model:
        msg = "Invalid value for 'model': it is empty."
        raise InvalidRequest(msg, param="model")
    return model
