"""Passages that were read are not read again, and nothing else changes."""

from __future__ import annotations

import random
import resource
import threading
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_transformers.causal import Causal
from ragcore_transformers.configs import CausalConfig
from ragcore_transformers.plugin import ragcore_forget
from ragcore_transformers.reuse import PassageCache
from ragcore_transformers.reuse_files import StateFiles
from ragcore_transformers.reuse_folder import digest_of, files_in, size_of
from ragcore_transformers.states import PassageStates
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ragcore.errors import UnsupportedOperation
from ragcore.registry.components import ComponentConfig
from ragcore.types import Passage

KINDS = ["llama", "gpt2", "qwen2", "phi", "gpt_neox"]
PASSAGES = [
    Passage("1", "Chad", "N'Djamena is the capital of Chad."),
    Passage("2", "Ethiopia, Government", "Abiy Ahmed Ali, since April 2018"),
    Passage("3", "", "Nairobi, the largest city of Kenya, unknown to most"),
    Passage("4", "Who?", "?!"),
]
QUESTIONS = ["What is the capital of Chad?", "Who?", "1 or 2 </s> Ministers", "\n\n", "é"]
SHORT = {"template": "{title}: {text}\n{question}\n", "template_without_passage": "{question}\n"}

tiny.CAUSAL |= {
    "qwen2": {**tiny.LLAMA},
    "phi": {**tiny.LLAMA, "num_key_value_heads": 4},
    "gpt_neox": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 192,
    },
}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    kinds = [*KINDS, "bloom", "mistral", "mamba"]
    return {kind: tiny.save_causal(kind, tmp_path_factory.mktemp(kind)) for kind in kinds}


@pytest.fixture(scope="session")
def llama(checkpoints: dict[str, Path]) -> Path:
    return checkpoints["llama"]


@pytest.fixture(scope="session")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_causal("llama", tmp_path_factory.mktemp("chat"), chat=True)


def made(folder: Path, **options: object) -> Causal:
    return Causal(CausalConfig(**{"model": str(folder), **SHORT, **options}))


@torch.no_grad()
def decoded(
    generator: Causal, questions: list[str], passages: list[Passage | None], tokens: int = 3
) -> torch.Tensor:
    """Log p [pairs, tokens, V] of two tokens that are fed, and what follows them."""
    read = generator.read(questions, passages)
    state = generator.start(read, torch.arange(len(questions)))
    steps = [generator.step(state, None)]
    for token in range(1, tokens):
        fed = torch.arange(len(questions)) + 10 * token
        steps.append(generator.step(state, fed))
    return torch.stack(steps, dim=1)


def equal(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [2, 16])
def test_known_and_new_passages_are_read_together(
    checkpoints: dict[str, Path], kind: str, batch_size: int
) -> None:
    """Pairs whose passage is known, new, repeated or missing; questions of any length."""
    generator = made(checkpoints[kind], batch_size=batch_size)
    plain = made(checkpoints[kind], batch_size=batch_size, reuse=None)
    pairs: list[tuple[str, Passage | None]] = [
        *((QUESTIONS[0], passage) for passage in PASSAGES[:2]),
    ]
    equal(
        decoded(generator, *map(list, zip(*pairs, strict=True))),
        decoded(plain, *map(list, zip(*pairs, strict=True))),
    )
    pairs = [(question, passage) for question in QUESTIONS for passage in [*PASSAGES, None]]
    random.Random(1).shuffle(pairs)
    questions, passages = [question for question, _ in pairs], [passage for _, passage in pairs]
    equal(decoded(generator, questions, passages), decoded(plain, questions, passages))
    counts = generator.reuse_counts()
    assert counts is not None
    # Two passages were known, and of the others all but the first pair is a repetition.
    assert (counts.hits, counts.misses) == (18, 4)
    assert counts.passages == 4
    assert plain.reuse_counts() is None
    # Once more, all of them known.
    equal(decoded(generator, questions, passages), decoded(plain, questions, passages))
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.misses == 4


def test_only_what_follows_a_known_passage_is_run(llama: Path) -> None:
    generator = made(llama)
    long = Passage("5", "Kenya", "Nairobi is the largest city of the country. " * 4)
    widths: list[int] = []
    generator.model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    with torch.no_grad():
        generator.read(["Who?"], [long])
        generator.read(["What is the capital?"], [long])
    whole, rest = widths
    question = generator.tokenizer("What is the capital?\n", add_special_tokens=False).input_ids
    assert rest <= len(question) + 1 < whole
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.tokens_read == whole + rest
    assert whole - 5 < counts.tokens_reused < whole


def test_scores_of_known_passages_are_the_same(llama: Path) -> None:
    generator, plain = made(llama), made(llama, reuse=None)
    targets = torch.tensor([[5, 9, 7, 2], [6, 2, -1, -1], [2, -1, -1, -1]])
    pairs = torch.tensor([0, 1, 1])
    with torch.no_grad():
        for question in QUESTIONS:
            read = [each.read([question] * 2, PASSAGES[:2]) for each in (generator, plain)]
            equal(generator.score(read[0], pairs, targets), plain.score(read[1], pairs, targets))


@settings(max_examples=25, deadline=None)
@given(
    text=st.text("ab Cé.\n</s>?1", min_size=0, max_size=30),
    questions=st.lists(st.text("ab Cé.\n</s>?1", min_size=1, max_size=12), min_size=2, max_size=3),
)
def test_any_text_gives_the_same(llama: Path, text: str, questions: list[str]) -> None:
    """Where the question changes how the passage's end is tokenized, that part is read again."""
    generator, plain = _pair(llama)
    passage = Passage("x", "T", text)
    for question in questions:
        equal(decoded(generator, [question], [passage]), decoded(plain, [question], [passage]))


_PAIRS: dict[Path, tuple[Causal, Causal]] = {}


def _pair(folder: Path) -> tuple[Causal, Causal]:
    if folder not in _PAIRS:
        _PAIRS[folder] = made(folder), made(folder, reuse=None)
    return _PAIRS[folder]


def test_a_chat_with_a_system_message_is_reused(chatty: Path) -> None:
    options = {"system": "Answer in one word."}
    generator, plain = made(chatty, **options), made(chatty, reuse=None, **options)
    for question in QUESTIONS[:3]:
        some = [question] * 3, [*PASSAGES[:3]]
        equal(decoded(generator, *some), decoded(plain, *some))
    counts = generator.reuse_counts()
    assert counts is not None
    assert (counts.hits, counts.misses) == (6, 3)


def test_a_passage_that_is_cut_is_right_for_each_question(llama: Path) -> None:
    """How much of it is read depends on the question's length."""
    long = Passage("5", "Kenya", "Nairobi is the largest city of the country. " * 9)
    generator = made(llama, max_input_tokens=60)
    plain = made(llama, max_input_tokens=60, reuse=None)
    questions = ["Who?", "What is the capital of Kenya, and since when? " * 2, "Who else?"]
    for question in questions:
        equal(decoded(generator, [question], [long]), decoded(plain, [question], [long]))
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.hits >= 1


def test_prompts_may_end_at_the_last_position(checkpoints: dict[str, Path]) -> None:
    """Padding of a batch is behind the last position, which a table of positions does not have."""
    generator = made(checkpoints["gpt2"], max_input_tokens=190)
    plain = made(checkpoints["gpt2"], max_input_tokens=190, reuse=None)
    long = Passage("5", "Kenya", "Nairobi is the largest city of the country. " * 30)
    passages: list[Passage | None] = [long, PASSAGES[0]]
    decoded(generator, ["Who?", "Who?"], passages, 1)
    questions = ["Who?", "What is the capital of the country? " * 3]
    equal(decoded(generator, questions, passages, 1), decoded(plain, questions, passages, 1))
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.hits == 2


@pytest.mark.parametrize("kind", ["bloom", "mistral", "mamba"])
def test_models_that_cannot_share_a_prompt_read_all_of_it(
    checkpoints: dict[str, Path], kind: str
) -> None:
    generator = made(checkpoints[kind])
    decoded(generator, ["Who?"], [PASSAGES[0]])
    assert generator.reuse_counts() is None
    assert "reuse" not in generator.capabilities
    assert any("passages are read for each question" in line for line in generator.speed_report())
    with pytest.raises(UnsupportedOperation, match="reuse"):
        generator.retain_passages(lambda ids: {})


def test_the_question_may_come_first(llama: Path) -> None:
    template = {"template": "{question}\n{title}: {text}\n"}
    generator, plain = made(llama, **template), made(llama, reuse=None, **template)
    for question in QUESTIONS:
        equal(
            decoded(generator, [question], [PASSAGES[0]]),
            decoded(plain, [question], [PASSAGES[0]]),
        )
    assert generator.reuse_counts() is None
    assert any("the question before the passage" in line for line in generator.speed_report())


def test_a_model_that_reads_on_wrongly_is_found(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions that count from the first token that is run are wrong after stored tokens."""
    model = AutoModelForCausalLM.from_pretrained(llama).eval()
    forward = model.model.forward

    def shifted(*args: object, **kwargs: object) -> object:
        ids, positions = kwargs["input_ids"], kwargs.get("position_ids")
        assert isinstance(ids, torch.Tensor)
        if isinstance(positions, torch.Tensor) and ids.shape[1] > 5:
            kwargs["position_ids"] = positions - positions[:, :1]
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", shifted)
    monkeypatch.setattr(
        "ragcore_transformers.causal.load_causal", lambda config: (model, _tokenizer(llama))
    )
    generator = made(llama)
    assert generator.shares_prompts
    assert generator.reuse_counts() is None
    (line,) = (line for line in generator.speed_report() if "passages are read" in line)
    assert "would be off by" in line


def _tokenizer(folder: Path) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_trained_weights_are_not_mixed_with_older_keys(llama: Path) -> None:
    generator = made(llama)
    decoded(generator, ["Who?"], [PASSAGES[0]])
    optimizer = torch.optim.SGD(generator.trained_module().parameters(), lr=0.5)
    read = generator.read(["Who?"], [PASSAGES[0]])
    generator.score(read, torch.tensor([0]), torch.tensor([[5, 2]])).sum().backward()
    optimizer.step()
    changed = decoded(generator, ["What?"], [PASSAGES[0]])
    with torch.no_grad():
        prompts = generator._prompts.of(["What?"], [PASSAGES[0]], 100)
        expected = generator.model(torch.tensor(prompts)).logits[0, -1].log_softmax(-1)
    equal(changed[0, 0], expected)


def test_nothing_is_reused_in_training_mode(llama: Path) -> None:
    generator = made(llama)
    generator.model.train()
    for question in QUESTIONS[:2]:
        decoded(generator, [question], [PASSAGES[0]])
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.hits + counts.misses == 0


def test_threads_share_what_was_read(llama: Path) -> None:
    generator, plain = made(llama), made(llama, reuse=None)
    expected = {question: decoded(plain, [question] * 4, [*PASSAGES]) for question in QUESTIONS}
    faults: list[BaseException] = []

    def ask(seed: int) -> None:
        order = random.Random(seed)
        try:
            for _ in range(6):
                question = order.choice(QUESTIONS)
                equal(decoded(generator, [question] * 4, [*PASSAGES]), expected[question])
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.hits + counts.misses == 4 * 6 * 4
    assert counts.hits > counts.misses


def states_of(size: int) -> PassageStates:
    return PassageStates((1, 2), (torch.ones(1, 2, size),), (torch.zeros(1, 2, size),))


def test_the_passage_used_longest_ago_goes_first() -> None:
    cache = PassageCache(max_bytes=3 * states_of(4).bytes)
    cache.renew("weights")
    for passage in PASSAGES[:3]:
        cache.add(digest_of(passage), passage, states_of(4), "weights")
    assert cache.find(digest_of(PASSAGES[0]), PASSAGES[0]) is not None
    cache.add(digest_of(PASSAGES[3]), PASSAGES[3], states_of(4), "weights")
    known = [cache.find(digest_of(passage), passage) is not None for passage in PASSAGES]
    assert known == [True, False, True, True]
    counts = cache.counts()
    assert (counts.passages, counts.bytes, counts.dropped) == (3, 3 * states_of(4).bytes, 1)
    # One that has no room alone drops no other.
    cache.add(digest_of(PASSAGES[1]), PASSAGES[1], states_of(40), "weights")
    assert cache.counts() == counts


def test_what_older_weights_computed_is_not_stored() -> None:
    cache = PassageCache(max_bytes=1000)
    cache.renew("old")
    cache.renew("new")
    cache.add(digest_of(PASSAGES[0]), PASSAGES[0], states_of(4), "old")
    assert cache.counts().passages == 0


def test_passages_that_a_memory_no_longer_has_are_dropped(llama: Path) -> None:
    generator = made(llama)
    decoded(generator, ["Who?"] * 3, [*PASSAGES[:3]])
    edited = Passage("2", PASSAGES[1].title, "another text")
    memory = {"1": PASSAGES[0], "2": edited, "9": PASSAGES[3]}
    asked: list[str] = []

    def by_id(ids: object) -> dict[str, Passage]:
        asked.extend(ids)
        return {id: memory[id] for id in asked if id in memory}  # noqa: A001

    generator.retain_passages(by_id)
    assert asked == ["1", "2", "3"]
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.passages == 1
    decoded(generator, ["What?"] * 3, [*PASSAGES[:3]])
    counts = generator.reuse_counts()
    assert counts is not None
    assert (counts.hits, counts.misses) == (1, 5)


def test_another_process_reads_what_is_on_disk(llama: Path, tmp_path: Path) -> None:
    reuse = {"folder": str(tmp_path)}
    first, plain = made(llama, reuse=reuse), made(llama, reuse=None)
    decoded(first, ["Who?"] * 3, [*PASSAGES[:3]])
    assert sorted(path.stem for path in files_in(tmp_path)) == sorted(map(digest_of, PASSAGES[:3]))
    # As another process would: a new object, which has nothing in memory.
    second = made(llama, reuse=reuse)
    some = ["What?"] * 3, [*PASSAGES[:3]]
    equal(decoded(second, *some), decoded(plain, *some))
    counts = second.reuse_counts()
    assert counts is not None
    assert (counts.hits, counts.misses) == (3, 0)


def test_other_weights_and_other_templates_have_files_of_their_own(
    llama: Path, chatty: Path, tmp_path: Path
) -> None:
    reuse = {"folder": str(tmp_path / "states")}
    other = tiny.save_causal("llama", tmp_path / "other")
    model = AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(other)
    for generator in (
        made(llama, reuse=reuse),
        made(other, reuse=reuse),
        made(llama, reuse=reuse, template="{text} ({title})\n{question}\n"),
        made(llama, reuse={**reuse, "dtype": "float16"}),
    ):
        decoded(generator, ["Who?"], [PASSAGES[0]])
        counts = generator.reuse_counts()
        assert counts is not None
        assert counts.hits == 0
    assert len(list(files_in(tmp_path / "states"))) == 4


@pytest.mark.parametrize("fault", ["cut", "flipped", "empty", "other tensors"])
def test_a_damaged_file_is_deleted_and_computed_again(
    llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    reuse = {"folder": str(tmp_path)}
    decoded(made(llama, reuse=reuse), ["Who?"], [PASSAGES[0]])
    (path,) = files_in(tmp_path)
    content = path.read_bytes()
    if fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "flipped":
        path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    elif fault == "empty":
        path.write_bytes(b"")
    else:
        tensors = load_file(path)
        tensors.pop("token_ids")
        save_file(tensors, path)
    second, plain = made(llama, reuse=reuse), made(llama, reuse=None)
    equal(decoded(second, ["What?"], [PASSAGES[0]]), decoded(plain, ["What?"], [PASSAGES[0]]))
    counts = second.reuse_counts()
    assert counts is not None
    assert (counts.hits, counts.misses) == (0, 1)
    assert str(path) in caplog.text
    # It was written again.
    assert path.read_bytes() == content


def test_the_folder_stays_below_its_size(llama: Path, tmp_path: Path) -> None:
    reuse: dict[str, object] = {"folder": str(tmp_path)}
    decoded(made(llama, reuse=reuse), ["Who?"], [PASSAGES[0]])
    (path,) = files_in(tmp_path)
    limit = 2.5 * path.stat().st_size
    reuse["folder_max_gib"] = limit / (1 << 30)
    generator = made(llama, reuse=reuse)
    for passage in PASSAGES[1:]:
        decoded(generator, ["Who?"], [passage])
    sizes = [each.stat().st_size for each in files_in(tmp_path)]
    assert 0 < sum(sizes) <= limit
    # The oldest went.
    assert digest_of(PASSAGES[0]) not in {each.stem for each in files_in(tmp_path)}


def test_without_a_place_to_write_answers_are_the_same(
    llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    generator = made(llama, reuse={"folder": str(file)})
    plain = made(llama, reuse=None)
    for question in ["Who?", "What?"]:
        for passage in PASSAGES[:2]:
            equal(decoded(generator, [question], [passage]), decoded(plain, [question], [passage]))
    assert caplog.text.count("no longer written to disk") == 1
    counts = generator.reuse_counts()
    assert counts is not None
    assert counts.hits == 2


def test_on_a_full_disk_answers_are_the_same(
    llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = made(llama, reuse={"folder": str(tmp_path)})
    plain = made(llama, reuse=None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        actual = decoded(generator, ["Who?"], [PASSAGES[0]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    equal(actual, decoded(plain, ["Who?"], [PASSAGES[0]]))
    assert "no longer written to disk" in caplog.text
    assert list(files_in(tmp_path)) == []


def test_processes_that_share_a_folder_keep_its_size_together(tmp_path: Path) -> None:
    probe = StateFiles(tmp_path / "probe", "model", 1 << 30)
    probe.add("0", states_of(500))
    limit = 40 * size_of(tmp_path / "probe")
    folder = tmp_path / "shared"
    processes = [StateFiles(folder, "model", limit) for _ in range(3)]
    sizes = []
    for number in range(120):
        processes[number % 3].add(f"{number}", states_of(500))
        sizes.append(size_of(folder))
    assert max(sizes) <= 1.15 * limit
    assert sizes[-1] > 0.8 * limit


def test_forgetting_deletes_the_files_of_all_models(
    llama: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    reuse = {"folder": str(tmp_path)}
    for folder in (llama, checkpoints["gpt2"]):
        decoded(made(folder, reuse=reuse), ["Who?"] * 2, [*PASSAGES[:2]])
    config = CausalConfig(model=str(llama), reuse=reuse)
    first = min(files_in(tmp_path))
    # As a process leaves it that is killed while it writes.
    (first.parent / f"{digest_of(PASSAGES[0])}.x7f3.safetensors").write_bytes(b"half")
    copy = Passage("another id", PASSAGES[0].title, PASSAGES[0].text)
    assert ragcore_forget(config=config, passages=[copy]) == {str(tmp_path): 3}
    assert {path.stem for path in files_in(tmp_path)} == {digest_of(PASSAGES[1])}
    assert ragcore_forget(config=CausalConfig(model=str(llama)), passages=[copy]) == {}
    # That of another plugin's generator.
    assert ragcore_forget(config=ComponentConfig(), passages=[copy]) == {}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_smaller_dtype_takes_half_and_says_what_it_costs(llama: Path, dtype: str) -> None:
    generator, plain = made(llama, reuse={"dtype": dtype}), made(llama)
    for each in (generator, plain):
        decoded(each, ["Who?"] * 3, [*PASSAGES[:3]])
    counts, own = generator.reuse_counts(), plain.reuse_counts()
    assert counts is not None
    assert own is not None
    assert 2 * counts.bytes == own.bytes
    some = ["What?"] * 3, [*PASSAGES[:3]]
    error = (decoded(generator, *some) - decoded(plain, *some)).abs().max()
    assert 0 < error < (0.1 if dtype == "float16" else 0.5)
    (line,) = (line for line in generator.speed_report() if "passages are read once" in line)
    assert f"as {dtype}, which changes log-probs by " in line


def test_numbers_too_large_for_float16_are_not_stored(llama: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama)
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight *= 1e6
        model.model.layers[1].self_attn.o_proj.weight *= 1e-6
    model.save_pretrained(tmp_path)
    _tokenizer(llama).save_pretrained(tmp_path)
    assert made(tmp_path).reuse_counts() is not None
    generator = made(tmp_path, reuse={"dtype": "float16"})
    assert generator.reuse_counts() is None
    assert any("no numbers of float16" in line for line in generator.speed_report())
