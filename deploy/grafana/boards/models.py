"""Models and the objective: what clients of each model wait for, and for what."""

from __future__ import annotations

from deploy.grafana.board import Board, Row, Variable
from deploy.grafana.panels import graph, heatmap, stat
from deploy.grafana.promql import (
    CONTROLLER,
    MODEL,
    Query,
    buckets,
    largest,
    mean,
    or_zero,
    per_second,
    quantile,
    quantiles,
    told,
)

_AT_CONTROLLER = f"{CONTROLLER}, {MODEL}"
_AT_WORKER = f'service="worker", {MODEL}'
_TTFT = "llmzoo_time_to_first_token_seconds"
_TPOT = "llmzoo_request_time_per_output_token_seconds"
_E2E = "llmzoo_e2e_request_latency_seconds"
_ITL = "llmzoo_inter_token_latency_seconds"
_SLO = "llmzoo:time_to_first_token_seconds:slo"
_RECENT = "5m"

_OBJECTIVE = Row(
    "Objective",
    [
        stat(
            "Within the objective",
            "Share of the last five minutes' requests whose first token came in time, of the "
            "model for which it is least; empty without requests.",
            told(f"min(model:{_TTFT}:within_slo_ratio_5m{{{MODEL}}})"),
            (0.95, "green"),
            unit="percentunit",
            width=4,
            first="red",
        ),
        stat(
            "Objective",
            "In this time the first token should come; set in Prometheus' recording rules.",
            largest(_SLO),
            unit="s",
            width=4,
        ),
        *(
            stat(
                f"{title}, p95",
                f"{description} Of the last five minutes; empty without requests.",
                told(quantile(0.95, metric, _AT_CONTROLLER, window=_RECENT)),
                unit="s",
                width=4,
            )
            for title, metric, description in (
                ("First token", _TTFT, "From a request's last byte to its first token."),
                ("Each token", _TPOT, "Seconds a token of an answer, after its first one."),
                ("Whole answer", _E2E, "From a request's last byte to the end of its answer."),
            )
        ),
        stat(
            "Answers",
            "Answers that ended a second.",
            per_second(f"{_E2E}_count{{{_AT_CONTROLLER}}}"),
            unit="reqps",
            width=4,
        ),
    ],
)
_LATENCY = Row(
    "Latency",
    [
        heatmap(
            "Time to first token",
            "How many requests had their first token after which time, queue included.",
            buckets(_TTFT, _AT_CONTROLLER),
        ),
        heatmap(
            "Time between tokens",
            "How far two tokens of an answer are apart, at the worker.",
            buckets(_ITL, _AT_WORKER),
        ),
        heatmap(
            "Whole answers",
            "How many answers were whole after which time.",
            buckets(_E2E, _AT_CONTROLLER),
        ),
        graph(
            "Time to first token by model, p95",
            "19 of 20 requests had their first token after this time; the objective.",
            Query(quantile(0.95, _TTFT, _AT_CONTROLLER, "model"), "{{model}}"),
            Query(_SLO, "objective"),
            unit="s",
        ),
        graph(
            "Time between tokens",
            "How far two tokens of an answer are apart, at the worker.",
            *quantiles(_ITL, _AT_WORKER),
            unit="s",
        ),
        graph(
            "Whole answers",
            "From a request's last byte to the end of its answer.",
            *quantiles(_E2E, _AT_CONTROLLER),
            unit="s",
        ),
    ],
)
_PARTS = Row(
    "Where the time goes",
    [
        graph(
            "Mean time of a request at a worker",
            "Waiting in the engine, prefill of the prompt, decoding of the answer.",
            *(
                Query(mean(f"llmzoo_request_{part}_time_seconds", _AT_WORKER), part)
                for part in ("queue", "prefill", "decode")
            ),
            unit="s",
            stacked=True,
        ),
        graph(
            "The slow ones of each part, p95",
            "The same parts, and the whole inference; 19 of 20 requests took no longer.",
            *(
                Query(quantile(0.95, f"llmzoo_request_{part}_time_seconds", _AT_WORKER), part)
                for part in ("queue", "prefill", "decode", "inference")
            ),
            unit="s",
        ),
        graph(
            "Wait for a place",
            "In controllers, of those requests that had to wait; of all models. 0 where none had.",
            *(
                Query(or_zero(told(query.expr)), query.legend)
                for query in quantiles("llmzoo_queue_wait_seconds", CONTROLLER)
            ),
            unit="s",
        ),
    ],
)
_CONTENT = Row(
    "Lengths and ends",
    [
        heatmap(
            "Lengths of prompts",
            "Requests by the tokens of their prompt.",
            buckets("llmzoo_request_prompt_tokens", _AT_WORKER),
            unit="short",
        ),
        heatmap(
            "Lengths of answers",
            "Requests by the tokens of their answer.",
            buckets("llmzoo_request_generation_tokens", _AT_WORKER),
            unit="short",
        ),
        graph(
            "Tokens generated by model",
            "Tokens a second.",
            Query(
                per_second(f"llmzoo_generation_tokens_total{{{_AT_CONTROLLER}}}", "model"),
                "{{model}}",
            ),
            stacked=True,
        ),
        graph(
            "How answers end",
            "stop: by themselves, length: at their limit, abort: their client left.",
            Query(
                per_second(f"llmzoo_request_success_total{{{_AT_WORKER}}}", "finish_reason"),
                "{{finish_reason}}",
            ),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "Errors at workers",
            "Requests that a worker refused or failed, by the error's type.",
            Query(per_second(f"llmzoo_request_errors_total{{{_AT_WORKER}}}", "type"), "{{type}}"),
            unit="reqps",
        ),
        graph(
            "Requests refused",
            "429: the queue was full, the wait too long; of all models.",
            Query(per_second(f"llmzoo_rejections_total{{{CONTROLLER}}}", "reason"), "{{reason}}"),
            unit="reqps",
        ),
    ],
)

BOARD = Board(
    "models",
    "LLM Zoo: models and objective",
    "What clients of each model wait for, and for what.",
    (_OBJECTIVE, _LATENCY, _PARTS, _CONTENT),
    (Variable("model", "Model", f"llmzoo_workers{{{CONTROLLER}}}"),),
)
