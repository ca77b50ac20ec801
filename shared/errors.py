"""Every failure of LLM Zoo is one of these types; nothing else crosses a service's border.

    LLMZooError
    ├── RequestError                 the caller's fault, 4xx
    │   ├── InvalidRequest           400  a parameter is missing, mistyped or out of range
    │   │   ├── UnsupportedParameter 400  valid for OpenAI, not served here
    │   │   ├── ContextTooLong       400  prompt (and max_tokens) exceed the model's context
    │   │   └── MalformedFile        400  a file that was given; the message names file and line
    │   ├── InvalidSpec              422  an evaluation request, all of its faults at once
    │   ├── Unauthorized             401  no key, or a wrong one
    │   ├── Forbidden                403  the key, or where the request comes from, does not allow it
    │   ├── NotFound                 404  no such path or object
    │   │   └── ModelNotFound        404  no worker has ever offered this model
    │   ├── MethodNotAllowed         405
    │   ├── Gone                     410  it was there and is not any more
    │   ├── Conflict                 409  not in the present state of what is asked for
    │   │   ├── FingerprintMismatch       this worker cannot continue that answer exactly
    │   │   └── TakenOver                 another one reads this answer now
    │   ├── RequestTimedOut          408  the request's bytes come too slowly
    │   ├── BodyTooLarge             413
    │   ├── HeadersTooLarge          431
    │   ├── RateLimited              429  a key's requests or tokens a minute are used up
    │   ├── IdempotencyKeyReused     422  the key belongs to another request
    │   └── Overloaded               429  all places taken: try again after `retry_after`
    ├── ServiceError                 ours, 5xx
    │   ├── EngineFault              500  a step of the engine failed
    │   │   └── ContinuationDiffers  500  a resumed answer would not be the one that was begun
    │   ├── UpstreamFailed           502  a worker or server broke off
    │   │   ├── MalformedAnswer      502  it answered with something that is no answer
    │   │   ├── EndpointRefusesKey   502  an endpoint does not take our key; the caller's was good
    │   │   └── AddressNotAllowed    502  an endpoint's name leads out of the allowed networks
    │   ├── GpuLost                  500  it does not answer any more, or is another worker's
    │   ├── Unavailable              503  nothing there can serve this now
    │   └── UpstreamTimeout          504  a worker stayed silent
    │       └── DeadlineExceeded     504  the time that the caller gave is over
    ├── ConfigurationError           a setting is wrong or something is missing on this machine
    │   ├── PortTaken
    │   ├── AlreadyRunning
    │   ├── NoChatTemplate           a model brings none, and none was named
    │   └── RedisUnavailable
    ├── OutputNotWritten             a file that a command was to write
    ├── RestartFailed                a service of `llmzoo up` could not be replaced
    └── ModelLoadError               a model cannot be had or cannot be served
        ├── ModelNotThere            the reference names nothing
        ├── ModelDownloadFailed
        ├── ChecksumMismatch
        ├── ModelNotSupported        an architecture or file format that we do not serve
        ├── ModelTooLarge            more than the memory found holds; the message tells what would fit
        ├── WeightNotFinite          a weight that no quantisation can hold; `tensor` names it
        └── CheckpointFault          weights on disk: `file` and `tensor` say where
            ├── CheckpointDamaged    a shard is cut short, missing, or lacks a tensor
            ├── CheckpointMismatch   two models that do not belong together
            │   └── WrongBase        not the model that a delta was made from
            ├── CheckpointExists     what was to be written is there already
            └── CheckpointNotWritten the disk is full or refuses

Owns: codes, HTTP statuses, the OpenAI error object. Knows no service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class LLMZooError(Exception):
    """Base of all; `message` is for a person and names the fault."""

    status: int = 500
    type: str = "server_error"
    default_code: str | None = None
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep what the OpenAI error object shows; `retry_after` is in seconds."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.retry_after = retry_after

    def as_openai(self) -> dict[str, Any]:
        """Return the OpenAI error object, without a status."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class RequestError(LLMZooError):
    """The caller's fault."""

    status = 400
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    """A parameter is missing, mistyped or out of range."""

    default_code = "invalid_value"


class UnsupportedParameter(InvalidRequest):
    """A parameter that OpenAI has and this server does not serve."""

    default_code = "unsupported_parameter"


class ContextTooLong(InvalidRequest):
    """The prompt, or the prompt with max_tokens, does not fit the model's context."""

    default_code = "context_length_exceeded"


class MalformedFile(InvalidRequest):
    """A file that was given cannot be read; `line` counts from 1, None: the file as a whole."""

    default_code = "malformed_file"

    def __init__(self, file: Path, line: int | None, fault: str) -> None:
        """Name the place as editors and compilers do."""
        super().__init__(f"{file}:{line}: {fault}" if line is not None else f"{file}: {fault}")
        self.file = file
        self.line = line


class InvalidSpec(RequestError):
    """An evaluation request with one or more faults; `faults` are (JSON pointer, text)."""

    status = 422
    default_code = "invalid_spec"

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        """List all faults at once; the first one's pointer becomes `param`."""
        text = "; ".join(f"{pointer}: {fault}" if pointer else fault for pointer, fault in faults)
        super().__init__(text, param=faults[0][0] if faults else None)
        self.faults = faults

    def as_openai(self) -> dict[str, Any]:
        """Return the OpenAI error object with `errors`, one entry a fault."""
        body = super().as_openai()
        body["error"]["errors"] = [
            {"pointer": pointer, "message": fault} for pointer, fault in self.faults
        ]
        return body


class Unauthorized(RequestError):
    """No API key, or a wrong one."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"


class Forbidden(RequestError):
    """The key lacks a scope, or a request without a key comes from another site."""

    status = 403
    type = "permission_error"
    default_code = "insufficient_scope"


class NotFound(RequestError):
    """No such path or object."""

    status = 404
    default_code = "not_found"


class ModelNotFound(NotFound):
    """No worker has ever offered this model."""

    default_code = "model_not_found"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not."""

    status = 405
    default_code = "method_not_allowed"


class Gone(RequestError):
    """It was there and is not any more, and asking again will not bring it back."""

    status = 410
    default_code = "gone"


class Conflict(RequestError):
    """It cannot be done in the present state of what is asked for."""

    status = 409
    default_code = "conflict"


class FingerprintMismatch(Conflict):
    """An answer is to be continued exactly, and this worker is not like the one that began it."""

    default_code = "fingerprint_mismatch"


class TakenOver(Conflict):
    """Another one reads this answer now; who gets this has been followed."""

    default_code = "taken_over"


class BodyTooLarge(RequestError):
    """The request body is over the size limit."""

    status = 413
    default_code = "body_too_large"


class RequestTimedOut(RequestError):
    """The bytes of a request come so slowly that nobody waits for the rest."""

    status = 408
    default_code = "request_timeout"


class HeadersTooLarge(RequestError):
    """The request line and headers are over the size limit."""

    status = 431
    default_code = "headers_too_large"


class RateLimited(RequestError):
    """A key has used what it may in a minute; `headers` tell how much that is.

    Without `retry_after` the request alone asks for more than the key may ever have at once.
    """

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"
    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Begin without headers; whoever knows the limits adds the `x-ratelimit-*` ones."""
        super().__init__(message, retry_after=retry_after)
        self.headers: dict[str, str] = {}
        self.retryable = retry_after is not None


class IdempotencyKeyReused(RequestError):
    """An Idempotency-Key that was used for another path or body."""

    status = 422
    default_code = "idempotency_key_reused"


class Overloaded(RequestError):
    """All places are taken; the caller may try again after `retry_after` seconds."""

    status = 429
    type = "rate_limit_error"
    default_code = "overloaded"
    retryable = True


class ServiceError(LLMZooError):
    """Our fault."""

    retryable = True


class EngineFault(ServiceError):
    """A step of the engine failed; the sequence it belonged to is gone."""

    default_code = "engine_fault"


class ContinuationDiffers(EngineFault):
    """A token of a resumed answer had to be generated again and became another one."""

    default_code = "continuation_differs"


class GpuLost(ServiceError):
    """A worker's GPU does not answer any more, or is leased to another one: its process ends."""

    default_code = "gpu_lost"


class UpstreamFailed(ServiceError):
    """A worker or server broke off or refused the connection."""

    status = 502
    default_code = "upstream_failed"


class MalformedAnswer(UpstreamFailed):
    """A server answered with something that is no answer; it would do so again."""

    default_code = "malformed_answer"
    retryable = False


class EndpointRefusesKey(UpstreamFailed):
    """An endpoint does not take the key that we have for it; the caller's own key was good."""

    default_code = "endpoint_refuses_key"
    retryable = False


class AddressNotAllowed(UpstreamFailed):
    """An endpoint's host has an address outside the allowed networks; nothing was sent there."""

    default_code = "address_not_allowed"
    retryable = False


class Unavailable(ServiceError):
    """Nothing that exists can serve this now."""

    status = 503
    default_code = "unavailable"


class UpstreamTimeout(ServiceError):
    """A worker stayed silent for too long."""

    status = 504
    default_code = "upstream_timeout"


class DeadlineExceeded(UpstreamTimeout):
    """The time that the caller gave, in X-Request-Timeout, is over."""

    default_code = "deadline_exceeded"


class ConfigurationError(LLMZooError):
    """A setting is wrong, or something this machine needs is missing."""

    default_code = "configuration"


class PortTaken(ConfigurationError):
    """Another program listens on a port that a service needs."""


class AlreadyRunning(ConfigurationError):
    """A zoo with the same state folder and port offset is running."""


class NoChatTemplate(ConfigurationError):
    """A model brings no chat template, is of no known family, and none was named."""

    default_code = "no_chat_template"


class RedisUnavailable(ConfigurationError):
    """No Redis-compatible server is given, installed or startable."""


class OutputNotWritten(LLMZooError):
    """A file that a command was to write could not be; the message names it."""


class RestartFailed(LLMZooError):
    """A service that runs could not be replaced; the message says which, and what runs now."""

    default_code = "restart_failed"


class ModelLoadError(LLMZooError):
    """A model cannot be had or cannot be served."""

    default_code = "model_load"


class ModelNotThere(ModelLoadError):
    """The model reference names nothing that exists."""


class ModelDownloadFailed(ModelLoadError):
    """The model's files could not be fetched."""


class ChecksumMismatch(ModelLoadError):
    """A file is not the one that was pinned, or no longer what was written."""


class ModelNotSupported(ModelLoadError):
    """An architecture or a file format that this worker does not serve."""


class ModelTooLarge(ModelLoadError):
    """Weights and one sequence need more memory than there is; the message tells what would fit."""

    default_code = "model_too_large"


class WeightNotFinite(ModelLoadError):
    """A weight holds NaN or infinity, or spans more than fp32 can subtract."""

    def __init__(self, tensor: str) -> None:
        """Name the tensor, as the model names it where that is known."""
        super().__init__(f"{tensor} holds NaN or infinite values and cannot be compressed")
        self.tensor = tensor


class CheckpointFault(ModelLoadError):
    """Weights on disk are at fault: at `file`, in `tensor`, None where it belongs to none."""

    default_code = "checkpoint"

    def __init__(
        self, message: str, *, file: Path | str | None = None, tensor: str | None = None
    ) -> None:
        """Begin the message with the place, so that whoever shows it names both."""
        place = " ".join(str(part) for part in (file, tensor and f"({tensor})") if part is not None)
        super().__init__(f"{place}: {message}" if place else message)
        self.file = None if file is None else Path(file)
        self.tensor = tensor


class CheckpointDamaged(CheckpointFault):
    """A file is cut short, missing, or lacks what its header or index promises."""


class CheckpointMismatch(CheckpointFault):
    """Two models differ in a name, a shape or a dtype in which they must agree."""


class WrongBase(CheckpointMismatch):
    """The base is not the model that the delta was made from."""


class CheckpointExists(CheckpointFault):
    """The target is there already, or another process is writing it."""


class CheckpointNotWritten(CheckpointFault):
    """The disk is full or refuses; nothing is left of the attempt."""
