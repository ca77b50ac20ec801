"""`llmzoo eval` against an evaluation API that answers as it is told.

The command line runs in this process, but where a terminal, a signal or its start is the subject.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import orjson
import pytest

from services.cli.main import main
from shared.protocol.evals.run import CallCounts, RunStatus
from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.eval_server import COMPLETED, RUNNING, EvalServer, state
from tests.fakes.terminal_process import CTRL_C, TerminalProcess
from tests.fakes.waiting import block_until

SPEC = """
name: trial
questions:
  - {text: "What is heat?", language: no}
dimensions: [general]
mode: scoring
judge: big
run:
  candidates: [small, large]
"""


@pytest.fixture
def server():
    with EvalServer() as running:
        yield running


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return str(path)


@pytest.fixture
def environment(server, tmp_path):
    return clean_environment(LLMZOO_BASE_URL=server.url, LLMZOO_STATE_DIR=str(tmp_path / "state"))


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def llmzoo(server, monkeypatch, capsys, tmp_path):
    """Runs `llmzoo eval`; returns what became of it."""
    monkeypatch.setenv("LLMZOO_BASE_URL", server.url)
    monkeypatch.setenv("LLMZOO_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llmzoo", "eval", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def terminal(environment):
    def on_terminal(*arguments):
        return TerminalProcess([*LLMZOO, "eval", *arguments], environment)

    return on_terminal


def test_a_spec_is_run_watched_and_told(server, llmzoo, spec, tmp_path):
    middle = state(RunStatus.RUNNING, 4, 5, undecoded=1, warnings=["Two answers are cut."])
    server.states = [RUNNING, middle, {**COMPLETED, "warnings": ["Two answers are cut."]}]
    server.warning = "The judge is a candidate."
    done = llmzoo("run", spec, "--out", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    head, large, small = done.stdout.splitlines()[:3]
    assert head.split() == [
        "GROUP",
        "CANDIDATE",
        "SCORE",
        "MEAN",
        "RANK",
        *["WIN", "RATE", "W/T/L", "N"],
    ]
    assert large.split()[:5] == ["1", "large", "7.25", "[6.25,", "8.25]"]
    assert small.split()[:2] == ["1", "small"]
    assert "10 reviews of 2 questions, 1 undecoded." in done.stdout
    assert "warning: Fewer than 30 questions." in done.stdout
    assert "running, answers 4/4, reviews 5/10, 1 undecoded" in done.stderr
    assert "$0.2500" in done.stderr
    assert "warning: The judge is a candidate." in done.stderr
    assert done.stderr.count("warning: Two answers are cut.") == 1
    assert done.stderr.count("is completed.") == 1
    [run_id] = server.runs
    written = {path.name: path.read_text() for path in (tmp_path / "report").iterdir()}
    assert written == {
        name: f"the {form} of {run_id}"
        for form, name in [
            ("html", "report.html"),
            ("md", "report.md"),
            ("json", "results.json"),
            ("csv", "figures.csv"),
            ("jsonl", "items.jsonl"),
        ]
    }


def test_a_spec_is_sent_as_it_stands(server, llmzoo, spec):
    assert llmzoo("run", spec).returncode == 0
    assert server.bodies("/v1/evals") == [
        {
            "name": "trial",
            "questions": [{"text": "What is heat?", "language": "no"}],
            "dimensions": ["general"],
            "mode": "scoring",
            "judge": "big",
        }
    ]
    assert server.bodies("/runs") == [
        {"candidates": ["small", "large"], "dry_run": True},
        {"candidates": ["small", "large"]},
    ]


def test_the_command_line_changes_candidates_judges_and_budget(server, llmzoo, spec):
    options = [
        "-m",
        "a",
        "-m",
        "quick=b/c",
        "--judge",
        "j",
        "--judge",
        "k",
        "--max-cost-usd",
        "2.5",
    ]
    assert llmzoo("run", spec, *options).returncode == 0
    assert server.bodies("/v1/evals")[0]["judge"] == [{"model": "j"}, {"model": "k"}]
    assert server.bodies("/runs")[1] == {
        "candidates": [{"model": "a"}, {"name": "quick", "model": "b/c"}],
        "limits": {"max_cost_usd": 2.5},
    }


def test_files_are_sent_in_the_place_of_their_paths(server, llmzoo, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question_id": 1, "text": "Q?", "lang": "en"}\n')
    (tmp_path / "a.jsonl").write_text(
        '{"question_id": 1, "model_id": "m", "text": "A"}\n'
        '{"question_id": 1, "model_id": "n", "text": "B"}\n'
    )
    (tmp_path / "r.jsonl").write_text(
        '{"question_id": 1, "dimension": "general", "judge": "j", "lineup": ["m"], "scores": [3]}'
    )
    (tmp_path / "spec.json").write_text(
        '{"questions": "q.jsonl", "dimensions": ["general"],'
        ' "run": {"candidates": [{"name": "m", "answers": "a.jsonl"}], "reviews": "r.jsonl"}}'
    )
    assert llmzoo("run", str(tmp_path / "spec.json")).returncode == 0
    [body] = server.bodies("/v1/evals")
    assert body["questions"] == [{"id": "1", "turns": ["Q?"], "language": "en"}]
    run = server.bodies("/runs")[1]
    assert run["candidates"] == [{"name": "m", "answers": [{"question_id": "1", "turns": ["A"]}]}]
    assert run["reviews"] == [
        {"question_id": "1", "dimension": "general", "judge": "j", "lineup": ["m"], "scores": [3.0]}
    ]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            state(RunStatus.FAILED, 4, error="too many\nerrors"),
            (1, "has failed: too many errors"),
        ),
        (state(RunStatus.CANCELED, 4, reason="user"), (4, "was canceled (user)")),
        (state(RunStatus.CANCELED, 4, reason="deadline"), (4, "llmzoo eval resume evalrun_")),
        (state(RunStatus.CANCELED, 4, reason="budget"), (5, "was canceled (budget)")),
    ],
)
def test_how_a_run_ended_is_the_exit_code(server, llmzoo, spec, end, told):
    server.states = [RUNNING, end]
    done = llmzoo("run", spec)
    code, says = told
    assert done.returncode == code
    assert says in done.stderr


def test_a_run_that_is_over_is_told_again(server, llmzoo, spec):
    server.states = [COMPLETED]
    done = llmzoo("run", spec)
    assert done.returncode == 0
    assert "large" in done.stdout
    assert "answers 4/4" in done.stderr


def test_all_faults_of_a_spec_are_told(server, llmzoo, spec):
    server.faults = [("/candidates/0/model", "is not served"), ("/limits/max_tokens", "is 0")]
    done = llmzoo("run", spec)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "llmzoo: the spec has 2 faults:",
        "  /run/candidates/0/model: is not served",
        "  /run/limits/max_tokens: is 0",
    ]
    assert not server.runs


def test_no_terminal_obeys_what_others_wrote(server, llmzoo, tmp_path):
    server.warning = "red \x1b[31malert\x07"
    (tmp_path / "named.yaml").write_text(SPEC.replace("trial", '"blue \\e]0;title\\a"'))
    done = llmzoo("run", "named.yaml")
    listed = llmzoo("list")
    assert "red [31malert" in done.stderr
    assert "blue ]0;title" in listed.stdout
    assert not {"\x1b", "\x07"} & set(done.stderr + done.stdout + listed.stdout)


def test_a_dry_run_tells_calls_and_cost(server, llmzoo, spec):
    done = llmzoo("run", spec, "--dry-run")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:3] == [
        "calls for answers  4",
        "calls of judges    10, at most 20",
        "tokens             about 500 in, 700 out, at most 3,000 in all",
    ]
    assert not server.runs


def priced(server, cost):
    server.counts = server.counts.model_copy(update={"cost_usd": cost})


@pytest.mark.parametrize("cost", [1.5, None])
def test_money_is_not_spent_unasked(server, llmzoo, spec, cost):
    priced(server, cost)
    done = llmzoo("run", spec)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert not server.runs
    assert llmzoo("submit", spec, "--yes").returncode == 0
    assert server.runs


def test_nothing_is_asked_where_no_call_is_left(server, llmzoo, spec):
    server.counts = CallCounts(
        answers=0,
        judge=0,
        judge_at_most=0,
        prompt_tokens=0,
        completion_tokens=0,
        cost_usd=None,
        tokens_at_most=0,
        cost_usd_at_most=None,
    )
    assert llmzoo("run", spec).returncode == 0


@pytest.mark.parametrize(("key", "code"), [("y\r", 0), ("n\r", 4)])
def test_a_person_is_asked(server, terminal, spec, key, code):
    priced(server, 1.5)
    with terminal("run", spec) as shown:
        shown.expect("$1.50")
        shown.expect("Start it?")
        shown.press(key)
        assert shown.ends() == code
    assert bool(server.runs) == (code == 0)


def test_a_terminal_shows_bars(server, terminal, spec):
    server.states = [RUNNING, state(RunStatus.RUNNING, 4, 5, eta_s=75.0), COMPLETED]
    with terminal("run", spec) as shown:
        shown.expect("answers")
        shown.expect("1/4")
        shown.expect("5/10")
        shown.expect("1:15 left")
        shown.expect("is completed.")
        assert shown.ends() == 0


def test_ctrl_c_leaves_the_run_alone(server, terminal, spec):
    server.states = [RUNNING]
    with terminal("run", spec) as shown:
        shown.expect("1/4")
        shown.press(CTRL_C)
        shown.expect("the run goes on")
        [run_id] = server.runs
        shown.expect(f"llmzoo eval watch {run_id}")
        shown.expect(f"llmzoo eval cancel {run_id}")
        assert shown.ends() == 130
    assert not server.bodies("/cancel")


def test_a_cut_stream_goes_on_where_it_was(server, llmzoo, spec):
    middle = [state(RunStatus.RUNNING, n, n) for n in range(1, 4)]
    server.states = [RUNNING, *middle, COMPLETED]
    server.cut_after = 1
    done = llmzoo("run", spec)
    assert done.returncode == 0
    assert server.last_event_ids == [None, "1", "2", "3"]


def test_watching_outlives_a_restart(server, environment, spec):
    server.states = [RUNNING]
    watching = subprocess.Popen(
        [*LLMZOO, "eval", "run", spec],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    block_until(lambda: server.last_event_ids)
    server.stop()
    lines = iter(watching.stderr.readline, "")
    assert any("waiting: " in line for line in lines)
    server.states = [RUNNING, COMPLETED]
    server.start()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "large" in out
    assert len(server.last_event_ids) > 1


def test_submit_prints_a_name_that_all_commands_take(server, llmzoo, spec):
    server.states = [RUNNING]
    named = llmzoo("submit", spec).stdout.strip()
    told = orjson.loads(llmzoo("submit", spec, "--json").stdout)
    assert named == f"{told['eval_id']}/{told['run_id']}"
    for name in ([named], [told["run_id"]], []):
        done = llmzoo("status", *name)
        assert done.stdout.splitlines()[:2] == [
            named,
            "running, answers 1/4, reviews 0/10, $0.2500",
        ]
    assert orjson.loads(llmzoo("status", "--json").stdout)["id"] == told["run_id"]
    assert told["run_id"] in llmzoo("status", told["eval_id"]).stdout
    server.states = [RUNNING, COMPLETED]
    assert llmzoo("watch", named).returncode == 0


def test_detached_is_not_watched(server, llmzoo, spec):
    server.states = [RUNNING]
    done = llmzoo("run", spec, "--detach")
    assert done.returncode == 0
    assert done.stdout == llmzoo("submit", spec).stdout
    assert "llmzoo eval watch evalrun_" in done.stderr
    assert server.last_event_ids == []


def test_without_a_run_of_our_own_one_must_be_named(llmzoo):
    done = llmzoo("status")
    assert done.returncode == 2
    assert "name one" in done.stderr


def test_an_unknown_run_is_named(llmzoo, spec):
    llmzoo("submit", spec)
    done = llmzoo("status", "evalrun_0")
    assert done.returncode == 1
    assert "evalrun_0" in done.stderr


@pytest.mark.parametrize("name", ["", "/", "eval_1/", "/evalrun_1"])
def test_half_a_name_is_none(server, llmzoo, name):
    done = llmzoo("cancel", name)
    assert done.returncode == 2
    assert "names no run" in done.stderr
    assert server.asked == []


def test_a_run_is_canceled(server, llmzoo, spec):
    server.states = [RUNNING]
    named = llmzoo("submit", spec).stdout.strip()
    done = llmzoo("cancel", named)
    assert done.returncode == 0
    assert "was canceled (user)" in done.stdout
    assert server.bodies("/cancel") == [{}]


def test_a_run_is_resumed(server, llmzoo, spec):
    named = llmzoo("submit", spec).stdout.strip()
    options = ["--only", "errored", "--judge", "other", "--max-cost-usd", "9"]
    done = llmzoo("resume", named, *options)
    assert done.returncode == 0
    body = {"only": "errored", "judge": "other", "limits": {"max_cost_usd": 9.0}}
    assert server.bodies("/resume") == [{**body, "dry_run": True}, body]


def test_another_judge_is_not_paid_unasked(server, llmzoo, spec):
    named = llmzoo("submit", spec).stdout.strip()
    priced(server, 1.5)
    done = llmzoo("resume", named, "--judge", "other")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert "$1.50" in done.stderr
    assert [body.get("dry_run") for body in server.bodies("/resume")] == [True]
    assert llmzoo("resume", named, "--judge", "other", "--yes").returncode == 0
    # What was agreed to goes on unasked.
    assert llmzoo("resume", named).returncode == 0
    assert server.bodies("/resume")[-2:] == [
        {"only": "all_missing", "judge": "other"},
        {"only": "all_missing"},
    ]


def test_reports_are_files_or_stdout(llmzoo, spec, tmp_path):
    named = llmzoo("submit", spec).stdout.strip()
    run_id = named.partition("/")[2]
    assert llmzoo("report", "--format", "md").stdout == f"the md of {run_id}"
    assert llmzoo("report", named).stdout == ""
    assert (tmp_path / f"{run_id}.html").read_text() == f"the html of {run_id}"
    assert llmzoo("report", named, "--out", "made/table.csv").returncode == 0
    assert (tmp_path / "made" / "table.csv").read_text() == f"the csv of {run_id}"


def test_a_report_that_cannot_be_written_is_a_failure(llmzoo, spec, tmp_path):
    llmzoo("submit", spec)
    (tmp_path / "file").touch()
    done = llmzoo("report", "--out", "file/report.html")
    assert done.returncode == 1
    assert "file/report.html" in done.stderr


def test_two_runs_are_compared(llmzoo, spec):
    first = llmzoo("submit", spec).stdout.strip()
    second = llmzoo("submit", spec, "-m", "other").stdout.strip()
    done = llmzoo("compare", first, second)
    head, row = done.stdout.splitlines()[:2]
    assert head.split()[:3] == ["CANDIDATE", "DIMENSION", "BEFORE"]
    assert row.split() == [
        "small",
        "all",
        "5.00",
        "6.00",
        "1.00",
        "[0.50,",
        "1.50]",
        "0.020",
        "separable",
    ]
    told = orjson.loads(llmzoo("compare", first, second, "--json").stdout)
    assert told["other_run_id"] == second.partition("/")[2]


def test_runs_are_listed_also_those_of_openai_clients(server, llmzoo, spec, tmp_path):
    assert "There is no run" in llmzoo("list").stdout
    first = llmzoo("submit", spec).stdout.strip()
    (tmp_path / "other.yaml").write_text(SPEC.replace("trial", "second"))
    second = llmzoo("submit", "other.yaml").stdout.strip()
    head, *rows = llmzoo("list").stdout.splitlines()
    assert head.split()[:3] == ["RUN", "NAME", "STATUS"]
    ids = [named.partition("/")[2] for named in (second, first)]
    assert [row.split()[:2] for row in rows] == [[ids[0], "second"], [ids[1], "trial"]]
    server.openai_run = {
        "id": "evalrun_openai",
        "eval_id": "eval_x",
        "object": "eval.run",
        "status": "in_progress",
        "created_at": 1_700_000_000,
        "model": "small",
        "result_counts": {"total": 8, "errored": 1, "failed": 2, "passed": 3},
    }
    rows = orjson.loads(llmzoo("list", "--json", "--limit", "1").stdout)
    assert rows[0]["status"] == "running"
    assert rows[0]["progress"]["done"] == 6


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("questions: [", (1, "spec.yaml:1: ")),
        ("a: 1\na: 2", (1, "spec.yaml:2: 'a' stands twice")),
        ("- a", (1, "spec.yaml: is no mapping")),
        ("run: [a]", (1, "spec.yaml: has a run that is no mapping")),
        ("questions: none.jsonl\nrun: {candidates: [m]}", (1, "none.jsonl: No such file")),
        ("questions: en", (2, "--model")),
        ("questions: en\ndimensions: [general]\nrun: {candidates: [m]}", (2, "--judge")),
        ("testing_criteria: []", (2, "OpenAI's client")),
    ],
)
def test_a_wrong_spec_file_is_told_before_anybody_is_asked(server, llmzoo, tmp_path, content, told):
    (tmp_path / "spec.yaml").write_text(content)
    done = llmzoo("run", "spec.yaml")
    code, says = told
    assert done.returncode == code
    assert says in done.stderr
    assert server.asked == []


def test_an_unknown_spec_is_told_with_those_that_come_along(llmzoo):
    done = llmzoo("run", "mt-bench")
    assert done.returncode == 2
    assert "mt-bench-like, multilingual, pairwise" in done.stderr


@pytest.mark.parametrize(
    ("name", "mode", "alone"),
    [
        ("mt-bench-like", "scoring", True),
        ("pairwise", "pairwise", None),
        ("multilingual", *("scoring", True)),
    ],
)
def test_benches_come_along(server, llmzoo, name, mode, alone):
    done = llmzoo("run", name, "-m", "demo", "-m", "other", "--judge", "big")
    assert done.returncode == 0
    [body] = server.bodies("/v1/evals")
    assert (body["mode"], body.get("alone")) == (mode, alone)
    assert body["judge"][0]["model"] == "big"
    assert body["judge"][0]["sampling"]["temperature"] == 0
    assert server.bodies("/runs")[1]["candidates"] == [{"model": "demo"}, {"model": "other"}]


def test_nobody_there_is_exit_code_3(spec):
    done = subprocess.run(
        [*LLMZOO, "eval", "run", spec, "--base-url", "http://127.0.0.1:9"],
        capture_output=True,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == 3


def test_import_makes_a_spec_that_run_takes(server, llmzoo, tmp_path):
    (tmp_path / "annotations.json").write_text(
        orjson.dumps(
            [
                {
                    "instruction": f"Do {n}.",
                    "output_1": "a",
                    "output_2": "b",
                    "generator_1": "base",
                    "generator_2": "new",
                    "preference": preference,
                    "annotator": "judge",
                }
                for n, preference in enumerate([1.0, 2.0, 1.75, None])
            ]
        ).decode()
    )
    done = llmzoo("import", "alpacaeval", "annotations.json", "--out", "made/alpaca.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "made/alpaca.yaml: 4 questions, 2 candidates, 3 reviews\n"
    assert "new against base: win rate 58.33 %" in done.stderr
    assert "reviews without verdict and text, left out: 1" in done.stderr
    assert llmzoo("run", "made/alpaca.yaml").returncode == 0
    [body] = server.bodies("/v1/evals")
    assert body["mode"] == "pairwise"
    assert "judge" not in body
    run = server.bodies("/runs")[1]
    assert [len(each["answers"]) for each in run["candidates"]] == [4, 4]
    assert [review["ranks"] for review in run["reviews"]] == [[1, 2], [2, 1], [2, 1]]
