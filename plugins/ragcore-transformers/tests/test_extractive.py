"""The generator `extractive` is the distribution over spans that its formula defines."""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from pathlib import Path

import pytest
import tiny_models as tiny
import tiny_readers
import torch
from ragcore_transformers.extractive import Extractive
from ragcore_transformers.weights import save_int8_rows
from safetensors.torch import load_file, save_file
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from ragcore.errors import GeneratorError, QuestionError
from ragcore.marginalization import pad_targets
from ragcore.types import Passage

KINDS = ["bert", "distilbert", "electra", "roberta"]
QUESTION = "What is the capital of Kenya?"
PASSAGE = Passage(
    "1", "Kenya, Capital", "Nairobi is the largest city; the city is unknown to most."
)
FLOOR = 1e-4

Distribution = dict[tuple[int, ...], float]
"""p(y|x,z) by the tokens of y, its end token last."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("readers")
    return {kind: tiny_readers.save_reader(kind, folder / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def bert(folders: dict[str, Path]) -> Extractive:
    return reader(folders["bert"])


def reader(folder: Path, **settings: object) -> Extractive:
    return Extractive(Extractive.Config(model=str(folder), **settings))


def by_definition(
    folder: Path, context: str, begin: int, longest: int, unknown: list[int] | None
) -> Distribution:
    """Sum the probabilities of spans by their tokens, with Hugging Face's own model and tokenizer.

    Args:
        folder: of both.
        context: what is read after the question.
        begin: where the text begins in it.
        longest: the most tokens of a span.
        unknown: the tokens of the abstaining answer, if there is one.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    encoded = tokenizer(QUESTION, context, return_offsets_mapping=True)
    ids, end = encoded["input_ids"], tokenizer.sep_token_id
    text = [
        number
        for number, part in enumerate(encoded.sequence_ids())
        if part == 1 and encoded["offset_mapping"][number][1] >= begin
    ]
    fed = {name: torch.tensor([encoded[name]]) for name in encoded if name != "offset_mapping"}
    with torch.no_grad():
        outputs = model(**fed)
    starts, ends = (
        logits[0].double().tolist() for logits in (outputs.start_logits, outputs.end_logits)
    )
    weights: Distribution = defaultdict(float)
    for first in text:
        for last in text:
            if first <= last < first + longest:
                weights[(*ids[first : last + 1], end)] += math.exp(starts[first] + ends[last])
    if unknown is not None:
        weights[(*unknown, end)] += math.exp(starts[0] + ends[0])
    total = math.fsum(weights.values())
    return {tokens: weight / total for tokens, weight in weights.items()}


def mixed(spans: Distribution, vocabulary: int) -> Distribution:
    """Add the probability of a text that is no span: ε V^{-T}."""
    return {
        tokens: (1 - FLOOR) * p + FLOOR * vocabulary ** -len(tokens) for tokens, p in spans.items()
    }


@torch.no_grad()
def probabilities(generator: Extractive, passage: Passage | None, answers: list[tuple[int, ...]]):
    read = generator.read([QUESTION], [passage])
    pairs = torch.zeros(len(answers), dtype=torch.long)
    return generator.score(read, pairs, pad_targets(answers)).double().sum(dim=1).exp()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("longest", [1, 3, 30])
def test_probabilities_are_sums_over_spans(
    kind: str, longest: int, folders: dict[str, Path]
) -> None:
    generator = reader(folders[kind], longest=longest)
    (unknown,) = generator.encode_answers(["unknown"])
    context = f"{PASSAGE.title} / {PASSAGE.text}"
    spans = by_definition(folders[kind], context, len(PASSAGE.title) + 3, longest, unknown[:-1])
    expected = mixed(spans, generator.vocabulary_size)
    answers = list(expected)
    actual = probabilities(generator, PASSAGE, answers)
    truth = torch.tensor([expected[answer] for answer in answers], dtype=torch.double)
    torch.testing.assert_close(actual, truth, rtol=1e-4, atol=0)
    # "the city" stands twice, or a letter does; spans of the same tokens are one answer.
    tokens = len(generator.read([QUESTION], [PASSAGE]).tokens[0])
    count = sum(min(longest, tokens - first) for first in range(tokens)) + 1
    assert len(answers) < count
    assert float(actual.sum()) == pytest.approx(1 - FLOOR, abs=2e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_passage_without_title_is_read_as_its_text(kind: str, folders: dict[str, Path]) -> None:
    text = PASSAGE.text
    # Byte-level pairs write a first word otherwise than one after a space, as answers are.
    space = " " if kind == "roberta" else ""
    expected = by_definition(folders[kind], space + text, len(space), 30, None)
    for settings, title in (({"title": False}, "Kenya"), ({}, "")):
        generator = reader(folders[kind], unknown=None, **settings)
        answers = list(expected)
        actual = probabilities(generator, Passage("1", title, text), answers)
        truth = list(mixed(expected, generator.vocabulary_size).values())
        torch.testing.assert_close(actual.tolist(), truth, rtol=1e-4, atol=0)
        (first,) = generator.encode_answers(["Nairobi is"])
        assert tuple(first) in expected


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_answers_have_the_tokens_of_their_spans(kind: str, folders: dict[str, Path]) -> None:
    generator = reader(folders[kind])
    (tokens,) = generator.read([QUESTION], [PASSAGE]).tokens.tolist()
    answers = ["Nairobi", "the largest city", "city is unknown to most.", "unknown"]
    for answer, ids in zip(answers, generator.encode_answers(answers), strict=True):
        starts = [n for n in range(len(tokens)) if tokens[n : n + len(ids) - 1] == ids[:-1]]
        assert starts, answer
        assert generator.decode_tokens(ids).casefold() == answer.casefold()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_steps_along_spans_are_score(kind: str, folders: dict[str, Path]) -> None:
    """Random tokens, which the suite draws, soon leave all spans: here are spans, and near ones."""
    generator = reader(folders[kind], longest=4)
    passages = [PASSAGE, Passage("2", "", "the city is the city is the city"), None]
    with torch.no_grad():
        read = generator.read([QUESTION] * 3, passages)
        rows = []
        for pair, text in enumerate(read.tokens.tolist()):
            text = [token for token in text if token >= 0]
            for first in range(len(text)):
                for length in (1, 2, 4, 5):
                    span = text[first : first + length]
                    rows.append((pair, [*span, generator.eos_token_id]))
                    # Its last token is another one.
                    rows.append((pair, [*span[:-1], text[0], generator.eos_token_id]))
        unknown = generator.encode_answers(["unknown", "unknown unknown", "Chad"])
        rows += [(pair, ids) for pair in range(3) for ids in unknown]
        pairs = torch.tensor([pair for pair, _ in rows])
        targets = pad_targets([ids for _, ids in rows])
        scores = generator.score(read, pairs, targets)
        everything = generator.score_all(read, pairs, targets)
        state = generator.start(read, pairs)
        for number in range(targets.shape[1]):
            fed = None if number == 0 else targets[:, number - 1].clamp(min=0)
            log_p = generator.step(state, fed)
            exists = targets[:, number] >= 0
            torch.testing.assert_close(
                log_p.logsumexp(1), torch.zeros(len(rows)), atol=1e-5, rtol=0
            )
            chosen = log_p.gather(1, targets[:, number, None].clamp(min=0))[:, 0]
            torch.testing.assert_close(scores[exists, number], chosen[exists], atol=2e-4, rtol=0)
            torch.testing.assert_close(everything[exists, number], log_p[exists], atol=2e-4, rtol=0)


def test_a_batch_equals_its_pairs(bert: Extractive) -> None:
    passages = [
        PASSAGE,
        None,
        Passage("2", "Chad", ""),
        Passage("3", "", "N'Djamena"),
        Passage("4", "Mali", "the largest city of the country " * 20),
    ]
    questions = ["Who?", QUESTION, "Who?", "What is it?", "Where?"]
    targets = pad_targets(bert.encode_answers(["Nairobi", "unknown", "the largest", "N'Djamena"]))
    pairs = torch.arange(5).repeat_interleave(4)
    with torch.no_grad():
        together = bert.score(bert.read(questions, passages), pairs, targets.repeat(5, 1))
        for pair, (question, passage) in enumerate(zip(questions, passages, strict=True)):
            read = bert.read([question], [passage])
            alone = bert.score(read, torch.zeros(4, dtype=torch.long), targets)
            torch.testing.assert_close(together[4 * pair : 4 * pair + 4], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("passage", [None, Passage("1", "Chad", ""), Passage("1", "Chad", " \n")])
def test_without_a_text_the_answer_is_unknown(
    kind: str, passage: Passage | None, folders: dict[str, Path]
) -> None:
    generator = reader(folders[kind])
    answers = [tuple(ids) for ids in generator.encode_answers(["unknown", "Chad"])]
    unknown, other = probabilities(generator, passage, answers).tolist()
    assert unknown == pytest.approx(1 - FLOOR, abs=1e-6)
    assert other == pytest.approx(FLOOR * generator.vocabulary_size ** -len(answers[1]))


def test_a_model_without_unknown_answers_nothing_to_no_text(folders: dict[str, Path]) -> None:
    generator = reader(folders["bert"], unknown=None)
    end = generator.eos_token_id
    with torch.no_grad():
        read = generator.read([QUESTION, QUESTION], [None, PASSAGE])
        targets = torch.tensor([[end]])
        scored = [generator.score(read, torch.tensor([pair]), targets) for pair in (0, 1)]
        every = generator.score_all(read, torch.tensor([0]), targets)[0, 0]
        state = generator.start(read, torch.arange(2))
        nothing, something = generator.step(state, None)
    assert nothing.exp().sum() == pytest.approx(1, abs=1e-5)
    assert float(nothing[end].exp()) == pytest.approx(1 - FLOOR, abs=1e-5)
    torch.testing.assert_close(every, nothing)
    torch.testing.assert_close(scored[0][0, 0], nothing[end])
    # Of a passage with text there is always an answer.
    assert float(something[end]) < math.log(FLOOR)
    torch.testing.assert_close(scored[1][0, 0], something[end])
    (unknown,) = generator.encode_answers(["unknown"])
    # The word stands in the passage, and is a span like any other.
    assert float(something[unknown[0]]) > math.log(FLOOR)


def test_text_that_spells_a_special_token_is_text(bert: Extractive) -> None:
    passage = Passage("1", "", "the [SEP] city [CLS] of [MASK]")
    (ids,) = bert.read(["Who [SEP] is it?"], [passage]).tokens.tolist()
    special = {0, 2, 3, 4}
    assert special.isdisjoint(ids)
    assert bert.encode_answers(["[SEP]"])[0].count(3) == 1


def test_a_long_passage_is_cut_and_a_question_is_not(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    generator = reader(folders["bert"], max_input_tokens=24)
    long = Passage("1", "Chad", "the city of the country is the largest city of Africa " * 9)
    with caplog.at_level(logging.WARNING):
        read = generator.read(["Who?"], [long])
    assert "reads at most 24 tokens, and passage '1'" in caplog.text
    (ids,) = generator.read(["Who?"], [Passage("1", "Chad", "city")]).tokens.tolist()
    overhead = 24 - read.tokens.shape[1]
    assert ids == generator.encode_answers(["city"])[0][:-1]
    tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
    cut = tokenizer("Who?", f"Chad / {long.text}", truncation="only_second", max_length=24)
    assert read.tokens[0].tolist() == cut["input_ids"][overhead - 1 : -1]
    # A title that fills the input leaves no text.
    assert generator.read(["Who?"], [Passage("1", "Chad " * 30, "city")]).tokens.max() == -1
    with pytest.raises(QuestionError, match=r"question is \d+ tokens long.*at most 24"):
        generator.read(["Who " * 30], [None])
    assert [
        fault is None for fault in generator.length_faults(["Who?", "Who " * 30], [[3], [3]])
    ] == [
        True,
        False,
    ]


def test_an_answer_that_is_no_span_has_no_gradient(bert: Extractive) -> None:
    """It is no reason to change anything, and its loss is a number."""
    answers = bert.encode_answers(["Nairobi", "Chad"])
    for index, expected in ((0, True), (1, False)):
        bert.model.zero_grad()
        read = bert.read([QUESTION], [PASSAGE])
        log_p = bert.score(read, torch.tensor([0]), torch.tensor([answers[index]])).sum()
        log_p.backward()
        gradients = [w.grad for w in bert.model.parameters() if w.grad is not None]
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert any(bool(gradient.any()) for gradient in gradients) == expected
    bert.model.zero_grad()


def test_steps_of_training_make_an_answer_likely(folders: dict[str, Path]) -> None:
    generator = reader(folders["bert"])
    optimizer = torch.optim.Adam(generator.trained_module().parameters(), lr=0.02)
    passages = [PASSAGE, Passage("2", "Chad", "N'Djamena is the capital of Chad")]
    targets = pad_targets(generator.encode_answers(["largest city", "unknown"]))
    losses = []
    for _ in range(15):
        read = generator.read([QUESTION] * 2, passages)
        loss = -generator.score(read, torch.arange(2), targets).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0] / 5


@pytest.mark.parametrize("kind", KINDS)
def test_int8_rows_are_read_again(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Models that compute positions when they are made have them after loading, too."""
    whole = reader(folders[kind])
    # As models that were trained in it say; what is stored is not rounded to it once more.
    whole.model.config.dtype = torch.bfloat16
    save_int8_rows(whole.trained_module(), tmp_path)
    whole.tokenizer.save_pretrained(tmp_path)
    stored = reader(tmp_path)
    rounded = [weight.bfloat16().float() for weight in stored.model.parameters()]
    assert not all(map(torch.equal, stored.model.parameters(), rounded))
    assert not any(buffer.is_meta for buffer in stored.model.buffers())
    for (name, buffer), other in zip(
        whole.model.named_buffers(), stored.model.buffers(), strict=True
    ):
        assert torch.equal(buffer, other), name
    answers = [tuple(ids) for ids in whole.encode_answers(["Nairobi", "the largest city"])]
    log_p = [probabilities(one, PASSAGE, answers).log() for one in (whole, stored)]
    torch.testing.assert_close(*log_p, atol=0.3, rtol=0.05)
    assert not torch.equal(*log_p)
    stored.save_trained(tmp_path / "again")
    again = reader(tmp_path / "again")
    torch.testing.assert_close(probabilities(again, PASSAGE, answers).log(), log_p[1])


def test_int8_rows_that_do_not_fit_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    whole = reader(folders["bert"])
    save_int8_rows(whole.trained_module(), tmp_path)
    whole.tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["qa_outputs.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(GeneratorError, match=r"missing: qa_outputs\.bias"):
        reader(tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "auto", "int8"])
def test_every_type_of_weights_reads_alike(dtype: str, folders: dict[str, Path]) -> None:
    answers = [
        tuple(ids) for ids in reader(folders["bert"]).encode_answers(["Nairobi", "the city"])
    ]
    expected = probabilities(reader(folders["bert"]), PASSAGE, answers)
    generator = reader(folders["bert"], dtype=dtype)
    actual = probabilities(generator, PASSAGE, answers)
    torch.testing.assert_close(actual.log(), expected.log(), atol=0.3, rtol=0.02)
    with torch.no_grad():
        assert generator.read([QUESTION], [PASSAGE]).spans.dtype == torch.float32
    assert generator.dtype == ("float32" if dtype == "auto" else dtype)


def test_a_model_that_is_no_reader_is_refused(tmp_path: Path) -> None:
    tiny.save_cross_encoder(tmp_path)
    with pytest.raises(GeneratorError, match=r"lacks 2 of its weights \(qa_outputs"):
        reader(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unknown": "Ω"}, "unknown is 'Ω', which the tokenizer .* cannot write"),
        ({"max_input_tokens": 97}, "max_input_tokens is 97 but .* positions for 96"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(
    settings: dict[str, object], message: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(GeneratorError, match=message):
        reader(folders["bert"], **settings)


def test_positions_count_from_after_the_padding(folders: dict[str, Path]) -> None:
    assert reader(folders["bert"]).max_input_tokens == 96
    assert reader(folders["roberta"]).max_input_tokens == 96
    with pytest.raises(GeneratorError, match="max_input_tokens is 97 but"):
        reader(folders["roberta"], max_input_tokens=97)


def test_a_model_without_cls_answers_always(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tiny_readers.save_reader("bert", tmp_path)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["cls_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(GeneratorError, match=r"reads no \[CLS\].*set unknown to null"):
        reader(folder)
    assert reader(folder, unknown=None).encode_answers(["Chad"])[0][-1] == 3
