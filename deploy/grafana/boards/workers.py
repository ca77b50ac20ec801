"""Workers and GPUs: who is there, what the engines do, and what machines have left."""

from __future__ import annotations

from deploy.grafana.board import Board, Row, Variable
from deploy.grafana.panels import graph, table
from deploy.grafana.promql import (
    CONTROLLER,
    MODEL,
    WORKER,
    Query,
    largest,
    or_zero,
    per_second,
    quantile,
    ratio,
    total,
)

_ON_WORKER = 'service="worker", worker=~"$worker"'
_ROUTED = f'{CONTROLLER}, worker=~"$worker"'
_NAME = "{{worker}}"


def _of_workers(metric: str) -> Query:
    return Query(total(f"{metric}{{{WORKER}}}", "worker"), _NAME)


def _rate_of_workers(metric: str) -> Query:
    return Query(per_second(f"{metric}{{{WORKER}}}", "worker"), _NAME)


_STATES = largest(f"llmzoo_workers{{{CONTROLLER}, {MODEL}}}", "state", "model")
_PRESENT = f"llmzoo_worker_state{{{WORKER}}} == 1"

_FLEET = Row(
    "Fleet",
    [
        graph(
            "Workers by state",
            "Starting, downloading, loading, warming, ready, draining; as controllers see them.",
            Query(f"sum by (state) ({_STATES})", "{{state}}"),
            stacked=True,
            stepped=True,
        ),
        table(
            "States now",
            "What each worker does.",
            largest(_PRESENT, "worker", "model", "state"),
        ),
        table(
            "Workers",
            "What each worker runs on.",
            largest(
                f"llmzoo_worker_info{{{WORKER}}}",
                "worker",
                "model",
                "device",
                "dtype",
                "quantization",
                "version",
            ),
        ),
        graph(
            "Age of the last heartbeat",
            "As controllers see it; above a few seconds a worker does not reach Redis.",
            Query(largest(f"llmzoo_worker_heartbeat_age_seconds{{{_ROUTED}}}", "worker"), _NAME),
            unit="s",
        ),
        graph(
            "Time the model took to load",
            "From the start of loading to the first token.",
            Query(largest(f"llmzoo_model_load_seconds{{{WORKER}}}", "worker"), _NAME),
            unit="s",
            stepped=True,
        ),
        graph(
            "Answers without a reader",
            "Answers whose controller went away and that wait for another one.",
            _of_workers("llmzoo_num_orphans"),
        ),
    ],
)
_ENGINE = Row(
    "Engine",
    [
        graph("Batch", "Sequences that decode.", _of_workers("llmzoo_num_requests_running")),
        graph("Waiting", "Sequences that wait.", _of_workers("llmzoo_num_requests_waiting")),
        graph(
            "KV cache in use",
            "Share of the KV cache that running sequences take.",
            Query(largest(f"llmzoo_kv_cache_usage_ratio{{{WORKER}}}", "worker"), _NAME),
            unit="percentunit",
            top=1,
            limit=0.95,
        ),
        graph(
            "Tokens generated",
            "Tokens a second.",
            _rate_of_workers("llmzoo_generation_tokens_total"),
        ),
        graph(
            "Prefix hits",
            "Share of the prompts' tokens that were in the cache already.",
            Query(
                ratio(
                    f"llmzoo_prefix_cache_hits_total{{{WORKER}}}",
                    f"llmzoo_prefix_cache_queries_total{{{WORKER}}}",
                    "worker",
                ),
                _NAME,
            ),
            unit="percentunit",
            top=1,
        ),
        graph(
            "Drafts that came true",
            "Share of the tokens tried before they were drawn that were drawn then.",
            Query(
                ratio(
                    f"llmzoo_spec_decode_accepted_tokens_total{{{WORKER}}}",
                    f"llmzoo_spec_decode_draft_tokens_total{{{WORKER}}}",
                    "worker",
                ),
                _NAME,
            ),
            unit="percentunit",
            top=1,
        ),
        graph(
            "Time to first token, p95",
            "At the worker, without the wait in controllers.",
            Query(quantile(0.95, "llmzoo_time_to_first_token_seconds", WORKER, "worker"), _NAME),
            unit="s",
        ),
        graph(
            "Preemptions and faults",
            "Sequences that gave way to others, and steps that failed.",
            Query(per_second(f"llmzoo_num_preemptions_total{{{WORKER}}}"), "preemptions"),
            Query(per_second(f"llmzoo_engine_faults_total{{{WORKER}}}"), "faults"),
        ),
        graph(
            "Sequences by controllers' count",
            "What controllers have at each worker.",
            Query(total(f"llmzoo_worker_inflight{{{_ROUTED}}}", "worker"), _NAME),
        ),
    ],
)
_HOST = Row(
    "Weights and processes",
    [
        graph(
            "Weights",
            "Bytes of compressed weights: as they would be, and packed; 0 without compression.",
            Query(
                or_zero(total(f"llmzoo_compression_bytes{{{WORKER}}}", "worker", "kind")),
                "{{worker}} {{kind}}",
            ),
            unit="bytes",
            stepped=True,
        ),
        graph(
            "Memory of processes",
            "Resident memory.",
            Query(
                total('process_resident_memory_bytes{job="llmzoo"}', "service", "instance"),
                "{{service}} {{instance}}",
            ),
            unit="bytes",
        ),
        graph(
            "Processor time of processes",
            "Cores in use.",
            Query(
                per_second('process_cpu_seconds_total{job="llmzoo"}', "service", "instance"),
                "{{service}} {{instance}}",
            ),
        ),
    ],
)
_GPU = Row(
    "GPU",
    [
        graph(
            "GPU memory in use",
            "Share of the memory, by the driver; nothing without an NVIDIA GPU.",
            Query(
                f'llmzoo_gpu_memory_bytes{{{_ON_WORKER}, kind="used"}} / ignoring (kind) '
                f'llmzoo_gpu_memory_bytes{{{_ON_WORKER}, kind="total"}}',
                "{{worker}}, {{gpu}}",
            ),
            unit="percentunit",
            width=12,
            top=1,
            limit=0.95,
        ),
        graph(
            "GPU use",
            "Share of the time in which something ran there.",
            Query(f"llmzoo_gpu_utilization_ratio{{{_ON_WORKER}}}", "{{worker}}, {{gpu}}"),
            unit="percentunit",
            width=12,
            top=1,
        ),
        graph(
            "GPU temperature",
            "By the driver.",
            Query(f"llmzoo_gpu_temperature_celsius{{{_ON_WORKER}}}", "{{worker}}, {{gpu}}"),
            unit="celsius",
            width=12,
            limit=85,
        ),
        table(
            "GPUs",
            "Which GPUs workers hold.",
            largest(f"llmzoo_worker_gpu_info{{{_ON_WORKER}}}", "worker", "gpu", "name", "uuid"),
            width=12,
        ),
    ],
)

BOARD = Board(
    "workers",
    "LLM Zoo: workers and GPUs",
    "Who is there, what the engines do, and what machines have left.",
    (_FLEET, _ENGINE, _HOST, _GPU),
    (
        Variable("model", "Model", f"llmzoo_workers{{{CONTROLLER}}}"),
        Variable("worker", "Worker", 'up{service="worker"}'),
    ),
)
