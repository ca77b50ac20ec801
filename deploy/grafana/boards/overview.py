"""The overview: is the zoo well, and how much does it do."""

from __future__ import annotations

from deploy.grafana.board import Board, Row
from deploy.grafana.panels import graph, stat, table
from deploy.grafana.promql import (
    CONTROLLER,
    FAILED,
    GENERATING,
    OBJECTIVE_SECONDS,
    Query,
    largest,
    or_zero,
    per_second,
    quantile,
    quantiles,
    ratio,
    share,
    told,
    total,
)

_REQUESTS = f"llmzoo_http_requests_total{{{GENERATING}}}"
_FAILURES = f"llmzoo_http_requests_total{{{FAILED}}}"
_READY = largest(f'llmzoo_workers{{{CONTROLLER}, state="ready"}}', "model")
_TTFT = "llmzoo_time_to_first_token_seconds"
_GENERATED = f"llmzoo_generation_tokens_total{{{CONTROLLER}}}"
_QUEUE = f"llmzoo_queue_depth{{{CONTROLLER}}}"
_INFLIGHT = f"llmzoo_inflight_requests{{{CONTROLLER}}}"

_CODE_CLASS = (
    f'sum by (class) (label_replace(rate({_REQUESTS}[$__rate_interval]), "class", "${{1}}xx", '
    '"code", "(.).*"))'
)
_ALERTS = 'ALERTS{alertstate="firing"}'
_NO_ALERT = 'label_replace(vector(0), "alertname", "none", "", "")'

_NOW = Row(
    "Now",
    [
        stat(
            "Ready workers",
            "Workers that take requests, of all models.",
            or_zero(total(_READY)),
            (1, "green"),
            first="red",
        ),
        stat(
            "Requests",
            "Chat and completion requests answered a second.",
            or_zero(per_second(_REQUESTS)),
            unit="reqps",
        ),
        stat(
            "Failed",
            "Share of these that ended with a 5xx: the zoo's own failures.",
            ratio(_FAILURES, _REQUESTS),
            (0.01, "yellow"),
            (0.05, "red"),
            unit="percentunit",
        ),
        stat(
            "First token, p95",
            "Within five minutes 19 of 20 requests had their first token after this time; empty "
            "without requests.",
            told(quantile(0.95, _TTFT, CONTROLLER, window="5m")),
            (OBJECTIVE_SECONDS, "red"),
            unit="s",
        ),
        stat("Generated", "Tokens generated a second.", or_zero(per_second(_GENERATED))),
        stat("In flight", "Requests that are being answered.", total(_INFLIGHT)),
        stat(
            "Waiting",
            "Requests that wait in controllers for a place at a worker.",
            total(_QUEUE),
            (1, "yellow"),
        ),
        stat(
            "Alerts",
            "Alerts that fire; the table below names them.",
            or_zero(f"count({_ALERTS})"),
            (1, "red"),
        ),
    ],
)
_REQUEST_ROW = Row(
    "Requests",
    [
        graph(
            "Answers by kind of code",
            "2xx: answered, 4xx: refused (429: too many), 5xx: failed.",
            Query(_CODE_CLASS, "{{class}}"),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "Time to first token",
            "From a request's last byte to its first token, as controllers see it; the objective.",
            *quantiles(_TTFT, CONTROLLER),
            Query("llmzoo:time_to_first_token_seconds:slo", "objective"),
            unit="s",
        ),
        graph(
            "Tokens a second",
            "Tokens of prompts taken in, and tokens generated.",
            Query(per_second(f"llmzoo_prompt_tokens_total{{{CONTROLLER}}}"), "prompt"),
            Query(per_second(_GENERATED), "generated"),
        ),
        graph(
            "In flight and waiting",
            "Requests that are being answered, and those that wait, by priority.",
            Query(total(_INFLIGHT), "in flight"),
            Query(total(_QUEUE, "priority"), "waiting, {{priority}}"),
        ),
        graph(
            "Failed, by code",
            "Share of chat and completion requests that ended with a 5xx; 503: no ready worker, "
            "502 and 504: workers or other servers failed, 500: a fault of ours.",
            Query(share(_FAILURES, _REQUESTS, "code"), "{{code}}"),
            unit="percentunit",
            stacked=True,
            limit=0.05,
        ),
        graph(
            "Refused, retried, moved",
            "Requests refused because too many wait; taken to another worker before their first "
            "token; answers that went on at another worker, and that could not.",
            Query(per_second(f"llmzoo_rejections_total{{{CONTROLLER}}}"), "refused"),
            Query(per_second(f"llmzoo_router_retries_total{{{CONTROLLER}}}"), "retried"),
            Query(per_second(f"llmzoo_migrations_total{{{CONTROLLER}}}"), "moved"),
            Query(per_second(f"llmzoo_migrations_failed_total{{{CONTROLLER}}}"), "lost"),
            unit="reqps",
        ),
    ],
)
_FLEET_ROW = Row(
    "Fleet",
    [
        graph(
            "Ready workers by model",
            "Workers that take requests.",
            Query(_READY, "{{model}}"),
            stepped=True,
        ),
        graph(
            "Services that answer",
            "Services that Prometheus could scrape, and those that it could not.",
            Query('sum by (service) (up{job="llmzoo"})', "{{service}}"),
            Query(or_zero("count(up == 0)"), "down"),
            stepped=True,
        ),
        table(
            "Alerts",
            "Alerts that fire.",
            f"sum by (alertname, severity) ({_ALERTS}) or on () {_NO_ALERT}",
        ),
        graph(
            "Controllers' own time",
            "What a controller adds to a request before a worker has it, and how late its event "
            "loop is.",
            *(
                Query(quantile(part, metric, CONTROLLER), f"{name}, p{part * 100:.0f}")
                for name, metric in (
                    ("dispatch", "llmzoo_router_overhead_seconds"),
                    ("loop", "llmzoo_event_loop_lag_seconds"),
                )
                for part in (0.5, 0.99)
            ),
            unit="s",
        ),
        graph(
            "Redis' memory",
            "What Redis has taken, and its bound; a bound of 0 is none.",
            Query(largest(f"llmzoo_redis_memory_bytes{{{CONTROLLER}}}", "kind"), "{{kind}}"),
            unit="bytes",
        ),
        graph(
            "Age of the registry's last snapshot",
            "How old what a controller knows of the fleet is; it grows while Redis is away.",
            Query(largest(f"llmzoo_registry_staleness_seconds{{{CONTROLLER}}}", "instance")),
            unit="s",
        ),
    ],
)

BOARD = Board(
    "overview",
    "LLM Zoo: overview",
    "Whether the zoo is well, and how much it does.",
    (_NOW, _REQUEST_ROW, _FLEET_ROW),
)
