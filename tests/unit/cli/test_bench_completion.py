"""One streamed answer as a sample: what counts as a token, and what as a failure."""

from __future__ import annotations

import pytest

from services.cli.bench.completion import CompletionStream, fault_text
from services.cli.bench.connection import Reply, Server
from services.cli.bench.sample import CountedBy, Outcome, Sample
from shared.errors import ConfigurationError, MalformedAnswer, UpstreamFailed
from shared.protocol.sse import DONE, event

FINISH = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
LENGTH = event({"choices": [{"delta": {}, "finish_reason": "length"}]})


def delta(**parts):
    return event({"choices": [{"index": 0, "delta": parts, "finish_reason": None}]})


def read(*events, status=200, error=b"", max_tokens=9):
    """Feed one event a second; return the sample."""
    sample = Sample(0.0)
    stream = CompletionStream(sample, max_tokens)
    for second, data in enumerate(events, 1):
        stream.take(data, float(second))
    stream.end(Reply(status, float(len(events) + 1), error))
    return sample


def test_only_pieces_with_text_arrive():
    usage = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    opening = delta(role="assistant", content="")
    sample = read(opening, delta(content="a"), delta(content="b"), FINISH, usage, DONE)
    assert sample.arrivals == [2.0, 3.0]
    assert (sample.prompt_tokens, sample.output_tokens) == (5, 3)
    assert sample.counted_by is CountedBy.USAGE
    assert (sample.outcome, sample.ended) == (Outcome.COMPLETED, 7.0)


def test_an_event_in_two_reads_arrives_with_its_end():
    whole = delta(content="a")
    assert read(whole[:10], whole[10:], FINISH).arrivals == [2.0]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_text(name):
    assert read(delta(**{name: "a"}), FINISH).arrivals == [1.0]


def test_without_usage_the_limit_that_was_reached_counts():
    sample = read(delta(content="two tokens"), LENGTH, DONE)
    assert (sample.output_tokens, sample.counted_by) == (9, CountedBy.MAX_TOKENS)


def test_without_usage_and_limit_pieces_count():
    sample = read(delta(content="a"), delta(content="b"), FINISH, DONE)
    assert (sample.output_tokens, sample.counted_by) == (2, CountedBy.PIECES)


def test_a_stream_without_done_ends_with_its_finish_reason():
    assert read(delta(content="a"), FINISH).outcome is Outcome.COMPLETED


def test_a_stream_without_any_end_has_failed():
    sample = read(delta(content="a"))
    assert (sample.outcome, sample.fault) == (
        Outcome.FAILED,
        "The answer broke off before its end.",
    )


def test_an_answer_without_tokens_has_failed():
    assert read(event({"text": "error 50001", "error_code": 50001}), DONE).outcome is Outcome.FAILED


def test_an_error_event_fails():
    with pytest.raises(UpstreamFailed, match="all wrong"):
        read(delta(content="a"), event({"error": {"message": "all wrong"}}))


@pytest.mark.parametrize("data", [b"data: nonsense\n\n", b"data: []\n\n", b"data: 1\n\n"])
def test_what_is_no_completion_is_said(data):
    with pytest.raises(MalformedAnswer):
        read(data)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, Outcome.REJECTED),
        (503, Outcome.REJECTED),
        (400, Outcome.FAILED),
        (500, Outcome.FAILED),
        (302, Outcome.FAILED),
    ],
)
def test_a_status_decides(status, outcome):
    sample = read(status=status, error=b'{"error": {"message": "so"}}')
    assert (sample.outcome, sample.fault) == (outcome, f"{status} so")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "a\\n  b"}}', "a b"),
        (b'{"error": "a"}', "a"),
        (b'{"object": "error", "message": "a"}', "a"),
        (b'{"detail": "a"}', "a"),
        (b"<html>", "<html>"),
        (b"", ""),
    ],
)
def test_an_error_is_one_line(body, text):
    assert fault_text(body) == text


def test_a_base_url_with_and_without_v1_is_the_same_server():
    plain, with_v1 = (Server.at(f"http://h:9/x{end}", "") for end in ("", "/v1/"))
    assert plain == with_v1
    assert (plain.host, plain.port, plain.path, plain.tls) == ("h", 9, "/x", False)


def test_https_has_its_port():
    server = Server.at("https://h", "")
    assert (server.port, server.tls) == (443, True)


@pytest.mark.parametrize("url", ["ftp://h", "h", "http://h:x"])
def test_what_is_no_http_url_is_refused(url):
    with pytest.raises(ConfigurationError, match="no http URL"):
        Server.at(url, "")
