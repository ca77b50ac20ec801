"""All endpoints of the file, by the names of the models they serve.

Owns their making and the list of models. Every object of one endpoint meets here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from starlette.types import Send

from services.controller.endpoints.addresses import (
    AddressPolicy,
    CheckedDial,
    Resolve,
    system_addresses,
    tls_context,
)
from services.controller.endpoints.admission import Admission
from services.controller.endpoints.attempts import Attempts
from services.controller.endpoints.config import (
    EndpointConfig,
    EndpointModel,
    config_error,
    read_endpoints,
)
from services.controller.endpoints.endpoint import Endpoint
from services.controller.endpoints.key_file import KeyFile, KeyFileFault
from services.controller.endpoints.limits import Limiter, LocalLimiter
from services.controller.endpoints.metrics import EndpointMetrics
from services.controller.relay.answer import Answer, Headers
from services.controller.relay.backend import Settle
from services.controller.relay.call import Call
from services.controller.upstream.origin import Origin
from services.controller.upstream.peer import Peer
from services.controller.upstream.pool import UpstreamPool
from shared.errors import NotFound
from shared.settings import ControllerSettings

log = structlog.get_logger(__name__)

# Many servers close after five seconds without a request.
_IDLE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class ExternalModel:
    """A model that an endpoint serves."""

    id: str
    endpoint: Endpoint
    config: EndpointModel
    created: int

    @property
    def paid(self) -> bool:
        """Say that a call may cost money; see `Backend`."""
        return True

    async def complete(self, call: Call, settle: Settle) -> Answer:
        """Return the whole answer; see `Backend`."""
        return await self.endpoint.complete(call, self.config, settle)

    async def stream(self, call: Call, settle: Settle, send: Send, told: Headers) -> None:
        """Send the answer as its events come; see `Backend`."""
        if call.last_event is not None:
            msg = f"Answers of '{self.id}' cannot be taken over: another server gives them."
            raise NotFound(msg, code="answer_not_found", param="Last-Event-ID")
        await self.endpoint.stream(call, self.config, settle, send, told)

    def listed(self) -> dict[str, Any]:
        """Return its entry in the list of models; `pricing` is of a million tokens, if known."""
        prices = self.endpoint.prices_of(self.config)
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": self.endpoint.name,
            "state": "ready" if self.endpoint.available else "unavailable",
            "pricing": None if prices is None else prices.model_dump(),
        }


class Endpoints:
    """The models of all endpoints, and the connections to them."""

    def __init__(self, models: list[ExternalModel], pools: list[UpstreamPool]) -> None:
        """Serve these; see `open_endpoints`."""
        self.models = {model.id: model for model in models}
        self._pools = pools

    def find(self, model: str) -> ExternalModel | None:
        """Return the model that is called so, if an endpoint serves it."""
        return self.models.get(model)

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools:
            pool.close()


def local_limiter(config: EndpointConfig) -> Limiter:
    """Return limits that this process keeps by itself."""
    return LocalLimiter(config.name, config.requests_per_minute, config.tokens_per_minute)


def open_endpoints(
    settings: ControllerSettings,
    registry: CollectorRegistry,
    resolve: Resolve = system_addresses,
    make_limiter: Callable[[EndpointConfig], Limiter] = local_limiter,
) -> Endpoints:
    """Return the endpoints that the settings' file names; without a file there are none.

    Args:
        settings: where the file is, and which networks endpoints may lie in.
        registry: takes their metrics.
        resolve: asked for the addresses of their hosts.
        make_limiter: makes what keeps an endpoint's limits.

    Raises:
        ConfigurationError: the file, a key's file or an address does not fit.
    """
    path = settings.endpoints_file
    if path is None:
        return Endpoints([], [])
    metrics = EndpointMetrics(registry)
    policy = AddressPolicy(settings.endpoint_networks or settings.networks())
    models: list[ExternalModel] = []
    pools: list[UpstreamPool] = []
    created = 0
    for config in read_endpoints(path):
        created = created or int(path.stat().st_mtime)
        pool = _pool(path, config, policy, resolve)
        admission = Admission(config, make_limiter(config), metrics)
        origin = Origin.of(config.base_url)
        attempts = Attempts(config.name, pool, origin, _key(path, config), admission.measures)
        endpoint = Endpoint(config, admission, attempts)
        pools.append(pool)
        for prices in filter(None, map(endpoint.prices_of, config.models)):
            admission.measures.cost(prices.currency)  # its series begins before the first call
        models += [
            ExternalModel(f"{config.name}/{model.served_as}", endpoint, model, created)
            for model in config.models
        ]
        log.info("endpoint", name=config.name, base_url=config.base_url, models=len(config.models))
    return Endpoints(models, pools)


def _pool(
    path: Path, config: EndpointConfig, policy: AddressPolicy, resolve: Resolve
) -> UpstreamPool:
    """Return the pool of one endpoint. Raises ConfigurationError."""
    origin = Origin.of(config.base_url)
    _check_literal(path, config, policy, origin)
    context = None
    if origin.tls:
        ca_file = str(_beside(path, config.ca_file)) if config.ca_file else None
        try:
            context = tls_context(ca_file)
        except OSError as fault:
            what = fault.strerror or "it holds no certificate"
            raise config_error(path, config.name, "ca_file", what) from None
    dial = CheckedDial(config.name, policy, resolve, tls=context, seconds=config.connect_timeout)
    peer = Peer(
        f"The endpoint '{config.name}'",
        idle_seconds=_IDLE_SECONDS,
        resends=False,
        unframed=True,
        dial=dial,
    )
    return UpstreamPool(
        connect_timeout=config.connect_timeout, silence_timeout=config.timeout, peer=peer
    )


def _check_literal(
    path: Path, config: EndpointConfig, policy: AddressPolicy, origin: Origin
) -> None:
    """Refuse at the start what no resolver can make better: an address that is not allowed."""
    try:
        address = ip_address(origin.host)
    except ValueError:
        return
    if not policy.allows(address, tls=origin.tls):
        what = "its address is not allowed; LLMZOO_ENDPOINT_NETWORKS names networks that are"
        raise config_error(path, config.name, "base_url", what)


def _key(path: Path, config: EndpointConfig) -> KeyFile | None:
    """Return the file of the endpoint's key. Raises ConfigurationError."""
    if config.key_file is None:
        return None
    try:
        return KeyFile(_beside(path, config.key_file))
    except KeyFileFault as fault:
        raise config_error(path, config.name, "key_file", str(fault)) from None


def _beside(path: Path, name: str) -> Path:
    """Return the path of a file that the endpoints file names, relative to its own folder."""
    return path.parent / Path(name).expanduser()
