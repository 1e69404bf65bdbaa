"""Multilingual models: targets, start tokens and forced tokens are those of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers.configs import Seq2SeqConfig
from ragcore_transformers.seq2seq import Seq2Seq
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.token import RagToken
from ragcore.errors import GeneratorError
from ragcore.types import Passage

QUESTIONS = ["What is the capital of Chad?", "Who?"]
PASSAGES = [Passage("1", "Chad", "N'Djamena is the capital of Chad."), None]
ANSWERS = ["N'Djamena", "Abiy Ahmed Ali"]
LANGUAGES = {"mbart": "ro_RO", "mbart50": "ro_RO", "nllb": "fra_Latn", "m2m100": "__fr__"}
SOURCES = {"mbart": "de_DE", "mbart50": "de_DE", "nllb": "deu_Latn", "m2m100": "__de__"}


@pytest.fixture(scope="module", params=list(LANGUAGES))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_multilingual(kind, tmp_path_factory.mktemp(kind))


def made(folder: Path, **settings: Any) -> Seq2Seq:
    return Seq2Seq(Seq2SeqConfig(model=str(folder), **settings))


def in_languages(kind: str, folder: Path) -> Seq2Seq:
    return made(folder, src_lang=SOURCES[kind], tgt_lang=LANGUAGES[kind])


def own_tokenizer(kind: str, folder: Path) -> Any:
    if kind == "m2m100":
        # Its own tokenizer has no fast form: `__fr__ X </s>` is made by hand.
        return None
    return AutoTokenizer.from_pretrained(folder, src_lang=SOURCES[kind], tgt_lang=LANGUAGES[kind])


def labels_of(kind: str, folder: Path, answer: str) -> list[int]:
    tokenizer = own_tokenizer(kind, folder)
    if tokenizer is not None:
        labels: list[int] = tokenizer(text_target=answer).input_ids
        return labels
    plain = AutoTokenizer.from_pretrained(folder)
    code = plain.convert_tokens_to_ids(LANGUAGES[kind])
    return [code, *plain(answer, add_special_tokens=False).input_ids, plain.eos_token_id]


def inputs_of(kind: str, folder: Path, text: str) -> list[int]:
    tokenizer = own_tokenizer(kind, folder)
    if tokenizer is not None:
        inputs: list[int] = tokenizer(text).input_ids
        return inputs
    plain = AutoTokenizer.from_pretrained(folder)
    code = plain.convert_tokens_to_ids(SOURCES[kind])
    return [code, *plain(text, add_special_tokens=False).input_ids, plain.eos_token_id]


def test_targets_are_transformers_labels_up_to_the_end(kind: str, folder: Path) -> None:
    generator = in_languages(kind, folder)
    code = generator.tokenizer.convert_tokens_to_ids(LANGUAGES[kind])
    for answer, target in zip(ANSWERS, generator.encode_answers(ANSWERS), strict=True):
        labels = labels_of(kind, folder, answer)
        # mBART-cc25's labels are X </s> ro_RO, the next text's start last; the others ro_RO X </s>.
        assert labels == ([*target, code] if kind == "mbart" else target)
        assert generator.decode_tokens(target) == answer


@torch.no_grad()
def test_log_probs_are_those_of_transformers_loss(kind: str, folder: Path) -> None:
    generator = in_languages(kind, folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    targets = generator.encode_answers(ANSWERS)
    rows = [torch.tensor(row) for row in targets]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    scored = generator.score(generator.read(QUESTIONS, PASSAGES), torch.arange(2), padded)
    for row, (question, passage) in enumerate(zip(QUESTIONS, PASSAGES, strict=True)):
        text = f"{passage.title} / {passage.text} // {question}" if passage else question
        inputs = torch.tensor([inputs_of(kind, folder, text)])
        labels = labels_of(kind, folder, ANSWERS[row])
        # The model makes the decoder's inputs out of the labels itself.
        log_p = model(input_ids=inputs, labels=torch.tensor([labels])).logits[0].log_softmax(-1)
        own = log_p[torch.arange(len(labels)), torch.tensor(labels)][: len(targets[row])]
        torch.testing.assert_close(scored[row, : len(own)], own, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_decoder_begins_in_the_answers_language(kind: str, folder: Path) -> None:
    generator = in_languages(kind, folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    code = generator.tokenizer.convert_tokens_to_ids(LANGUAGES[kind])
    how = {"decoder_start_token_id" if kind == "mbart" else "forced_bos_token_id": code}
    assert generator.forced_bos_token_id == (None if kind == "mbart" else code)
    inputs = torch.tensor([inputs_of(kind, folder, QUESTIONS[0])])
    written = model.generate(inputs, max_new_tokens=8, num_beams=1, do_sample=False, **how)[0]
    options = DecodingOptions(
        eos_token_id=generator.eos_token_id,
        beams=1,
        max_new_tokens=8,
        forced_bos_token_id=generator.forced_bos_token_id,
    )
    read = generator.read([QUESTIONS[0]], [None])
    prior = QuestionPrior(torch.tensor([0]), torch.zeros(1))
    ((best, *_),) = BeamSearch(RagToken(generator, read, [prior]), options).run()
    # The last token may be an end that the limit forces.
    assert len(best.tokens) > 3
    assert list(best.tokens)[:7] == written[1:8].tolist()[: len(best.tokens)]


def test_a_language_that_the_model_lacks_is_refused_with_near_ones(kind: str, folder: Path) -> None:
    wrong = {"mbart": "ro_RU", "mbart50": "ro_RU", "nllb": "fr_Latn", "m2m100": "__frr__"}[kind]
    with pytest.raises(GeneratorError, match=rf"tgt_lang: .*{wrong}.*{LANGUAGES[kind]}"):
        made(folder, src_lang=SOURCES[kind], tgt_lang=wrong)
    with pytest.raises(GeneratorError, match=r"src_lang: .* has no language"):
        made(folder, src_lang="qqqq", tgt_lang=LANGUAGES[kind])


def test_without_settings_the_checkpoints_own_language_is_used(tmp_path: Path) -> None:
    folder = tiny.save_multilingual("mbart", tmp_path, start="ro_RO")
    generator = made(folder)
    (target,) = generator.encode_answers(["N'Djamena"])
    assert generator.tokenizer.tgt_lang == "ro_RO"
    assert generator._start == generator.tokenizer.convert_tokens_to_ids("ro_RO")
    assert generator._start not in target


def test_settings_of_languages_are_refused_for_a_model_of_one_language(bart: Path) -> None:
    with pytest.raises(GeneratorError, match=r"src_lang and tgt_lang .* no language tokens"):
        made(bart, src_lang="en_XX", tgt_lang="ro_RO")


def test_a_trained_model_keeps_its_language(kind: str, folder: Path, tmp_path: Path) -> None:
    generator = in_languages(kind, folder)
    generator.save_trained(tmp_path)
    again = in_languages(kind, tmp_path)
    assert again.encode_answers(ANSWERS) == generator.encode_answers(ANSWERS)
    if kind == "m2m100":
        return
    unset = made(tmp_path)
    assert unset.encode_answers(ANSWERS) == generator.encode_answers(ANSWERS)
    assert unset._inputs(QUESTIONS, PASSAGES) == generator._inputs(QUESTIONS, PASSAGES)
    assert (unset._start, unset.forced_bos_token_id) == (
        generator._start,
        generator.forced_bos_token_id,
    )


def test_answers_and_passages_that_spell_special_tokens_are_text(kind: str, folder: Path) -> None:
    generator = in_languages(kind, folder)
    code = LANGUAGES[kind]
    text = f"a </s> b <pad> {code} <mask> <s> c"
    special = set(generator.tokenizer.all_special_ids) - {generator.tokenizer.unk_token_id}
    (target,) = generator.encode_answers([text])
    lead = 0 if kind == "mbart" else 1
    assert special.isdisjoint(target[lead:-1])
    (bare,) = generator._inputs(["Who?"], [Passage("1", "", "")])
    (inputs,) = generator._inputs([text], [Passage("1", text, text)])
    assert [token for token in inputs if token in special] == [
        token for token in bare if token in special
    ]
    assert "</s> b <pad>" in generator.decode_tokens(target)
