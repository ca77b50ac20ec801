"""The command line: options, help, and the way from a failure to an exit code."""

from __future__ import annotations

import io
import sys

import pytest

from services.cli import failures
from services.cli.failures import ExitCode, exit_code, one_line
from services.cli.main import main
from shared.client import APIError
from shared.errors import AlreadyRunning, ConfigurationError, ModelNotThere, Unavailable


@pytest.fixture
def llmzoo(monkeypatch, capsys, tmp_path):
    """Runs the command line in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("LLMZOO_STATE_DIR", str(tmp_path))

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["llmzoo", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chat", "--temperature", "3", "Hi"], "--temperature: temperature cannot be 3.0"),
        (["chat", "--temperature", "nan", "Hi"], "from 0"),
        (["chat", "--top-p", "-1", "Hi"], "a number from 0 to 1"),
        (["chat", "--max-tokens", "0", "Hi"], "--max-tokens: max_tokens cannot be 0"),
        (["chat", "--max-tokens", "many", "Hi"], "--max-tokens"),
        (["chat", "--stop", "", "Hi"], "--stop"),
        (["chat", "--nope"], "No such option"),
        (["chat", "one", "two"], "two"),
        (["chat", ""], "the question is empty"),
        (["chat"], "the question is empty"),
        (["chat", "--local", "demo", "--model", "m", "Hi"], "--local asks no server"),
        (["chat", "--base-url", "ftp://x", "Hi"], "no http URL"),
        (["chat", "--style", "baroque", "Hi"], "--style"),
        (["models", "--base-url", "x"], "no http URL"),
        (["up", "--workers", "0"], "--workers"),
        (["bench", "serve", "--concurrency", "0"], "no list of numbers"),
        (["bench", "engine", "--concurrency", "1,,2"], "no list of numbers"),
        (["bench", "serve", "--rate", "nan"], "--rate"),
        (["bench", "serve", "--base-url", "ftp://x"], "no http URL"),
        (["bench", "engine", "--load-8bit", "--load-4bit"], "--load-4bit"),
        (["eval", "run"], "SPEC"),
        (["eval", "run", "pairwise", "--max-cost-usd", "-1"], "--max-cost-usd"),
        (["eval", "run", "pairwise", "-m", "a", "-m", "b"], "--judge"),
        (["eval", "resume", "r", "--only", "all"], "--only"),
        (["eval", "import", "helm", "f", "--out", "s.yaml"], "FORMAT"),
        (["eval", "import", "fastchat", "--out", "s.yaml"], "PATH"),
        (["nope"], "No such command"),
    ],
)
def test_wrong_usage_is_told_and_is_exit_code_2(llmzoo, arguments, says):
    code, out, err = llmzoo(*arguments)
    assert code == 2
    assert says in err
    assert out == ""


def test_stdin_that_is_no_text_is_refused(llmzoo):
    code, _, err = llmzoo("chat", stdin=b"caf\xe9")
    assert code == 2
    assert "stdin is not UTF-8 text (byte 3)" in err


def test_a_wrong_variable_is_named(llmzoo, monkeypatch):
    monkeypatch.setenv("LLMZOO_LOG_LEVEL", "loud")
    code, _, err = llmzoo("chat", "Hi")
    assert code == 2
    assert "LLMZOO_LOG_LEVEL" in err


def test_without_arguments_there_is_help(llmzoo):
    _, out, err = llmzoo()
    assert "llmzoo up" in out + err


@pytest.mark.parametrize(
    "command",
    [
        *("", "up", "down", "chat", "models", "models add", "compress", "delta", "delta make"),
        *("delta apply", "bench", "bench serve", "bench engine", "workers", "doctor", "version"),
        *("eval", "eval run", "eval submit", "eval status", "eval watch", "eval cancel"),
        *("eval resume", "eval report", "eval compare", "eval list", "eval import"),
        "eval artefacts",
    ],
)
def test_every_command_has_help(llmzoo, command):
    code, out, _ = llmzoo(*command.split(), "--help")
    assert code == 0
    assert out.startswith("Usage: llmzoo")
    assert llmzoo(*command.split(), "-h") == (0, out, "")


def test_the_help_of_chat_keeps_its_examples_apart(llmzoo):
    _, out, _ = llmzoo("chat", "--help")
    assert "\n    llmzoo chat --json" in out


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version(llmzoo, asked):
    code, out, _ = llmzoo(asked)
    assert code == 0
    assert out.startswith("llmzoo ")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Unavailable("x"), ExitCode.CANNOT_CONNECT),
        (APIError(503, {}, "", None), ExitCode.FAILURE),
        (APIError(400, {}, "", None), ExitCode.FAILURE),
        (ConfigurationError("x"), ExitCode.USAGE),
        (AlreadyRunning("x"), ExitCode.USAGE),
        (ModelNotThere("x"), ExitCode.FAILURE),
    ],
)
def test_a_failure_has_an_exit_code(fault, code):
    assert exit_code(fault) == code


def test_exit_codes_are_those_that_are_documented():
    assert [code.value for code in failures.ExitCode] == [0, 1, 2, 3, 4, 5, 130]


def test_a_failure_is_one_line_with_its_request():
    fault = APIError(429, {"message": "All\n places\ttaken."}, "req-1", 1.5)
    assert one_line(fault) == "All places taken. Try again in 1.5 s. (request req-1)"
    assert one_line(Unavailable("Gone."), "req-2").endswith("(request req-2)")
