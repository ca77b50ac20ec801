"""The settings of every service: the only reader of the environment (prefix LLMZOO_).

Owns names, types, defaults and the sentences of README's configuration table. A value that
does not fit is a ConfigurationError that names the variable. Knows no service's code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic.functional_validators import BeforeValidator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.errors import ConfigurationError
from shared.secret_files import SecretFiles

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


def _split(value: object) -> object:
    """Read `a,b` from the environment as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Networks = Annotated[list[IPv4Network | IPv6Network], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split)]

LOCAL_NETWORKS = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"


class Settings(BaseSettings):
    """What every process reads."""

    model_config = SettingsConfigDict(
        env_prefix="LLMZOO_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what is given, then the environment, then the files that it names."""
        return init_settings, env_settings, SecretFiles(settings_cls)

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: coloured on a terminal, JSON lines elsewhere"
    )


class FleetSettings(Settings):
    """What every member of the fleet reads: how to find the others."""

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis-compatible server, `redis://`, `rediss://` or `unix://`",
    )
    internal_token: SecretStr = Field(
        SecretStr(""), description="secret between services; signs registry records"
    )
    heartbeat_interval: Seconds = Field(1.0, description="seconds between two beats")
    heartbeat_ttl: Seconds = Field(4.0, description="seconds after which a silent service is gone")
    allowed_networks: Networks = Field(
        default_factory=list[IPv4Network | IPv6Network],
        description=f"networks that an advertised address may lie in (default `{LOCAL_NETWORKS}`)",
    )
    advertise: str = Field(
        "", description="base URL by which others reach this service; empty: its own host and port"
    )
    drain_timeout: Seconds = Field(
        30.0, description="seconds that running requests get to finish after SIGTERM"
    )
    max_body_bytes: int = Field(
        2 * 1024 * 1024, ge=1024, description="largest request body accepted, in bytes"
    )

    def networks(self) -> list[IPv4Network | IPv6Network]:
        """Return the networks that advertised addresses may lie in."""
        return self.allowed_networks or _parse_networks(LOCAL_NETWORKS)


class ControllerSettings(FleetSettings):
    """The gateway."""

    controller_host: str = Field("127.0.0.1", description="address the controller binds")
    controller_port: Port = Field(8000, description="port of the OpenAI-compatible API")
    api_keys: Secrets = Field(
        default_factory=list[SecretStr],
        description="keys with all scopes, comma-separated; without any, a controller that binds "
        "a loopback address asks for none",
    )
    api_keys_file: Path | None = Field(
        None, description="file of more such keys, one a line: `key [scopes]`; read when it changes"
    )
    max_connections: int = Field(
        8192, ge=1, description="connections open at once; more are answered with 503"
    )
    otel: bool = Field(
        False, description="send OpenTelemetry spans (extra `otel`; `OTEL_*` say where)"
    )
    upstream_timeout: Seconds = Field(
        5.0,
        description="seconds without any frame after which a worker counts as silent and its "
        "answers go on elsewhere; a worker that lives sends one a second",
    )
    connect_timeout: Seconds = Field(2.0, description="seconds to open a connection to a worker")
    move_timeout: Seconds = Field(
        30.0,
        description="seconds that an answer that lost its worker waits for another one to go on",
    )
    move_attempts: int = Field(
        8, ge=0, description="times that an answer may lose its worker; 0: none goes on elsewhere"
    )
    move_age: Seconds = Field(3600.0, description="seconds after which an answer is not moved")
    move_tokens: int = Field(
        131_072, ge=0, description="tokens of an answer beyond which it is not moved"
    )
    call_store_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("llmzoo")) / "calls",
        description="folder of stored answers over 8 KB; controllers of one fleet share it, since "
        "an answer that lies elsewhere is made again",
    )
    call_store_days: int = Field(
        8, ge=7, le=3650, description="days that an answer to an `Idempotency-Key` is kept"
    )
    call_store_bytes: int = Field(
        256 * 1024 * 1024,
        ge=64 * 1024,
        description="bytes of Redis that stored answers may take; the oldest give way",
    )
    call_store_blob_bytes: int = Field(
        4 * 1024 * 1024 * 1024,
        ge=64 * 1024,
        description="bytes that the folder of stored answers may take; the oldest give way",
    )
    routing_policy: Literal["least_cost", "power_of_two", "shortest_queue", "lottery"] = Field(
        "least_cost", description="which of several workers of a model gets a request"
    )
    slow_start: Seconds = Field(
        10.0, description="seconds in which a worker that joins grows into its share"
    )
    max_queued: int = Field(
        512, ge=0, description="requests of a model that may wait for a place; more get 429"
    )
    max_queued_bytes: int = Field(
        64 * 1024 * 1024, ge=0, description="bytes of their bodies that may wait"
    )
    queue_timeout: Seconds = Field(
        30.0, description="seconds that a request waits for a place before it gets 429"
    )
    cold_start_timeout: float = Field(
        15.0,
        ge=0,
        description="seconds that a request waits for a model that is being loaded, "
        "before it gets 503; 0: none",
    )
    endpoints_file: Path | None = Field(
        None, description="TOML file of other OpenAI-compatible servers to serve models of"
    )
    endpoint_networks: Networks = Field(
        default_factory=list[IPv4Network | IPv6Network],
        description="networks that endpoints may lie in beside public addresses over https; "
        "empty: `LLMZOO_ALLOWED_NETWORKS`",
    )


class WorkerSettings(FleetSettings):
    """One model on one engine."""

    worker_host: str = Field("127.0.0.1", description="address the worker binds")
    worker_port: Port = Field(8010, description="port of the worker; taken: the next free one")
    model: str = Field(
        "demo", description="a local folder, a hub id, `demo` or `pypi:<distribution>`"
    )
    model_name: str = Field("", description="name under which the model is served; empty: its own")
    cache_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("llmzoo")),
        description="folder of converted models",
    )
    shipped_models: Path | None = Field(
        None, description="such a folder that is only read, looked at first; images bring one"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="where the model runs"
    )
    gpus: int = Field(
        0, ge=0, le=64, description="GPUs that the worker leases; 0: as many as the model needs"
    )
    gpu_share: int = Field(
        1,
        ge=1,
        le=16,
        description="workers that share a GPU and its memory in equal parts; the same for all "
        "workers of a host",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="`auto`: bfloat16 where the processor has kernels for it"
    )
    threads: int = Field(0, ge=0, description="torch threads; 0: as many as cores")
    max_num_seqs: int = Field(
        0,
        ge=0,
        le=1024,
        description="sequences that decode in one step; "
        "0: from the memory found, 16 to 64 on a CPU, to 256 on a GPU",
    )
    max_num_batched_tokens: int = Field(
        0,
        ge=0,
        description="tokens in one step, prompts and answers; 0: 512 on a CPU, 2048 elsewhere",
    )
    draft_tokens: int = Field(
        8,
        ge=0,
        le=32,
        description="most tokens tried at once for a sequence, found in what it holds (prompt "
        "lookup); 0: none",
    )
    max_waiting: int = Field(128, ge=0, description="sequences that may wait; more get 429")
    max_model_len: int = Field(0, ge=0, description="context in tokens; 0: the model's own")
    memory_gib: float = Field(
        0, ge=0, description="GiB that weights and KV cache may take; 0: what is found free"
    )
    kv_cache_tokens: int = Field(
        0, ge=0, description="tokens that all sequences may hold; 0: from the memory found"
    )
    prefix_cache_share: float = Field(
        0.25,
        ge=0,
        le=1,
        description="part of those tokens that prompts and answers may keep for reuse; 0: none",
    )
    deterministic: bool = Field(
        False, description="answers do not depend on what else is served, to the last bit; slower"
    )
    speed: float = Field(
        1.0, ge=0, description="relative to other workers, for the policies that ask for it"
    )
    orphan_grace: Seconds = Field(
        10.0,
        description="seconds for which an answer is kept whose controller has gone, for another "
        "one to take over",
    )
    answer_log_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="bytes of answers that are kept for that; 0: none can be taken over",
    )
    load_8bit: bool = Field(False, description="compress the weights to 8 bits while loading")
    load_4bit: bool = Field(False, description="compress the weights to 4 bits while loading")
    chat_template: str = Field(
        "", description="a family's name, or a .jinja or .toml file; empty: the model's own"
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with a model")
    allow_pickle: bool = Field(False, description="load pickle weights, which can run code")


class WebuiSettings(FleetSettings):
    """The browser's page."""

    webui_host: str = Field("127.0.0.1", description="address the web UI binds")
    webui_port: Port = Field(7860, description="port of the web UI")
    base_url: str = Field("http://127.0.0.1:8000", description="the controller, without `/v1`")
    api_key: SecretStr = Field(SecretStr(""), description="key that clients send")
    log_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("llmzoo")) / "conversations",
        description="folder of the conversation and vote log",
    )
    log_content: bool = Field(
        False, description="write conversation texts into the conversation log"
    )


class EvaluatorSettings(FleetSettings):
    """Evaluation jobs."""

    evaluator_host: str = Field("127.0.0.1", description="address the evaluator binds")
    evaluator_port: Port = Field(8001, description="port of the evaluation API")
    base_url: str = Field("http://127.0.0.1:8000", description="the controller, without `/v1`")
    api_key: SecretStr = Field(SecretStr(""), description="key that clients send")
    eval_concurrency: int = Field(32, ge=1, le=256, description="calls in flight at once")
    eval_max_retries: int = Field(
        6, ge=0, le=100, description="times that a call that failed is tried again; 0: none"
    )
    eval_call_timeout: Seconds = Field(
        600.0, description="seconds after which one try of a call is given up"
    )
    eval_body_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="largest body of an evaluation request, in bytes"
    )


class ClientSettings(Settings):
    """The command line as a client."""

    base_url: str = Field("http://127.0.0.1:8000", description="the controller, without `/v1`")
    api_key: SecretStr = Field(SecretStr(""), description="key that clients send")
    state_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("llmzoo")),
        description="folder of the supervisor's and the clients' state",
    )


class ZooSettings(Settings):
    """`llmzoo up`: what the supervisor decides for the services it starts."""

    redis_url: SecretStr = Field(
        SecretStr(""), description="a Redis to use; empty: an embedded one is started"
    )
    internal_token: SecretStr = Field(SecretStr(""), description="empty: one is made and kept")
    api_keys: Secrets = Field(
        default_factory=list[SecretStr], description="keys that the controller asks for"
    )
    api_keys_file: Path | None = None
    api_key: SecretStr = Field(
        SecretStr(""), description="key of web UI and evaluator; empty: the first of the keys"
    )
    model: str = Field("demo", description="the model that the workers serve")
    controller_host: str = "127.0.0.1"
    controller_port: Port = 8000
    evaluator_host: str = "127.0.0.1"
    evaluator_port: Port = 8001
    webui_host: str = "127.0.0.1"
    webui_port: Port = 7860
    worker_port: Port = 8010
    heartbeat_interval: Seconds = 1.0
    drain_timeout: Seconds = 30.0
    state_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("llmzoo")),
        description="folder of the supervisor's state",
    )


SettingsT = TypeVar("SettingsT", bound=Settings)


def load(shape: type[SettingsT], **overrides: object) -> SettingsT:
    """Return settings read from the environment, `overrides` first.

    Raises:
        ConfigurationError: a variable's value does not fit; the variable is named.
    """
    try:
        return shape(**overrides)  # type: ignore[arg-type]
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        variable = "LLMZOO_" + str(first["loc"][0]).upper()
        msg = f"{variable}: {first['msg']}"
        raise ConfigurationError(msg, param=variable) from None


def child_environment(extra: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with `extra` on top, for a child process."""
    return {**os.environ, **extra}


def visible_gpus() -> str | None:
    """Return which GPUs CUDA shows to this process (CUDA's own variable); None: all there are."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def show_gpus(uuids: Sequence[str]) -> None:
    """Let CUDA show these GPUs alone; it reads them when it is used first."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(uuids)


def inherited_descriptors() -> int:
    """Return how many sockets were handed down to this very process (systemd's convention)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    told = os.environ.get("LISTEN_FDS", "")
    return int(told) if told.isdecimal() else 0


def _parse_networks(text: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(part) for part in text.split(",")]
