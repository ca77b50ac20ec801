"""Every family's prompt, letter by letter, as its makers publish the format."""

import pytest

from shared.templates import Message, render
from shared.templates.catalogue import families

TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]
SYSTEM = {"role": "system", "content": "Be brief."}

# Family -> (the talk alone, the talk after a system message), both up to the next answer.
GOLDEN = {
    "llama-2": (
        "<s>[INST] Hi [/INST] Hello! </s><s>[INST] Bye [/INST]",
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Bye [/INST]",
    ),
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "chatml": (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    ),
    "internlm2": (
        "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
        "<s><|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    ),
    "mistral": (
        "<s>[INST] Hi [/INST] Hello!</s>[INST] Bye [/INST]",
        "<s>[INST] Be brief.\n\nHi [/INST] Hello!</s>[INST] Bye [/INST]",
    ),
    "gemma": (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"
        "<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
    ),
    "phi-2": (
        "Instruct: Hi\nOutput: Hello!\nInstruct: Bye\nOutput:",
        "Be brief.\nInstruct: Hi\nOutput: Hello!\nInstruct: Bye\nOutput:",
    ),
    "phi-3": (
        "<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n",
        "<|system|>\nBe brief.<|end|>\n"
        "<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n",
    ),
    "phi-4": (
        "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>Hello!<|im_end|>"
        "<|im_start|>user<|im_sep|>Bye<|im_end|><|im_start|>assistant<|im_sep|>",
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|>"
        "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>Hello!<|im_end|>"
        "<|im_start|>user<|im_sep|>Bye<|im_end|><|im_start|>assistant<|im_sep|>",
    ),
    "deepseek": (
        "<｜begin▁of▁sentence｜>User: Hi\n\nAssistant: Hello!<｜end▁of▁sentence｜>"
        "User: Bye\n\nAssistant:",
        "<｜begin▁of▁sentence｜>Be brief.\n\nUser: Hi\n\nAssistant: Hello!<｜end▁of▁sentence｜>"
        "User: Bye\n\nAssistant:",
    ),
    "deepseek-v3": (
        "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜>"
        "<｜User｜>Bye<｜Assistant｜>",
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜>"
        "<｜User｜>Bye<｜Assistant｜>",
    ),
    "zephyr": (
        "<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n<|user|>\nBye</s>\n<|assistant|>\n",
        "<|system|>\nBe brief.</s>\n"
        "<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n<|user|>\nBye</s>\n<|assistant|>\n",
    ),
    "oasst": (
        "<|prompter|>Hi<|endoftext|><|assistant|>Hello!<|endoftext|>"
        "<|prompter|>Bye<|endoftext|><|assistant|>",
        "<|system|>Be brief.<|endoftext|><|prompter|>Hi<|endoftext|>"
        "<|assistant|>Hello!<|endoftext|><|prompter|>Bye<|endoftext|><|assistant|>",
    ),
    "falcon": (
        "User: Hi\n\nAssistant: Hello!\n\nUser: Bye\n\nAssistant:",
        "Be brief.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: Bye\n\nAssistant:",
    ),
    "baichuan": (
        "<reserved_102>Hi<reserved_103>Hello!</s><reserved_102>Bye<reserved_103>",
        "Be brief.<reserved_102>Hi<reserved_103>Hello!</s><reserved_102>Bye<reserved_103>",
    ),
    "baichuan2": (
        "<reserved_106>Hi<reserved_107>Hello!</s><reserved_106>Bye<reserved_107>",
        "Be brief.<reserved_106>Hi<reserved_107>Hello!</s><reserved_106>Bye<reserved_107>",
    ),
    "chatglm2": (
        "[Round 1]\n\n问：Hi\n\n答：Hello!\n\n[Round 2]\n\n问：Bye\n\n答：",
        "Be brief.\n\n[Round 1]\n\n问：Hi\n\n答：Hello!\n\n[Round 2]\n\n问：Bye\n\n答：",
    ),
    "chatglm3": (
        "[gMASK]sop<|user|>\n Hi<|assistant|>\n Hello!<|user|>\n Bye<|assistant|>",
        "[gMASK]sop<|system|>\n Be brief.<|user|>\n Hi<|assistant|>\n Hello!"
        "<|user|>\n Bye<|assistant|>",
    ),
    "glm-4": (
        "[gMASK]<sop><|user|>\nHi<|assistant|>\nHello!<|user|>\nBye<|assistant|>\n",
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHi<|assistant|>\nHello!"
        "<|user|>\nBye<|assistant|>\n",
    ),
    "internlm": (
        "<s><|User|>:Hi<eoh>\n<|Bot|>:Hello!<eoa>\n<|User|>:Bye<eoh>\n<|Bot|>:",
        "<s>Be brief.\n<|User|>:Hi<eoh>\n<|Bot|>:Hello!<eoa>\n<|User|>:Bye<eoh>\n<|Bot|>:",
    ),
    "bloomz": ("Hi\nHello!</s>\nBye\n", "Be brief.\nHi\nHello!</s>\nBye\n"),
    "plain": ("HiHello!Bye", "Be brief.HiHello!Bye"),
}
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request."
)
STABLELM = (
    "# StableLM Tuned (Alpha version)\n"
    "- StableLM is a helpful and harmless open-source AI language model developed by StabilityAI.\n"
    "- StableLM is excited to be able to help the user, but will refuse to do anything that could "
    "be considered harmful to the user.\n"
    "- StableLM is more than just an information source, StableLM is also able to write poetry, "
    "short stories, and make jokes.\n"
    "- StableLM will refuse to participate in anything that could harm a human.\n"
)
# Family -> (its own system text, how a prompt begins with a system text, the rest).
WITH_DEFAULTS = {
    "vicuna_v1.1": (VICUNA, "{} ", "USER: Hi ASSISTANT: Hello!</s>USER: Bye ASSISTANT:"),
    "alpaca": (
        ALPACA,
        "{}\n\n",
        "### Instruction:\nHi\n\n### Response:\nHello!</s>\n\n"
        "### Instruction:\nBye\n\n### Response:\n",
    ),
    "dolly": (
        ALPACA,
        "{}\n\n",
        "### Instruction:\nHi\n\n### Response:\nHello!\n\n### End\n\n"
        "### Instruction:\nBye\n\n### Response:\n",
    ),
    "stablelm": (
        STABLELM,
        "<|SYSTEM|>{}",
        "<|USER|>Hi<|ASSISTANT|>Hello!<|USER|>Bye<|ASSISTANT|>",
    ),
}
LLMZOO = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions.\n\n"
)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_published_format(name):
    alone, with_system = GOLDEN[name]
    assert render(TALK, name) == alone
    assert render([SYSTEM, *TALK], name) == with_system


@pytest.mark.parametrize("name", WITH_DEFAULTS)
def test_the_published_format_with_the_family_s_own_system_text(name):
    default, frame, rest = WITH_DEFAULTS[name]
    assert render(TALK, name) == frame.format(default) + rest
    assert render([SYSTEM, *TALK], name) == frame.format("Be brief.") + rest
    assert render([{"role": "system", "content": ""}, *TALK], name) == rest


def llmzoo(system: str, turns: list[Message], generate: bool) -> str:
    """LLMZoo's prompt: a role, and its text between the marks; no text leaves the second off."""
    names = {"user": "Human", "assistant": "Assistant"}
    body = "".join(
        f"{names[turn.role]}: <s>{turn.text}</s>" if turn.text else f"{names[turn.role]}: <s>"
        for turn in turns
    )
    return system + body + ("Assistant: <s>" if generate else "")


@pytest.mark.parametrize("name", ["phoenix", "chimera"])
@pytest.mark.parametrize("count", range(7))
@pytest.mark.parametrize("system", [None, "", "Be brief.", "Two\n\nparagraphs. "])
@pytest.mark.parametrize("generate", [True, False])
def test_llmzoo_s_own_families_are_byte_equal(name, count, system, generate):
    texts = ["Wer bist du?", "I am — 我是 — Phoenix.", " spaced \n", "a</s>b", "🦜", "last"]
    turns = [Message(("user", "assistant")[i % 2], texts[i]) for i in range(count)]
    messages = turns if system is None else [Message("system", system), *turns]
    expected = llmzoo(LLMZOO if system is None else system, turns, generate)
    assert render(messages, name, add_generation_prompt=generate) == expected


@pytest.mark.parametrize("generate", [True, False])
def test_llmzoo_s_open_turn_is_where_the_answer_begins(generate):
    turns = [Message("user", "Hi"), Message("assistant", "")]
    expected = llmzoo(LLMZOO, turns, generate=False)
    assert render(turns, "phoenix", add_generation_prompt=generate) == expected


def test_every_family_has_its_golden_prompt():
    assert set(families()) == {*GOLDEN, *WITH_DEFAULTS, "phoenix", "chimera"}
    assert len(families()) >= 22
