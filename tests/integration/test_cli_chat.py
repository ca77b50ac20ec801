"""`llmzoo chat` as a process, against a scripted server on a real socket."""

from __future__ import annotations

import contextlib
import socket
import subprocess

import orjson
import pytest

from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.controller_app import FakeController, Script, ServedApp
from tests.fakes.terminal_process import CTRL_C, CTRL_D, ENTER, PROMPT, TerminalProcess
from tests.fakes.waiting import block_until

ENDLESS = Script(pieces=[f"word{n} " for n in range(10_000)], pause=0.02)


@pytest.fixture
def controller():
    return FakeController(
        models=[{"id": "demo", "state": "ready"}, {"id": "slow", "state": "loading"}],
        scripts={
            "full": Script(status=429, error={"message": "All places are taken."}),
            "break": Script(pieces=["Half"], breaks_off=True),
            "fail": Script(pieces=["Half"], error={"message": "The engine failed."}),
            "long": Script(pieces=["Whole "], finish_reason="length"),
            "endless": ENDLESS,
        },
    )


@pytest.fixture
def url(controller):
    with ServedApp(controller.app) as served:
        yield served.url


@pytest.fixture
def environment(tmp_path, url):
    return clean_environment(LLMZOO_BASE_URL=url, LLMZOO_STATE_DIR=str(tmp_path))


@pytest.fixture
def llmzoo(environment):
    def run(*arguments, stdin="", **variables):
        return subprocess.run(
            [*LLMZOO, *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=False,
            env={**environment, **variables},
            timeout=60,
        )

    return run


@pytest.fixture
def terminal(environment):
    with contextlib.ExitStack() as opened:

        def start(*arguments, **variables):
            command = [*LLMZOO, "chat", *arguments]
            process = TerminalProcess(command, {**environment, **variables})
            return opened.enter_context(process)

        yield start


def test_one_question_prints_the_answer_and_nothing_else(llmzoo, controller):
    done = llmzoo("chat", "Hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello from the fake.\n", b"")
    assert controller.requests[0]["stream"] is True
    assert controller.requests[0]["model"] == "demo"


def test_no_stream_asks_for_the_whole_answer(llmzoo, controller):
    assert llmzoo("chat", "--no-stream", "Hi").stdout == b"Hello from the fake.\n"
    assert not controller.requests[0].get("stream")


def test_stdin_is_the_question_or_is_added_to_it(llmzoo, controller):
    assert llmzoo("chat", stdin="From a pipe\n").returncode == 0
    assert llmzoo("chat", "Summarise:", stdin="A text.\n").returncode == 0
    asked = [request["messages"][-1]["content"] for request in controller.requests]
    assert asked == ["From a pipe", "Summarise:\n\nA text."]


def test_options_reach_the_server(llmzoo, controller):
    options = ("--system", "Be brief.", "--temperature", "0", "--top-p", "0.5", "--max-tokens")
    more = ("9", "--seed", "7", "--stop", "a", "--stop", "b", "--api-key", "sk-1", "--model", "m")
    assert llmzoo("chat", *options, *more, "Hi").returncode == 0
    [request] = controller.requests
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}
    expected = {"temperature": 0, "top_p": 0.5, "max_tokens": 9, "seed": 7, "stop": ["a", "b"]}
    assert expected.items() <= request.items()
    assert request["model"] == "m"


def test_json_is_one_object(llmzoo):
    done = llmzoo("chat", "--json", "Hi")
    answer = orjson.loads(done.stdout)
    assert answer == {
        "model": "demo",
        "content": "Hello from the fake.",
        "finish_reason": "stop",
        "usage": {},
        "request_id": "req-fake-1",
    }


def test_json_tells_a_failure_too(llmzoo):
    done = llmzoo("chat", "--json", "full")
    assert done.returncode == 1
    failure = orjson.loads(done.stdout)
    assert failure["error"]["message"] == "All places are taken."
    assert failure["request_id"] == "req-fake-1"


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("full", "All places are taken. (request req-fake-1)"),
        ("break", "The answer broke off before its end."),
        ("fail", "The engine failed. (request req-fake-1)"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(llmzoo, question, says):
    done = llmzoo("chat", question)
    assert done.returncode == 1
    assert done.stderr.decode() == f"llmzoo: {says}\n"


def test_no_server_is_exit_code_3(llmzoo):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = llmzoo("chat", "Hi", "--base-url", f"http://127.0.0.1:{port}")
    assert done.returncode == 3
    assert b"llmzoo up" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_wrong_usage_is_exit_code_2(llmzoo, controller):
    done = llmzoo("chat", "--temperature", "3", "Hi")
    assert done.returncode == 2
    assert b"--temperature" in done.stderr
    assert controller.requests == []


def test_of_several_models_one_must_be_chosen(llmzoo, controller):
    controller.models = [{"id": "one"}, {"id": "two"}]
    done = llmzoo("chat", "Hi")
    assert done.returncode == 2
    assert b"one, two" in done.stderr


def test_no_ready_model_says_where_to_look(llmzoo, controller):
    controller.models = [{"id": "slow", "state": "loading"}]
    done = llmzoo("chat", "Hi")
    assert done.returncode == 1
    assert b"llmzoo workers" in done.stderr


def test_the_answer_streams_into_a_pipe_and_a_closed_pipe_ends_it(environment, controller):
    with subprocess.Popen(
        [*LLMZOO, "chat", "endless"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout.read(6) == b"word0 "
        process.stdout.close()
        assert process.wait(30) == 1
        assert b"Traceback" not in process.stderr.read()
    block_until(lambda: controller.cut > 0)


def test_ctrl_c_ends_one_question_by_130(terminal, controller):
    shell = terminal("endless")
    shell.expect("word3")
    shell.press(CTRL_C)
    assert shell.ends() == 130
    assert "Traceback" not in shell.text
    block_until(lambda: controller.cut > 0)


@pytest.mark.parametrize("style", ["rich", "plain"])
def test_an_interactive_chat(terminal, controller, style):
    chat = terminal("--style", style)
    chat.expect("Chatting with demo")
    chat.enter("Hi")
    chat.expect("Hello from the fake.")
    chat.expect("TTFT")
    chat.enter("More")
    chat.expect("Hello from the fake.")
    chat.expect("TTFT")
    chat.enter("/exit")
    assert chat.ends() == 0
    roles = [message["role"] for message in controller.requests[1]["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_ctrl_c_stops_the_answer_at_the_server_and_the_chat_goes_on(terminal, controller):
    chat = terminal()
    chat.enter("endless")
    chat.expect("word3")
    chat.press(CTRL_C)
    chat.expect("Stopped.")
    block_until(lambda: controller.cut > 0)
    chat.enter("Go on")
    chat.expect("Hello from the fake.")
    kept = controller.requests[1]["messages"][1]
    assert kept["role"] == "assistant"
    assert kept["content"].startswith("word0 word1 ")
    chat.expect(PROMPT)
    chat.press(CTRL_C)
    chat.expect("Ctrl-C again")
    chat.expect(PROMPT)
    chat.press(CTRL_C)
    assert chat.ends() == 0


@pytest.mark.parametrize("question", ["full", "break", "fail"])
def test_a_failed_question_is_asked_again_by_retry(terminal, controller, question):
    chat = terminal()
    chat.enter(question)
    chat.expect("req-fake-1")
    controller.scripts.clear()
    chat.enter("/retry")
    chat.expect("Hello from the fake.")
    assert controller.requests[0]["messages"] == controller.requests[1]["messages"]
    chat.expect(PROMPT)
    chat.press(CTRL_D)
    assert chat.ends() == 0


def test_a_conversation_is_saved_and_goes_on_elsewhere(terminal, controller, tmp_path):
    file = tmp_path / "talk.json"
    chat = terminal("--system", "Be brief.")
    chat.enter("/set temperature 0.5")
    chat.expect("temperature = 0.5")
    chat.enter("Hi")
    chat.expect("TTFT")
    chat.enter(f"/save {file}")
    chat.expect("Saved as")
    chat.enter(f"/save {file}")
    chat.expect("overwrite")
    chat.expect(PROMPT)
    chat.press(CTRL_D)
    chat.ends()
    other = terminal()
    other.enter(f"/load {file}")
    other.expect("Loaded 2 messages")
    other.enter("More")
    other.expect("TTFT")
    request = controller.requests[-1]
    assert request["temperature"] == 0.5
    assert [m["role"] for m in request["messages"]] == ["system", "user", "assistant", "user"]


def test_a_pasted_text_is_one_question(terminal, controller):
    chat = terminal()
    chat.enter("\x1b[200~first\n/exit\x1b[201~")
    chat.expect("TTFT")
    assert controller.requests[0]["messages"][0]["content"] == "first\n/exit"


def test_tab_completes_a_command(terminal):
    chat = terminal()
    chat.expect(PROMPT)
    chat.press("/ret\t")
    chat.expect("ry")
    chat.press(ENTER)
    chat.expect("There is no question yet.")


def test_a_faulty_command_says_what_is_possible(terminal):
    chat = terminal()
    chat.enter("/nope")
    chat.expect("There are: /help")
    chat.enter("/set temperature hot")
    chat.expect("a number from 0")


def test_plain_style_writes_no_colours(terminal):
    chat = terminal("--style", "plain", "Hi")
    assert chat.ends() == 0
    assert chat.raw == "Hello from the fake.\r\n"


def test_a_chat_that_cannot_find_its_server_does_not_start(terminal):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        chat = terminal("--base-url", f"http://127.0.0.1:{port}")
        assert chat.ends() == 3
