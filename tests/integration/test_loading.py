"""Loading a folder, a hub id and the demo model, and each way in which that is refused."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoConfig

from services.worker.loading import load_model
from services.worker.models.placement import choose_dtype
from services.worker.models.weights import Target, load_whole
from shared.compression import PackedLinear, Scheme
from shared.compression.packed_folder import compress_folder
from shared.errors import (
    CheckpointDamaged,
    ConfigurationError,
    ModelNotSupported,
    ModelNotThere,
    ModelTooLarge,
)
from shared.progress import Progress, Stage
from shared.settings import WorkerSettings, load
from tests.fakes.model_files import CONTEXT, save_folder, tiny_llama
from tests.fakes.random_checkpoints import bloom

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_folder(tiny_llama(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that the test may spoil."""
    return shutil.copytree(saved, tmp_path / "tiny")


def loading(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", **settings}
    return load_model(load(WorkerSettings, model=str(folder), **settings))


def edit_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_folder(saved):
    events = []
    loaded = load_model(load(WorkerSettings, model=str(saved), device="cpu"), events.append)
    assert events[0] == Progress(Stage.LOADING)
    fractions = [event.fraction for event in events[1:]]
    assert {event.stage for event in events} == {Stage.LOADING}
    # Its parts are tensors, of which even this one has twenty.
    assert fractions == sorted(set(fractions))
    assert (fractions[0] < 0.1, fractions[-1]) == (True, 1.0)
    assert len(fractions) > 10
    assert loaded.name == "tiny"
    assert loaded.path == saved
    assert loaded.max_model_len == CONTEXT
    assert loaded.eos_token_ids == {2}
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_what_loads_a_model_beside_us_has_its_own_bar(saved):
    from transformers.utils import logging  # noqa: PLC0415 - as the loader is

    loading(saved)
    assert logging.set_tqdm_hook(None) is None


def spread(folder, free):
    """Load over devices of which this machine has one, the CPU, with so many bytes free."""
    config = AutoConfig.from_pretrained(folder)
    target = Target(torch.device("cpu"), torch.float32, {"cpu": free})
    files = [folder / "model.safetensors"]
    return load_whole(
        files, config, target, settings=WorkerSettings(), report=lambda _done, _total: None
    )


def test_layers_that_fit_their_devices_are_laid_over_them(saved):
    prompt = torch.tensor([[1, 5, 9]])
    expected = loading(saved).model(prompt).logits

    assert torch.equal(spread(saved, 10**9)(prompt).logits, expected)


def test_layers_that_do_not_fit_are_not_put_on_the_disk(saved):
    with pytest.raises(ModelTooLarge, match="the rest would go to disk"):
        spread(saved, 1000)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_every_weight_has_the_dtype_asked_for(saved, dtype):
    loaded = loading(saved, dtype=dtype)
    assert loaded.dtype == getattr(torch, dtype)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {loaded.dtype}


def test_auto_dtype_is_bfloat16_on_cuda_and_by_the_processor_here():
    assert choose_dtype("auto", torch.device("cuda")) is torch.bfloat16
    assert choose_dtype("auto", torch.device("cpu")) in {torch.bfloat16, torch.float32}


def test_the_context_of_a_model_with_alibi_is_the_one_it_was_trained_with(tmp_path):
    folder = save_folder(bloom(), tmp_path / "tiny")
    with pytest.raises(ConfigurationError, match="LLMZOO_MAX_MODEL_LEN"):
        loading(folder)
    edit_config(folder, seq_length=48)
    assert loading(folder).max_model_len == 48


def test_name_and_context_of_the_settings_win(saved):
    loaded = loading(saved, model_name="mine", max_model_len=100)
    assert loaded.name == "mine"
    assert loaded.max_model_len == 100


def without_template(folder, name):
    target = folder.with_name(name)
    folder.rename(target)
    for file in target.glob("*.jinja"):
        file.unlink()
    config = target / "tokenizer_config.json"
    fields = json.loads(config.read_text())
    config.write_text(json.dumps({k: v for k, v in fields.items() if k != "chat_template"}))
    return target


def test_the_tokenizer_s_own_template_is_used(saved):
    assert loading(saved).template.name == "tokenizer"


def test_a_folder_s_name_tells_the_family_and_its_stops(folder):
    loaded = loading(without_template(folder, "tiny-openhermes"))
    assert loaded.template.name == "chatml"
    assert loaded.stop_strings == ()
    assert loaded.tokenizer.convert_tokens_to_ids("<|im_end|>") in loaded.eos_token_ids
    again = loading(folder.with_name("tiny-openhermes"), chat_template="alpaca")
    assert again.template.name == "alpaca"
    assert "### Instruction:" in again.stop_strings
    assert again.fingerprint != loaded.fingerprint


def test_a_model_of_no_family_is_loaded_and_says_how_to_name_one(folder):
    loaded = loading(without_template(folder, "base"))
    assert loaded.template is None
    assert "LLMZOO_CHAT_TEMPLATE" in loaded.why_no_template


def test_a_template_that_is_not_there_is_a_wrong_setting(saved):
    with pytest.raises(ConfigurationError, match="'nonsense'"):
        loading(saved, chat_template="nonsense")


@pytest.mark.parametrize(("setting", "kind"), [("load_8bit", "int8"), ("load_4bit", "int4")])
def test_weights_are_packed_on_the_way_in(saved, setting, kind):
    whole, events = loading(saved), []
    settings = {"device": "cpu", "dtype": "float32", setting: True}
    loaded = load_model(load(WorkerSettings, model=str(saved), **settings), events.append)
    packed = [part for part in loaded.model.modules() if isinstance(part, PackedLinear)]
    assert {part.scheme.kind for part in packed} == {kind}
    assert len(packed) == 14
    assert type(loaded.model.lm_head) is torch.nn.Linear  # it is the embedding
    assert loaded.fingerprint != whole.fingerprint
    assert events[-1].fraction == 1
    assert (whole.quantization, whole.compression) == ("none", None)
    assert loaded.quantization == kind
    assert loaded.compression
    # Linears without biases, 4 bytes a weight.
    weights = sum(part.in_features * part.out_features for part in packed)
    assert loaded.compression.original_bytes == 4 * weights
    assert loaded.compression.packed_bytes == sum(part.nbytes for part in packed)
    assert loaded.compression.packed_bytes < 2 * weights
    assert loaded.compression.seconds > 0


def test_a_compressed_folder_is_loaded_as_it_is(saved, tmp_path):
    compress_folder(saved, tmp_path / "small", Scheme("int8"))
    loaded = loading(tmp_path / "small")
    assert isinstance(loaded.model.model.layers[0].mlp.up_proj, PackedLinear)
    assert loaded.quantization == "int8"
    assert loaded.compression
    with pytest.raises(ConfigurationError, match="quantised already"):
        loading(tmp_path / "small", load_4bit=True)


def test_one_size_at_a_time(saved):
    with pytest.raises(ConfigurationError, match="not both"):
        loading(saved, load_8bit=True, load_4bit=True)


@pytest.mark.parametrize(
    ("method", "library"),
    [("gptq", "gptqmodel"), ("awq", "gptqmodel"), ("bitsandbytes", "bitsandbytes")],
)
def test_another_library_s_checkpoint_names_what_to_install(folder, method, library):
    if find_spec(library):
        pytest.skip(f"{library} is installed")
    edit_config(folder, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(ModelNotSupported, match=rf"{method.upper()}.*pip install {library}"):
        loading(folder)


def test_a_context_beyond_the_models_is_refused(saved):
    with pytest.raises(ConfigurationError, match=f"own context of {CONTEXT} tokens"):
        loading(saved, max_model_len=CONTEXT + 1)


def test_every_end_of_sequence_id_counts(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 7]}))
    assert loading(folder).eos_token_ids == {0, 2, 7}


def test_fingerprint_follows_what_decides_the_tokens(saved, folder):
    same = loading(saved).fingerprint
    assert same.startswith("fp_")
    assert loading(folder).fingerprint == same  # another place, the same model
    assert loading(saved, model_name="other", max_model_len=9).fingerprint == same
    assert loading(saved, dtype="bfloat16").fingerprint != same
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert loading(folder).fingerprint != same


def test_fingerprint_sees_one_changed_training(folder):
    before = loading(folder).fingerprint
    model = tiny_llama()
    model.model.layers[0].mlp.up_proj.weight.data.mul_(2)
    model.save_pretrained(folder)
    assert loading(folder).fingerprint != before


@pytest.fixture
def pickled(folder):
    torch.save(tiny_llama().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_pickle_weights_are_refused_and_the_flag_is_named(pickled):
    with pytest.raises(ModelNotSupported, match=r"allow_pickle.*LLMZOO_ALLOW_PICKLE"):
        loading(pickled)


def test_pickle_weights_are_loaded_if_asked(pickled, saved):
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        expected = loading(saved).model(ids).logits
        assert torch.equal(loading(pickled, allow_pickle=True).model(ids).logits, expected)


def test_code_that_comes_with_a_model_is_refused_and_the_flag_is_named(folder):
    marker = folder / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    edit_config(folder, model_type="own", auto_map={"AutoConfig": "own.Own"})
    with pytest.raises(ModelNotSupported, match=r"trust_remote_code.*LLMZOO_TRUST_REMOTE_CODE"):
        loading(folder)
    assert not marker.exists()


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(ModelNotSupported, match=r"no config\.json"):
        loading(tmp_path)
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ModelNotSupported, match="GGUF"):
        loading(tmp_path)
    with pytest.raises(ModelNotThere, match="does not exist"):
        loading(tmp_path / "not-there")


def test_a_config_that_is_no_json(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelNotSupported, match=r"config\.json cannot be read"):
        loading(folder)


def test_an_unknown_architecture(folder):
    edit_config(folder, model_type="telepathy")
    with pytest.raises(ModelNotSupported, match="telepathy"):
        loading(folder)


def test_weights_that_are_not_there(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotSupported, match="has no weights"):
        loading(folder)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotSupported, match=r"model-1\.safetensors, model-2\.safetensors"):
        loading(folder)


def test_weights_that_are_cut_off(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointDamaged, match="cut short"):
        loading(folder)


def test_a_missing_weight_is_not_made_up(folder):
    edit_config(folder, num_hidden_layers=3)
    with pytest.raises(ModelNotSupported, match=r"incomplete: model\.layers\.2"):
        loading(folder)


def test_a_folder_without_a_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelNotSupported):
        loading(folder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there_is_never_the_cpu(saved):
    with pytest.raises(ConfigurationError, match="'cuda'"):
        loading(saved, device="cuda")


def hub_in(tmp_path, code, **environment):
    """Run `code` where the hub library has its own cache; its settings are read at import."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


FETCH = """
from services.worker.models.hub import fetch
from shared.progress import ignore_progress
from shared.errors import LLMZooError
try:
    print(fetch("owner/tiny", allow_pickle=False, report=ignore_progress))
except LLMZooError as fault:
    print(type(fault).__name__, fault.message)
"""


def test_the_hub_in_offline_mode_and_out_of_reach(tmp_path):
    offline = hub_in(tmp_path, FETCH, HF_HUB_OFFLINE="1")
    assert offline.stdout.startswith("ModelDownloadFailed owner/tiny is not in the hub's cache")
    assert "HF_HUB_OFFLINE" in offline.stdout
    away = hub_in(tmp_path, FETCH, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert away.stdout.startswith("ModelDownloadFailed owner/tiny"), away.stderr
    assert "onnect" in away.stdout


def test_a_model_in_the_hubs_cache_asks_no_network(saved, tmp_path):
    repository = tmp_path / "hf" / "hub" / "models--owner--tiny"
    snapshot = shutil.copytree(saved, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    found = hub_in(tmp_path, FETCH, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert found.stdout.strip() == str(snapshot), found.stderr


@pytest.mark.model
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_demo_model_knows_the_capital_of_france(dtype):
    loaded = load_model(load(WorkerSettings, model="demo", dtype=dtype, device="cpu"))
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = loaded.tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = loaded.model.generate(**prompt, max_new_tokens=16, do_sample=False)[0]
    ids = answer[prompt["input_ids"].shape[1] :]
    assert "Paris" in loaded.tokenizer.decode(ids)
    assert int(ids[-1]) in loaded.eos_token_ids
    assert (loaded.name, loaded.max_model_len) == ("demo", 8192)
