"""Several passages in one prompt: what the model reads of them, by causal and seq2seq models."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers.causal import Causal
from ragcore_transformers.configs import CausalConfig, Seq2SeqConfig
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.errors import QuestionError, UnsupportedOperation
from ragcore.types import Passage

CHAD = Passage("1", "Chad", "N'Djamena is the capital.")
KENYA = Passage("2", "", "Nairobi </s> is the capital.")
QUESTION = "Who rules it?"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_causal("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bart(tmp_path_factory.mktemp("bart"))


def causal(folder: Path, **settings: object) -> Causal:
    template = "Read:\n{text}\nQ: {question}\n"
    return Causal(CausalConfig(model=str(folder), template_of_passages=template, **settings))


def test_a_prompt_has_all_passages_by_number_and_the_question_last(llama: Path) -> None:
    generator = causal(llama)
    (ids,) = generator.read_together([QUESTION], [[CHAD, KENYA]]).prompts
    assert generator.tokenizer.decode(ids) == (
        "<s>Read:\n[1] Chad. N'Djamena is the capital.\n\n[2] Nairobi </s> is the capital.\n"
        f"Q: {QUESTION}\n"
    )
    # What a passage spells is no special token.
    assert generator.eos_token_id not in ids


def test_citing_is_asked_for_before_the_template(llama: Path) -> None:
    generator = causal(llama)
    short = [Passage("1", "Chad", "N'Djamena"), Passage("2", "", "Nairobi")]
    plain, cited = (
        generator.tokenizer.decode(
            generator.read_together([QUESTION], [short], cite=cite).prompts[0]
        ).removeprefix("<s>")
        for cite in (False, True)
    )
    assert cited == (f"Write after each statement the number of its passage, as [1].\n\n{plain}")
    (one,) = generator.read_together([QUESTION], [[CHAD]], cite=True).prompts
    assert "[1] Chad." in generator.tokenizer.decode(one)


@pytest.mark.parametrize("lengths", [(60, 60, 60), (5, 100, 100), (200, 3, 3)])
def test_long_passages_are_cut_evenly_and_the_question_is_whole(
    llama: Path, lengths: tuple[int, ...]
) -> None:
    generator = causal(llama, max_input_tokens=90)
    passages = [
        Passage(str(n), "T", " ".join(["river"] * length)) for n, length in enumerate(lengths)
    ]
    (ids,) = generator.read_together([QUESTION], [passages]).prompts
    assert 80 <= len(ids) <= 90
    text = generator.tokenizer.decode(ids)
    assert text.endswith(f"Q: {QUESTION}\n")
    counts = [part.count("river") for part in text.split("\n\n")]
    cut = [count for count, length in zip(counts, lengths, strict=True) if count < length]
    whole = [count for count, length in zip(counts, lengths, strict=True) if count == length]
    assert max(cut) - min(cut) <= 1
    assert all(count <= max(cut) for count in whole)


def test_a_question_longer_than_the_input_is_refused(llama: Path, bart: Path) -> None:
    for generator in (
        causal(llama, max_input_tokens=40),
        Seq2Seq(Seq2SeqConfig(model=str(bart), max_input_tokens=40)),
    ):
        with pytest.raises(QuestionError, match="a question is never cut"):
            generator.read_together(["who " * 60], [[CHAD, KENYA]])


def test_a_warning_names_the_passages_that_were_cut_once(
    llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = causal(llama, max_input_tokens=40)
    for _ in range(2):
        generator.read_together([QUESTION], [[CHAD, KENYA, CHAD, KENYA]])
    (record,) = [each for each in caplog.records if "is cut" in each.getMessage()]
    assert "4 passages in one prompt" in record.getMessage()


def test_steps_and_scores_are_those_of_a_forward_pass(llama: Path) -> None:
    generator = causal(llama)
    pairs = torch.tensor([0, 1])
    targets = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(ids) for ids in generator.encode_answers(["Nairobi", "the red river"])],
        batch_first=True,
        padding_value=-1,
    )
    passages = [[CHAD, KENYA], [KENYA]]
    plain = generator.score(generator.read_together([QUESTION] * 2, passages), pairs, targets)
    with torch.no_grad():
        read = generator.read_together([QUESTION] * 2, passages)
        scored = generator.score(read, pairs, targets)
    assert plain.requires_grad
    torch.testing.assert_close(scored, plain.detach(), atol=1e-4, rtol=0)


def test_an_encoder_reads_all_passages_by_number(bart: Path) -> None:
    generator = Seq2Seq(Seq2SeqConfig(model=str(bart), template_of_passages="{text} // {question}"))
    together = generator.read_together([QUESTION], [[CHAD, KENYA]])
    one = Passage("", "", "[1] Chad. N'Djamena is the capital.\n\n[2] Nairobi </s> is the capital.")
    same = Seq2Seq(Seq2SeqConfig(model=str(bart), template="{text} // {question}"))
    torch.testing.assert_close(together.states, same.read([QUESTION], [one]).states)


def test_an_encoder_cuts_passages_to_its_input(bart: Path) -> None:
    generator = Seq2Seq(Seq2SeqConfig(model=str(bart), max_input_tokens=60))
    long = Passage("1", "", "river " * 100)
    for passages in ([long, KENYA], [KENYA, long]):
        (length,) = generator.read_together([QUESTION], [passages]).mask.sum(dim=1).tolist()
        assert 55 <= length <= 60


def test_an_encoder_cannot_be_asked_for_citations(bart: Path) -> None:
    generator = Seq2Seq(Seq2SeqConfig(model=str(bart)))
    assert "cite" not in generator.capabilities
    with pytest.raises(UnsupportedOperation, match="cite passages"):
        generator.read_together([QUESTION], [[CHAD, KENYA]], cite=True)


@pytest.mark.parametrize("template", ["{question}", "{text}", "{title} {text} {question}"])
def test_a_template_of_passages_has_their_text_and_the_question(template: str) -> None:
    for config in (CausalConfig, Seq2SeqConfig):
        with pytest.raises(ValueError, match=r"must hold \{text\} and \{question\} once each"):
            config(model="m", template_of_passages=template)
