"""The evaluator: runs, items, judges, and what calls cost."""

from __future__ import annotations

from deploy.grafana.board import Board, Row
from deploy.grafana.panels import graph, heatmap, stat
from deploy.grafana.promql import (
    CONTROLLER,
    EVALUATOR,
    Query,
    buckets,
    largest,
    or_zero,
    per_second,
    quantiles,
    ratio,
    rise,
    total,
)

_RANGE = "$__range"
_JOBS = f"llmzoo_eval_jobs{{{EVALUATOR}}}"
_ITEMS = "llmzoo_eval_items_total"
_CALLS = "llmzoo_judge_calls_total"
_SECONDS = "llmzoo_judge_call_seconds"
_DURATION = "llmzoo_eval_job_seconds"
_STORED = f"llmzoo_call_store_calls_total{{{CONTROLLER}}}"
_AGE = f"llmzoo_eval_oldest_progress_age_seconds{{{EVALUATOR}}}"


def _share(metric: str, outcome: str, window: str) -> str:
    return ratio(
        f'{metric}{{{EVALUATOR}, outcome="{outcome}"}}', f"{metric}{{{EVALUATOR}}}", window=window
    )


_NOW = Row(
    "Now",
    [
        *(
            stat(
                f"Runs {state}",
                "Of the whole fleet.",
                largest(f'llmzoo_eval_jobs{{{EVALUATOR}, state="{state}"}}'),
                width=4,
            )
            for state in ("queued", "running")
        ),
        stat(
            "Without progress for",
            "How long the running run that stands still longest has done so; 0 without runs.",
            largest(_AGE),
            (300, "yellow"),
            (900, "red"),
            unit="s",
            width=4,
        ),
        stat(
            "Items",
            "Items finished in the time shown.",
            rise(f"{_ITEMS}{{{EVALUATOR}}}", window=_RANGE),
            width=4,
        ),
        stat(
            "Undecoded",
            "Share of them whose verdict had no single reading, in the time shown.",
            _share(_ITEMS, "undecoded", _RANGE),
            (0.02, "yellow"),
            (0.1, "red"),
            unit="percentunit",
            width=4,
        ),
        stat(
            "Judge calls failed",
            "Share of the calls to judges that failed after all tries, in the time shown.",
            _share(_CALLS, "failed", _RANGE),
            (0.02, "yellow"),
            (0.1, "red"),
            unit="percentunit",
            width=4,
        ),
    ],
)
_RUNS = Row(
    "Runs and items",
    [
        graph(
            "Open runs",
            "Queued and running, of the whole fleet.",
            Query(largest(_JOBS, "state"), "{{state}}"),
            stacked=True,
            stepped=True,
        ),
        graph(
            "Runs that ended",
            "By how they ended, an hour.",
            Query(
                f"3600 * {per_second(f'{_DURATION}_count{{{EVALUATOR}}}', 'state')}", "{{state}}"
            ),
        ),
        graph(
            "How long runs took",
            "Seconds that an evaluator worked on a run.",
            *quantiles(_DURATION, EVALUATOR),
            unit="s",
        ),
        graph(
            "Items finished",
            "By outcome, a second.",
            Query(per_second(f"{_ITEMS}{{{EVALUATOR}}}", "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "Verdicts without a reading",
            "Share of the finished items that are undecoded, and of those that failed.",
            Query(_share(_ITEMS, "undecoded", "$__rate_interval"), "undecoded"),
            Query(_share(_ITEMS, "errored", "$__rate_interval"), "errored"),
            unit="percentunit",
        ),
        graph(
            "Longest standstill",
            "How long the running run that stands still longest has done so.",
            Query(largest(_AGE, "instance"), "{{instance}}"),
            unit="s",
            limit=900,
        ),
    ],
)
_JUDGES = Row(
    "Judges and calls",
    [
        heatmap(
            "Judge calls",
            "How many judges took which time to answer, without the wait before they were asked.",
            buckets(_SECONDS, EVALUATOR),
        ),
        graph(
            "Time of judge calls",
            "Until a judge answered, without the wait before it was asked.",
            *quantiles(_SECONDS, EVALUATOR),
            unit="s",
        ),
        graph(
            "Judge calls by outcome",
            "Retries not counted.",
            Query(per_second(f"{_CALLS}{{{EVALUATOR}}}", "outcome"), "{{outcome}}"),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "Calls with an Idempotency-Key",
            "replayed: answered from the store, at no cost; stored: computed and kept.",
            Query(per_second(_STORED, "outcome"), "{{outcome}}"),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "Batch requests that wait",
            "In controllers; an evaluation's calls give way to people's.",
            Query(total(f'llmzoo_queue_depth{{{CONTROLLER}, priority="batch"}}'), "batch"),
        ),
        graph(
            "Failures of the evaluator itself",
            "Faults caught, and runs whose data Redis lost.",
            Query(per_second(f"llmzoo_eval_faults_total{{{EVALUATOR}}}"), "faults"),
            Query(per_second(f"llmzoo_eval_runs_lost_total{{{EVALUATOR}}}"), "runs lost"),
        ),
        graph(
            "Calls to other servers",
            "To models of the endpoints file, by outcome.",
            Query(
                or_zero(per_second(f"llmzoo_endpoint_requests_total{{{CONTROLLER}}}", "outcome")),
                "{{outcome}}",
            ),
            unit="reqps",
        ),
        graph(
            "Cost of other servers",
            "By the prices of the endpoints file, an hour.",
            Query(
                or_zero(
                    f"3600 * {per_second(f'llmzoo_endpoint_cost_total{{{CONTROLLER}}}', 'currency')}"
                ),
                "{{currency}}",
            ),
        ),
        graph(
            "Stored calls",
            "Bytes of the answers that are kept: records in Redis, blobs in the folder.",
            Query(largest(f"llmzoo_call_store_bytes{{{CONTROLLER}}}", "kind"), "{{kind}}"),
            unit="bytes",
        ),
    ],
)

BOARD = Board(
    "evaluator",
    "LLM Zoo: evaluator",
    "Runs, items, judges, and what calls cost.",
    (_NOW, _RUNS, _JUDGES),
)
