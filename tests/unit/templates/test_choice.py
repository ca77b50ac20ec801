"""Which template a model gets, and what it is told when there is none."""

import pytest

from shared.errors import ConfigurationError, NoChatTemplate
from shared.templates import Message, ModelFacts, choose_template, render
from shared.templates.catalogue import families
from shared.templates.family import Family

TALK = [Message("user", "Hi")]


def chosen(named="", **facts):
    return choose_template(ModelFacts(**facts), named)


def test_the_tokenizer_s_own_comes_first():
    choice = chosen(own="own: {{ messages[0].content }}", names=["vicuna-7b"])
    assert render(TALK, choice.template) == "own: Hi"
    assert "tokenizer" in choice.why


def test_what_was_named_comes_before_it(tmp_path):
    own = {"default": "default", "rag": "{{ bos_token }}rag"}
    facts = {"own": own, "special_tokens": {"bos_token": "<s>"}}
    assert render(TALK, chosen(**facts).template) == "default"
    assert render(TALK, chosen("rag", **facts).template) == "<s>rag"
    assert chosen("zephyr", **facts).template.name == "zephyr"
    (tmp_path / "mine.jinja").write_text("mine {{ messages[0].content }}")
    assert render(TALK, chosen(str(tmp_path / "mine.jinja"), **facts).template) == "mine Hi"


def test_a_data_file_is_a_family_without_any_code(tmp_path):
    file = tmp_path / "house.toml"
    file.write_text(
        'source = "ours"\nstop = ["##"]\n[user]\nprefix = "Q{round}: "\nsuffix = "\\n"\n'
        '[assistant]\nprefix = "A{round}: "\nsuffix = "\\n"\n'
    )
    template = chosen(str(file)).template
    talk = [*TALK, Message("assistant", "Ho"), Message("user", "Bye")]
    assert render(talk, template) == "Q1: Hi\nA1: Ho\nQ2: Bye\nA2: "
    assert (template.name, template.stop) == ("house", ("##",))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[user]\n[assistant]\n", "source"),
        ('source = "x"\n[user]\nprefix = 1\n[assistant]\n', "user.prefix"),
        ('source = "x"\n[user]\n[assistant]\nsufix = ""\n', "assistant.sufix"),
        ("source = ", "cannot be read"),
    ],
)
def test_a_wrong_data_file_names_the_place(tmp_path, content, fault):
    file = tmp_path / "wrong.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=fault) as caught:
        chosen(str(file))
    assert "wrong.toml" in caught.value.message


@pytest.mark.parametrize("named", ["/nowhere/x.jinja", "/nowhere/x.toml", "nonsense"])
def test_a_name_that_leads_nowhere_is_an_error_even_if_the_model_has_its_own(named):
    with pytest.raises(ConfigurationError):
        chosen(named, own="own")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("FreedomIntelligence/phoenix-inst-chat-7b", "phoenix"),
        ("FreedomIntelligence/chimera-chat-13b", "chimera"),
        ("lmsys/vicuna-13b-v1.5", "vicuna_v1.1"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral"),
        ("google/gemma-2-9b-it", "gemma"),
        ("microsoft/phi-2", "phi-2"),
        ("microsoft/Phi-3-mini-4k-instruct", "phi-3"),
        ("microsoft/phi-4", "phi-4"),
        ("Qwen/Qwen2-7B-Instruct", "qwen"),
        ("deepseek-ai/deepseek-llm-7b-chat", "deepseek"),
        ("deepseek-ai/DeepSeek-V3", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "deepseek-v3"),
        ("HuggingFaceH4/zephyr-7b-beta", "zephyr"),
        ("databricks/dolly-v2-12b", "dolly"),
        ("stabilityai/stablelm-tuned-alpha-7b", "stablelm"),
        ("OpenAssistant/oasst-sft-4-pythia-12b-epoch-3.5", "oasst"),
        ("tiiuae/falcon-7b-instruct", "falcon"),
        ("baichuan-inc/Baichuan-13B-Chat", "baichuan"),
        ("baichuan-inc/Baichuan2-13B-Chat", "baichuan2"),
        ("THUDM/chatglm2-6b", "chatglm2"),
        ("THUDM/chatglm3-6b", "chatglm3"),
        ("internlm/internlm-chat-7b", "internlm"),
        ("internlm/internlm2-chat-7b", "internlm2"),
        ("bigscience/bloomz-7b1", "bloomz"),
    ],
)
def test_a_model_s_name_tells_its_family(name, family):
    choice = chosen(names=[name])
    assert choice.template.name == family
    assert "name" in choice.why


def test_a_model_s_type_tells_its_family_where_the_name_does_not():
    choice = chosen(names=["my-model"], model_type="gemma2")
    assert choice.template.name == "gemma"
    assert "gemma2" in choice.why


@pytest.mark.parametrize("name", ["llama-7b", "my-model", "gpt2", "opt-350m", "sophi-3", "phi-35"])
def test_there_is_never_a_silent_default(name):
    with pytest.raises(NoChatTemplate, match=r"LLMZOO_CHAT_TEMPLATE.*chatml.*zephyr"):
        chosen(names=[name], model_type="llama")


def test_several_own_templates_without_a_default_are_named():
    with pytest.raises(ConfigurationError, match="rag, tool_use"):
        chosen(own={"rag": "", "tool_use": ""})


def test_no_two_families_claim_the_same():
    parts = [part for family in families().values() for part in family.models]
    types = [kind for family in families().values() for kind in family.model_types]
    assert len(parts) == len(set(parts))
    assert len(types) == len(set(types))
    assert all(part == part.lower() for part in parts)


def test_a_family_knows_no_field_beside_its_own():
    assert Family.model_config["extra"] == "forbid"
