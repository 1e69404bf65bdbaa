from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from pydantic import ValidationError
from ragcore_transformers.configs import Seq2SeqConfig
from ragcore_transformers.seq2seq import Seq2Seq
from ragcore_transformers.seq2seq_inputs import answer_positions, input_limit
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from ragcore.contracts import Generator
from ragcore.errors import GeneratorError, QuestionError
from ragcore.types import Passage

QUESTIONS = ["What is the capital of Chad?", "Who?", "Who is the prime minister of Ethiopia?"]
PASSAGES = [
    Passage("1", "Chad", "N'Djamena is the capital of Chad."),
    Passage("2", "Ethiopia, Government", "Abiy Ahmed Ali, since April 2018"),
    None,
]
ANSWERS = ["N'Djamena", "Abiy", "unknown"]


def made(folder: Path, **settings: object) -> Seq2Seq:
    return Seq2Seq(Seq2SeqConfig(model=str(folder), **settings))


def padded(targets: list[list[int]]) -> torch.Tensor:
    rows = [torch.tensor(row) for row in targets]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


@torch.no_grad()
def test_score_is_the_models_own_log_softmax(folder: Path) -> None:
    generator = made(folder)
    targets = generator.encode_answers(ANSWERS)
    scored = generator.score(generator.read(QUESTIONS, PASSAGES), torch.arange(3), padded(targets))
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row, (question, passage, target) in enumerate(
        zip(QUESTIONS, PASSAGES, targets, strict=True)
    ):
        text = f"{passage.title} / {passage.text} // {question}" if passage else question
        inputs = tokenizer(text, return_tensors="pt").input_ids
        # Labels make the model shift its own decoder inputs.
        logits = model(input_ids=inputs, labels=torch.tensor([target])).logits
        own = logits.log_softmax(-1)[0, torch.arange(len(target)), torch.tensor(target)]
        torch.testing.assert_close(scored[row, : len(target)], own, atol=1e-5, rtol=1e-5)
        assert (scored[row, len(target) :] == 0).all()


@torch.no_grad()
def test_step_by_step_equals_teacher_forcing(folder: Path) -> None:
    generator = made(folder)
    read = generator.read(QUESTIONS, PASSAGES)
    pairs = torch.tensor([2, 0, 1, 0])
    targets = torch.randint(3, 200, (4, 6), generator=torch.Generator().manual_seed(1))
    scored = generator.score(read, pairs, targets)
    state = generator.start(read, pairs)
    for position in range(6):
        fed = None if position == 0 else targets[:, position - 1]
        log_probs = generator.step(state, fed)
        assert log_probs.shape == (4, generator.vocabulary_size)
        torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(4))
        found = log_probs.gather(1, targets[:, position : position + 1])[:, 0]
        torch.testing.assert_close(found, scored[:, position], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_selected_rows_go_on_as_themselves(folder: Path) -> None:
    generator = made(folder)
    read = generator.read(QUESTIONS, PASSAGES)
    prefixes = torch.tensor([[5, 9], [6, 10], [7, 11]])
    state = generator.start(read, torch.arange(3))
    generator.step(state, None)
    generator.step(state, prefixes[:, 0])
    chosen = torch.tensor([2, 0, 2, 1])
    state.select(chosen)
    log_probs = generator.step(state, prefixes[chosen, 1])
    state.select(torch.tensor([3, 1]))
    later = generator.step(state, torch.tensor([20, 21]))
    for row, pair in enumerate(chosen.tolist()):
        alone = generator.start(read, torch.tensor([pair]))
        generator.step(alone, None)
        generator.step(alone, prefixes[pair, :1])
        expected = generator.step(alone, prefixes[pair, 1:])[0]
        torch.testing.assert_close(log_probs[row], expected, atol=1e-5, rtol=1e-5)
        if row in (3, 1):
            place = [3, 1].index(row)
            expected = generator.step(alone, torch.tensor([20 + place]))[0]
            torch.testing.assert_close(later[place], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_batches_and_padding_change_nothing(folder: Path, batch_size: int) -> None:
    generator = made(folder, batch_size=batch_size)
    questions = [QUESTIONS[i % 3] for i in range(7)]
    passages = [PASSAGES[(i * 2) % 3] for i in range(7)]
    read = generator.read(questions, passages)
    targets = padded(generator.encode_answers(["Nairobi, the largest city"] * 7))
    together = generator.score(read, torch.arange(7), targets)
    assert len(read) == 7
    for pair in range(7):
        alone = generator.read(questions[pair : pair + 1], passages[pair : pair + 1])
        single = generator.score(alone, torch.tensor([0]), targets[:1])
        torch.testing.assert_close(together[pair], single[0], atol=1e-5, rtol=1e-5)


def test_score_is_differentiable_to_the_encoder(folder: Path) -> None:
    generator = made(folder)
    read = generator.read(QUESTIONS, PASSAGES)
    targets = padded(generator.encode_answers(ANSWERS))
    generator.score(read, torch.arange(3), targets).sum().backward()
    gradients = [p.grad for p in generator.model.get_encoder().parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)


def test_reading_nothing_gives_nothing(bart: Path) -> None:
    generator = made(bart)
    read = generator.read([], [])
    none = torch.zeros(0, dtype=torch.long)
    assert len(read) == 0
    assert generator.score(read, none, torch.zeros(0, 3, dtype=torch.long)).shape == (0, 3)
    state = generator.start(read, none)
    assert generator.step(state, None).shape == (0, generator.vocabulary_size)


def test_the_question_is_never_cut(folder: Path) -> None:
    generator = made(folder, max_input_tokens=48)
    question = "Who is the prime minister?"
    long = Passage("1", "Kenya", " ".join(f"Nairobi {i}" for i in range(10_000)))
    (ids,) = generator._inputs([question], [long])
    text = generator.tokenizer.decode(ids, skip_special_tokens=True)
    assert 44 <= len(ids) <= 48
    assert text.startswith("Kenya / Nairobi 0 Nairobi 1")
    assert text.endswith(f" // {question}")
    assert ids == generator.tokenizer(text).input_ids


def test_a_long_title_is_cut_after_the_text_is_gone(bart: Path) -> None:
    generator = made(bart, max_input_tokens=40)
    question = "Who is the prime minister?"
    (ids,) = generator._inputs([question], [Passage("1", "Kenya " * 999, "Nairobi")])
    text = generator.tokenizer.decode(ids, skip_special_tokens=True)
    assert len(ids) <= 40
    assert text.startswith("Kenya Kenya")
    assert text.endswith(f" // {question}")
    assert "Nairobi" not in text


@pytest.mark.parametrize("passage", [PASSAGES[0], None])
def test_a_question_longer_than_the_input_is_refused(folder: Path, passage: Passage | None) -> None:
    generator = made(folder)
    limit = generator.max_input_tokens
    with pytest.raises(QuestionError, match=rf"question is \d{{5}} tokens long.* most {limit}"):
        generator.read(["Chad " * 10_000], [passage])


def test_what_fits_is_tokenized_as_one_string(folder: Path) -> None:
    generator = made(folder, template="question: {question} context: {text}")
    expected = "question: Who? context: Abiy Ahmed Ali, since April 2018"
    assert generator._inputs(["Who?"], [PASSAGES[1]]) == [generator.tokenizer(expected).input_ids]


def test_braces_in_a_passage_are_text(bart: Path) -> None:
    generator = made(bart)
    (ids,) = generator._inputs(["{x}?"], [Passage("1", "{title}", "{question} {0}")])
    text = generator.tokenizer.decode(ids, skip_special_tokens=True)
    assert text == "{title} / {question} {0} // {x}?"


@pytest.mark.parametrize(
    "template",
    [
        "{title} {question}",
        "{text}",
        "{text} {text} {question}",
        "{text} {question} {id}",
        "{text!r} {question}",
        "{text:>9} {question}",
        "{text.id} {question}",
        "{text} {question} {}",
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    with pytest.raises(ValidationError, match="must hold"):
        Seq2SeqConfig(model="any", template=template)


def test_answers_end_once_and_keep_what_the_decoder_is_not_fed(bart: Path, t5: Path) -> None:
    generator = made(bart)
    ids = generator.encode_answers(["Nairobi", "a</s>b"])
    # BART's decoder is fed </s>, and <s> is its first target.
    assert [row[0] for row in ids] == [0, 0]
    assert all(row.count(2) == 1 and row[-1] == 2 for row in ids)
    assert generator.decode_tokens(ids[0]) == "Nairobi"
    assert generator.encode_answers([]) == []
    plain = made(t5).encode_answers(["Nairobi"])[0]
    assert plain == ids[0][1:]


@torch.no_grad()
def test_the_first_token_of_t5_counts(t5: Path) -> None:
    generator = made(t5)
    read = generator.read(["Who?"], [PASSAGES[0]])
    target = generator.encode_answers(["Nairobi"])[0]
    scored = generator.score(read, torch.tensor([0]), torch.tensor([target]))
    first = generator.step(generator.start(read, torch.tensor([0])), None)
    torch.testing.assert_close(scored[0, 0], first[0, target[0]], atol=1e-5, rtol=1e-5)
    assert scored[0, 0] < 0


def test_word_pieces_that_begin_with_the_start_token(tmp_path: Path) -> None:
    generator = made(tiny.save_bart(tmp_path, cased=False))
    assert generator.capabilities == {"together", "trainable", "uncased", "words"}
    (ids,) = generator.encode_answers(["Nairobi, 2018"])
    assert ids == [*generator.tokenizer("nairobi, 2018", add_special_tokens=False).input_ids, 3]
    assert generator.decode_tokens(ids) == "nairobi, 2018"
    spaced = generator.tokenizer("N'Djamena", add_special_tokens=False).input_ids
    assert generator.decode_tokens(spaced) == "n'djamena"


@pytest.mark.parametrize("place", ["config.json", "generation_config.json"])
def test_a_forced_first_token_is_found(tmp_path: Path, place: str) -> None:
    import json

    assert made(tiny.save_bart(tmp_path)).forced_bos_token_id is None
    path = tmp_path / place
    path.write_text(json.dumps({**json.loads(path.read_text()), "forced_bos_token_id": 0}))
    if place == "config.json":
        (tmp_path / "generation_config.json").unlink()
    assert made(tmp_path).forced_bos_token_id == 0


def test_it_meets_the_contract(folder: Path) -> None:
    generator = made(folder)
    assert isinstance(generator, Generator)
    assert generator.capabilities == {"together", "trainable", "words"}
    assert generator.eos_token_id == 2
    assert not generator.model.training


def test_the_words_of_a_passage_make_an_answer(bart: Path) -> None:
    generator = made(bart)
    (words,) = generator.encode_words(["is N'Djamena, since"])
    opening = next(word for word in words if (word.start, word.end, word.opens) == (3, 12, True))
    assert [*opening.tokens, 2] == generator.encode_answers(["N'Djamena"])[0]


@torch.no_grad()
def test_an_unknown_architecture_decodes_all_the_same(bart: Path) -> None:
    generator = made(bart)
    fast = generator.read(QUESTIONS, PASSAGES)
    targets = padded(generator.encode_answers(ANSWERS))
    expected = generator.score(fast, torch.arange(3), targets)
    # What `fast_decoder` gives for a model that it does not know.
    generator._decoder = None
    read = generator.read(QUESTIONS, PASSAGES)
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(generator.score(read, torch.arange(3), targets), expected, **close)
    state = generator.start(read, torch.tensor([1, 0, 2]))
    generator.step(state, None)
    state.select(torch.tensor([1, 0, 2, 0]))
    found = generator.step(state, targets[[0, 1, 2, 1], 0])
    for row, pair in enumerate([0, 1, 2, 1]):
        assert abs(found[row, targets[pair, 1]] - expected[pair, 1]) < 1e-4


def test_score_without_gradients_is_that_with_them(folder: Path) -> None:
    generator = made(folder)
    read = generator.read(QUESTIONS, PASSAGES)
    targets = padded(generator.encode_answers(ANSWERS))
    expected = generator.score(read, torch.arange(3), targets)
    assert expected.requires_grad
    with torch.no_grad():
        found = generator.score(read, torch.arange(3), targets)
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)


def test_a_tokenizer_that_is_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    tiny.save_bart(tmp_path, vocab_size=100)
    with pytest.raises(GeneratorError, match="has 330 tokens but the model has 100"):
        made(tmp_path)


def test_an_answer_longer_than_the_models_positions_is_refused(bart: Path) -> None:
    generator = made(bart)
    read = generator.read(["Who?"], [None])
    with pytest.raises(GeneratorError, match="max_new_tokens"):
        generator.score(read, torch.tensor([0]), torch.full((1, 65), 5))


def test_more_input_than_the_models_positions_is_refused(bart: Path) -> None:
    with pytest.raises(GeneratorError, match=r"max_input_tokens is 65 .* positions for 64"):
        made(bart, max_input_tokens=65)


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny.save_bart(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["model.decoder.layers.1.fc1.weight"]
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GeneratorError, match=r"decoder\.layers\.1\.fc1\.weight"):
        made(tmp_path)


def test_weights_in_a_pickle_are_not_read(tmp_path: Path) -> None:
    tiny.save_bart(tmp_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(GeneratorError, match=r"hold code: `ragcore models convert"):
        made(tmp_path)


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"must hold config\.json"):
        made(tmp_path)


def test_a_device_that_is_not_there_is_a_clear_error(bart: Path) -> None:
    with pytest.raises(GeneratorError, match="device 'abacus' cannot be used"):
        made(bart, device="abacus")


@pytest.mark.parametrize("written", ["</s> b", "a <pad> b", "<s>", "a</s>b<unk>"])
def test_text_that_spells_special_tokens_is_read_and_written_as_text(
    folder: Path, written: str
) -> None:
    generator = made(folder)
    special = set(generator.tokenizer.all_special_ids)
    (plain_answer,) = generator.encode_answers(["a"])
    (answer,) = generator.encode_answers([written])
    assert [i for i in answer if i in special] == [i for i in plain_answer if i in special]
    assert generator.decode_tokens(answer) == written
    passage = Passage("1", written, written)
    (bare,) = generator._inputs(["a"], [Passage("1", "a", "a")])
    (inputs,) = generator._inputs([written], [passage])
    assert [i for i in inputs if i in special] == [i for i in bare if i in special]


def test_only_the_templates_own_special_tokens_are_special(bart: Path) -> None:
    generator = made(bart, template="<s>{title}</s>{text}<unk>{question}")
    (inputs,) = generator._inputs(["</s><unk>"], [Passage("1", "<pad>", "</s>{title}")])
    ids = generator.tokenizer.convert_tokens_to_ids
    # The first and the last are the tokenizer's own.
    order = [ids(token) for token in ("<s>", "<s>", "</s>", "<unk>", "</s>")]
    special = set(generator.tokenizer.all_special_ids)
    assert [token for token in inputs if token in special] == order


def test_the_limit_is_that_of_the_encoder_or_else_of_the_tokenizer() -> None:
    from transformers import LEDConfig, LongT5Config, PreTrainedTokenizerFast, T5GemmaConfig

    short = tiny.byte_pairs(start=None)
    short.model_max_length = 700
    endless = tiny.byte_pairs(start=None)
    assert isinstance(endless, PreTrainedTokenizerFast)
    settings = Seq2SeqConfig(model="m")
    led = LEDConfig(max_encoder_position_embeddings=1500, max_decoder_position_embeddings=90)
    assert input_limit(settings, led, short) == 1500
    assert answer_positions(led) == 90
    assert input_limit(settings, LEDConfig(), short) == 4096
    assert input_limit(Seq2SeqConfig(model="m", max_input_tokens=9000), LEDConfig(), short) == 9000
    assert input_limit(settings, LongT5Config(), short) == 700
    assert input_limit(settings, LongT5Config(), endless) == 4096
    assert answer_positions(LongT5Config()) is None
    part = {"max_position_embeddings": 2000}
    gemma = T5GemmaConfig(encoder=part, decoder={"max_position_embeddings": 1000})
    assert input_limit(settings, gemma, short) == 2000
    assert answer_positions(gemma) == 1000


def test_a_warning_says_once_that_passages_are_cut(
    bart: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = made(bart)
    long = Passage("chad", "Chad", "Nairobi " * 200)
    generator._inputs(["Who?"], [PASSAGES[0]])
    assert not caplog.records
    generator._inputs(["Who?"], [long])
    generator._inputs(["Who?"], [long])
    (record,) = caplog.records
    assert "reads at most 64 tokens, and passage 'chad'" in record.getMessage()


def test_a_config_whose_values_do_not_fit_together_is_a_clear_error(
    bart: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    shutil.copytree(bart, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoder_layers": "two"}))
    with pytest.raises(GeneratorError, match=r"cannot be loaded: .*encoder_layers"):
        made(tmp_path)
