"""The generator `openai` at a small server: what it finds out, sends, scores and refuses."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from embedding_server import KEY, running
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ragcore_openai import client as client_module
from ragcore_openai.configs import OpenAIConfig
from ragcore_openai.generator import OpenAI
from ragcore_openai.prompt_texts import PromptTexts, characters_of, shortened
from writing_server import (
    END,
    WritingServer,
    events_of,
    greedy,
    log_prob_of,
    log_probs_after,
    tops_after,
)

from ragcore.contracts import (
    Completion,
    Meter,
    Prompted,
    ScoringGenerator,
    TextGenerator,
    TopGenerator,
    TopToken,
    Writing,
)
from ragcore.errors import GeneratorError, QuestionError, UnsupportedOperation
from ragcore.types import Passage

TEMPLATE = "{title}: {text} {question} Answer:"
KENYA = Passage("kenya", "Kenya", "Its capital is Nairobi.")
CHAD = Passage("chad", "Chad", "Its capital is N'Djamena, on the Chari.")
PROMPTS = [
    Prompted("Capital of Kenya?", (KENYA,)),
    Prompted("Capital of Kenya?", (CHAD,)),
    Prompted("Capital of Chad?"),
]
GREEDY = Writing(max_new_tokens=6)
EVERYTHING = ("logprobs", "echo", "prompt_logprobs")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("WRITING_KEY", KEY)


@pytest.fixture
def chats() -> Iterator[WritingServer]:
    with running(WritingServer()) as server:
        yield server


def generator(server: WritingServer, **settings: Any) -> OpenAI:
    asked = {"model": "m", "template": TEMPLATE, "retries": 3, "timeout": 20, "key": KEY}
    return OpenAI(OpenAIConfig(base_url=server.url, **(asked | settings)))


def text_of(prompted: Prompted, **settings: Any) -> str:
    texts = PromptTexts(OpenAIConfig(model="m", template=TEMPLATE, **settings), [END])
    return texts.text(prompted.question, prompted.passages, prompted.cite, None)


def meters(count: int = len(PROMPTS)) -> list[Meter]:
    return [Meter() for _ in range(count)]


@pytest.mark.parametrize(
    ("forms", "chat", "tier", "form"),
    [
        ((), True, "text", None),
        (EVERYTHING, True, "text", None),
        ((), False, "text", None),
        (("logprobs",), False, "top", None),
        (("logprobs", "echo"), False, "score", "echo"),
        (("logprobs", "prompt_logprobs"), False, "score", "prompt_logprobs"),
    ],
)
def test_the_tier_is_what_the_server_really_gives(forms, chat, tier, form):
    with running(WritingServer(forms)) as server:
        found = generator(server, chat=chat, end_tokens=(END,))
        assert found.tier == tier
        assert isinstance(found, TextGenerator | ScoringGenerator | TopGenerator)
        assert f"tier {tier}" in found.speed_report()[0]
        assert getattr(found._server.scores, "form", None) == form
        assert len(server.requests) < 12, "it is found out by few requests"


@pytest.mark.parametrize("tier", ["score", "top", "text"])
def test_less_than_the_server_gives_can_be_asked_for(tier):
    with running(WritingServer(EVERYTHING)) as server:
        found = generator(server, chat=False, tier=tier, end_tokens=(END,))
        assert found.tier == tier
        for lesser, use in (
            ("score", lambda: found.score_texts(PROMPTS[:1], ["a"], meters(1))),
            ("top", lambda: found.go_on(PROMPTS[:1], [()], GREEDY, meters(1))),
        ):
            if tier == lesser:
                use()
            else:
                with pytest.raises(UnsupportedOperation, match=f"not '{lesser}'"):
                    use()


@pytest.mark.parametrize(
    ("forms", "chat", "tier", "message"),
    [
        (EVERYTHING, True, "score", "gives tier 'text'.*chat: false uses the route"),
        (("logprobs",), False, "score", "no echo: .*no prompt_logprobs: "),
        ((), False, "top", "the server leaves them out"),
    ],
)
def test_more_than_the_server_gives_is_refused_with_the_reason(forms, chat, tier, message):
    with running(WritingServer(forms)) as server, pytest.raises(GeneratorError, match=message):
        generator(server, chat=chat, tier=tier, end_tokens=(END,))


def test_without_end_tokens_texts_are_not_scored_unless_the_server_counts_tokens():
    with running(WritingServer(EVERYTHING)) as server:
        with pytest.raises(GeneratorError, match="set end_tokens"):
            generator(server, chat=False, tier="score")
        server.routes.add("/tokenize")
        assert generator(server, chat=False)._server.scores.ends == (END,)


def test_a_chat_has_the_system_message_the_template_and_more_fields(chats):
    found = generator(chats, system="Be brief.", request={"reasoning_effort": "low", "top_p": None})
    chats.requests.clear()
    writing = Writing(max_new_tokens=5, temperature=0.5, top_p=0.9, seed=3, stop=("\n",))
    (written,) = found.write(PROMPTS[:1], writing, meters(1))
    assert written[0].finished
    assert chats.requests == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": "Kenya: Its capital is Nairobi. Capital of Kenya? Answer:",
                },
            ],
            "max_tokens": 5,
            "temperature": 0.5,
            "seed": 3,
            "stop": ["\n"],
            "reasoning_effort": "low",
        }
    ]


def test_texts_are_those_of_each_prompt_and_are_tidy(chats):
    found = generator(chats, concurrency=3)
    written = found.write(PROMPTS, GREEDY, meters())
    for prompted, completions in zip(PROMPTS, written, strict=True):
        tokens, ended = greedy(f"<|user|>{text_of(prompted)}{END}<|assistant|>", 6)
        assert [c.text for c in completions] == [" ".join("".join(tokens).split())]
        assert completions[0].finished == ended
    chats.changed = lambda reply: (
        reply
        | {
            "choices": [
                {
                    "finish_reason": "length",
                    "message": {"content": "<think>It is in Africa.</think>\n\n A  b"},
                }
            ]
        }
    )
    (written,) = found.write(PROMPTS[:1], GREEDY, meters(1))
    assert (written[0].text, written[0].finished) == ("A b", False)


def test_what_a_question_costs_is_counted_with_the_attempts(chats):
    found = generator(chats)
    chats.faults.append(lambda handler, _: handler.reply(503, {}, **{"Retry-After": "0"}))
    meter = Meter(seed=4)
    found.write(PROMPTS[:2], Writing(max_new_tokens=6, seed=4), [meter, meter])
    usage = meter.usage()
    lengths = [len(f"<|user|>{text_of(prompted)}") for prompted in PROMPTS[:2]]
    assert usage.requests == 3
    assert 0 < usage.prompt_tokens < sum(lengths) + 40
    assert (usage.completion_tokens, usage.fingerprints, usage.seed) == (2, ("fp_1",), 4)


@pytest.mark.parametrize("together", [True, False])
def test_several_texts_are_drawn_also_where_the_server_draws_one_a_request(chats, together):
    if not together:
        chats.changed = lambda reply: reply | {"choices": reply["choices"][-1:]}
    found = generator(chats)
    chats.requests.clear()
    (written,) = found.write(
        PROMPTS[:1], Writing(max_new_tokens=5, count=3, temperature=1.0, seed=1), meters(1)
    )
    assert [completion.text for completion in written] == ["Chad", "is", "the"]
    assert len(chats.requests) == (1 if together else 3)


@pytest.mark.parametrize("form", ["echo", "prompt_logprobs"])
def test_scores_are_the_model_s_own(form):
    with running(WritingServer(("logprobs", form))) as server:
        found = generator(server, chat=False, end_tokens=(END,), concurrency=3)
        texts = ["Nairobi", "N'Djamena", "", "Nairobi"]
        prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[2], PROMPTS[1]]
        counted = meters(4)
        scores = found.score_texts(prompts, texts, counted)
        for prompted, text, score in zip(prompts, texts, scores, strict=True):
            expected = log_prob_of(text_of(prompted), f" {text}")
            assert sum(score.log_probs) == pytest.approx(expected, abs=1e-9)
            assert score.tokens[-1] == END
            assert len(score.tokens) == len(score.log_probs)
        assert scores[0].tokens == scores[3].tokens
        # Two texts of one prompt share the request of the prompt alone.
        assert [meter.usage().requests for meter in counted] == [2, 2, 2, 1]


def test_an_answer_may_end_by_any_end_token():
    with running(WritingServer(EVERYTHING)) as server:
        one = generator(server, chat=False, end_tokens=(END,))
        two = generator(server, chat=False, end_tokens=(END, "~"))
        (single,) = one.score_texts(PROMPTS[:1], ["Nairobi"], meters(1))
        (both,) = two.score_texts(PROMPTS[:1], ["Nairobi"], meters(1))
        after = log_probs_after(text_of(PROMPTS[0]) + " Nairobi")
        assert single.log_probs[-1] == pytest.approx(after[END])
        assert both.log_probs[-1] == pytest.approx(
            math.log(math.exp(after[END]) + math.exp(after["~"]))
        )
        assert both.log_probs[:-1] == single.log_probs[:-1]


def test_tops_are_the_model_s_own_and_a_prefix_is_continued():
    with running(WritingServer(("logprobs",))) as server:
        found = generator(server, chat=False, top_tokens=7)
        (whole,) = found.go_on(PROMPTS[:1], [()], GREEDY, meters(1))
        text = text_of(PROMPTS[0])
        before = ""
        for step in whole.steps:
            expected = tops_after(text + before, 7)
            assert {END if token.ends else token.text: token.log_prob for token in step} == expected
            assert step[0].log_prob == max(expected.values())
            before += step[0].text
        assert whole.text == " ".join(before.split())
        prefix = [whole.steps[0][0], whole.steps[1][1]]
        (rest,) = found.go_on(PROMPTS[:1], [prefix], GREEDY, meters(1))
        written = "".join(token.text for token in prefix)
        assert {END if t.ends else t.text: t.log_prob for t in rest.steps[0]} == tops_after(
            text + written, 7
        )
        assert rest.text.startswith(" ".join(written.split()))


def test_a_text_that_ended_has_a_step_for_its_end():
    with running(WritingServer(("logprobs",))) as server:
        found = generator(server, chat=False)
        (ended,) = found.go_on(PROMPTS[:1], [()], Writing(max_new_tokens=100), meters(1))
        assert ended.finished
        assert ended.steps[-1][0] == TopToken("", ended.steps[-1][0].log_prob, ends=True)

        def without_end(reply: dict[str, Any]) -> dict[str, Any]:
            for values in reply["choices"][0]["logprobs"].values():
                values.pop()
            return reply

        server.changed = without_end
        with pytest.raises(GeneratorError, match=r"no end token: .*tier: text"):
            found.go_on(PROMPTS[:1], [()], Writing(max_new_tokens=100), meters(1))


def test_the_newer_form_of_log_probs_is_read_too():
    def newer(reply: dict[str, Any]) -> dict[str, Any]:
        for choice in reply["choices"]:
            old = choice["logprobs"]
            choice["logprobs"] = {
                "content": [
                    {
                        "token": token,
                        "logprob": p,
                        "top_logprobs": [
                            {"token": other, "logprob": q} for other, q in best.items()
                        ],
                    }
                    for token, p, best in zip(
                        old["tokens"], old["token_logprobs"], old["top_logprobs"], strict=True
                    )
                ]
            }
        return reply

    with running(WritingServer(("logprobs",))) as server:
        found = generator(server, chat=False)
        (older,) = found.go_on(PROMPTS[:1], [()], GREEDY, meters(1))
        server.changed = newer
        assert found.go_on(PROMPTS[:1], [()], GREEDY, meters(1)) == [older]


# Lies.


def lie(change: Any) -> Any:
    """Change the log-probs of each choice."""

    def changed(reply: dict[str, Any]) -> dict[str, Any]:
        for choice in reply["choices"]:
            if "logprobs" in choice:
                change(choice["logprobs"])
        return reply

    return changed


def positive(log_probs: dict[str, Any]) -> None:
    log_probs["token_logprobs"] = [p and 0.7 for p in log_probs["token_logprobs"]]


def nan(log_probs: dict[str, Any]) -> None:
    log_probs["token_logprobs"] = [p and math.nan for p in log_probs["token_logprobs"]]


def too_much(log_probs: dict[str, Any]) -> None:
    log_probs["top_logprobs"] = [
        best and dict.fromkeys([*best, " is", " the"], -0.1) for best in log_probs["top_logprobs"]
    ]


def shifted(log_probs: dict[str, Any]) -> None:
    """As llama-cpp-python's server does where the prompt has no first token."""
    own, tops = log_probs["token_logprobs"], log_probs["top_logprobs"]
    if own[0] is None:
        log_probs["token_logprobs"] = [*own[1:], -0.5]
        log_probs["top_logprobs"] = [*tops[1:], {" is": -0.5}]


@pytest.mark.parametrize(
    ("forms", "change", "message"),
    [
        (("logprobs",), positive, "a log-prob is 0.7"),
        (("logprobs",), nan, "a log-prob is nan"),
        (("logprobs",), too_much, "probabilities that sum to"),
        (("logprobs", "echo"), positive, "a log-prob is 0.7"),
        (("logprobs", "echo"), nan, "a log-prob is nan"),
        (("logprobs", "echo"), shifted, "are not those of its tokens: .*first token"),
    ],
)
def test_a_server_that_lies_is_found_out_when_the_generator_is_loaded(forms, change, message):
    with running(WritingServer(forms)) as server:
        server.changed = lie(change)
        with pytest.raises(GeneratorError, match=f"{message}.*set tier: text"):
            generator(server, chat=False, end_tokens=(END,))
        assert generator(server, chat=False, tier="text").tier == "text"


@pytest.mark.parametrize("change", [positive, nan, too_much])
def test_a_server_that_begins_to_lie_is_an_error_and_no_answer(change):
    with running(WritingServer(("logprobs",))) as server:
        found = generator(server, chat=False)
        server.changed = lie(change)
        with pytest.raises(GeneratorError, match="set tier: text"):
            found.go_on(PROMPTS[:1], [()], GREEDY, meters(1))


@pytest.mark.parametrize("change", [positive, nan])
def test_scores_that_become_lies_are_an_error(change):
    with running(WritingServer(("logprobs", "echo"))) as server:
        found = generator(server, chat=False, end_tokens=(END,))
        server.changed = lie(change)
        with pytest.raises(GeneratorError, match="set tier: text"):
            found.score_texts(PROMPTS[:1], ["Nairobi"], meters(1))


def test_log_probs_of_another_text_are_an_error():
    with running(WritingServer(("logprobs", "echo"))) as server:
        found = generator(server, chat=False, end_tokens=(END,), template="{text} {question}")
        prompted = Prompted("Where?", (Passage("p", "", "In the capital"),))
        found.score_texts([prompted], ["Nairobi"], meters(1))
        server.changed = lie(
            lambda log_probs: log_probs.update(
                tokens=[token.replace("Nairobi", "Chad") for token in log_probs["tokens"]]
            )
        )
        with pytest.raises(GeneratorError, match="those of ' Chad</s>', and not of the text"):
            found.score_texts([prompted], ["Nairobi"], meters(1))


def test_an_answer_that_would_change_the_prompt_s_tokens_is_an_error():
    with running(WritingServer(("logprobs", "echo"))) as server:
        found = generator(
            server, chat=False, end_tokens=(END,), answer_prefix="", template="{text}{question} Nai"
        )
        with pytest.raises(GeneratorError, match="changes the tokens of the prompt"):
            found.score_texts(PROMPTS[:1], ["robi"], meters(1))


# Faults.


def test_a_storm_of_429_is_waited_out_and_nothing_is_lost(chats):
    found = generator(chats, concurrency=3)
    expected = found.write(PROMPTS, GREEDY, meters())
    busy = lambda handler, _: handler.reply(429, {}, **{"Retry-After": "0"})  # noqa: E731
    chats.faults.extend([busy] * 5)
    assert found.write(PROMPTS, GREEDY, meters()) == expected


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b'{"choices": [', "its reply is no JSON"),
        ({}, "it has no `choices`"),
        ({"choices": []}, "it has no `choices`"),
        ({"choices": [3]}, "is no JSON object"),
        ({"choices": [{"index": 0}]}, "a choice has no text"),
        ({"choices": [{"message": {"content": None, "refusal": "No."}}]}, "it refused, 'No.'"),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "content_filter"}]}, "filter"),
        ({"choices": [{"message": {"content": ["a"]}}]}, "a choice has no text"),
    ],
)
def test_a_reply_in_another_form_is_an_error(chats, reply, message):
    found = generator(chats, retries=1)
    chats.always = lambda handler, _: handler.reply(200, reply)
    with pytest.raises(GeneratorError, match=message):
        found.write(PROMPTS, GREEDY, meters())


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "check the key"), (404, "check base_url and the model's name"), (400, "no such model")],
)
def test_what_the_server_refuses_is_an_error_when_the_generator_is_loaded(chats, status, message):
    chats.always = lambda handler, _: handler.reply(
        status, {"error": {"message": f"no such model; your key {KEY}"}}
    )
    with pytest.raises(GeneratorError, match=message) as raised:
        generator(chats)
    assert KEY not in str(raised.value)
    assert KEY not in repr(raised.value)


def test_a_server_without_completions_says_how_to_use_its_chats():
    with (
        running(WritingServer(routes=["/v1/chat/completions"])) as server,
        pytest.raises(GeneratorError, match="set chat: true"),
    ):
        generator(server, chat=False)


def test_the_newer_name_of_the_limit_is_used_where_the_server_wants_it(chats):
    def modern(handler: Any, body: dict[str, Any]) -> None:
        if "max_tokens" in body:
            message = "Unsupported parameter: use 'max_completion_tokens' instead"
            handler.reply(400, {"error": {"message": message}})
        else:
            limited = body | {"max_tokens": body["max_completion_tokens"]}
            handler.reply(*chats.reply_to(handler.path, limited))

    chats.always = modern
    found = generator(chats)
    chats.requests.clear()
    found.write(PROMPTS[:1], GREEDY, meters(1))
    assert [body["max_completion_tokens"] for body in chats.requests] == [6]


def test_the_first_failure_ends_the_other_requests(chats):
    found = generator(chats, concurrency=2)
    chats.requests.clear()
    chats.always = lambda handler, _: handler.reply(400, {"error": "no"})
    prompts = [Prompted(f"Question {number}?") for number in range(40)]
    with pytest.raises(GeneratorError, match="status 400"):
        found.write(prompts, GREEDY, meters(40))
    assert len(chats.requests) <= 6


# Streams.


def test_a_text_is_streamed_as_it_is_written(chats):
    """The second half is sent once the first was read."""
    found = generator(chats)
    read = threading.Event()

    def halves(handler: Any, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        assert body["stream"]
        handler.wfile.write(events_of([chunk("<think>hm</think>The ci"), chunk("ty  of")]))
        handler.wfile.flush()
        assert read.wait(10)
        handler.wfile.write(events_of([chunk(" Lima"), chunk("", "stop"), {"usage": USAGE}]))

    chats.always = halves
    meter = Meter()
    parts = found.write_parts(PROMPTS[0], GREEDY, meter)
    assert [next(parts).text, next(parts).text] == ["The ci", "The city of"]
    read.set()
    *_, last = parts
    assert last == Completion("The city of Lima", finished=True)
    assert meter.usage().prompt_tokens == 7
    assert meter.usage().completion_tokens == 3


USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def chunk(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}


def test_a_server_that_streams_nothing_replies_at_once(chats):
    found = generator(chats)
    ((expected,),) = found.write(PROMPTS[:1], GREEDY, meters(1))

    def whole(handler: Any, body: dict[str, Any]) -> None:
        handler.reply(*chats.reply_to(handler.path, {**body, "stream": False}))

    chats.always = whole
    *_, last = found.write_parts(PROMPTS[0], GREEDY, Meter())
    assert last == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'data: {"choices": [{"delta": {"content": "Li"}}]}\n\n', "ends before the text does"),
        (b'data: {"choices": [{"delta": {"con', "no JSON.*amid its reply"),
        (b'data: {"error": {"message": "out of memory"}}\n\n', "amid its reply: 'out of memory'"),
        (b'data: {"choices": [3]}\n\n', "no JSON object"),
        (b'data: {"choices": [{"delta": {"content": 3}}]}\n\n', "has int: expected a text"),
    ],
)
def test_half_a_stream_is_an_error(chats, content, message):
    found = generator(chats)
    chats.always = lambda handler, _: handler.reply(200, content)
    with pytest.raises(GeneratorError, match=message):
        list(found.write_parts(PROMPTS[0], GREEDY, Meter()))


def test_a_stream_is_tried_again_until_it_begins(chats):
    found = generator(chats, retries=2)
    expected = list(found.write_parts(PROMPTS[0], GREEDY, Meter()))
    chats.faults.append(lambda handler, _: handler.reply(503, {}))
    meter = Meter()
    assert list(found.write_parts(PROMPTS[0], GREEDY, meter)) == expected
    assert meter.usage().requests == 2
    chats.always = lambda handler, _: handler.reply(400, {"error": "no streams"})
    with pytest.raises(GeneratorError, match=r"status 400.*'no streams'"):
        list(found.write_parts(PROMPTS[0], GREEDY, Meter()))


def test_several_threads_may_use_it(chats):
    found = generator(chats)
    expected = found.write(PROMPTS, GREEDY, meters())
    written: list[Any] = []
    threads = [
        threading.Thread(target=lambda: written.append(found.write(PROMPTS, GREEDY, meters())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert written == [expected] * 4


# Lengths.


LONG = Passage("long", "Chad", "Its capital is N'Djamena. " * 40)


def sent_prompts(server: WritingServer) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.requests]


@pytest.mark.parametrize("counts", [True, False])
def test_a_passage_is_cut_and_the_question_is_not(counts, caplog):
    with running(WritingServer(positions=150)) as server:
        if counts:
            server.routes.add("/tokenize")
        found = generator(server, retries=0)
        server.requests.clear()
        question = "What is the capital of Chad, and where does it lie?"
        (written,) = found.write([Prompted(question, (LONG,))], GREEDY, meters(1))
        assert written[0].text
        last = [body for body in server.requests if "messages" in body][-1]
        content = last["messages"][-1]["content"]
        assert question in content
        assert content.endswith("Answer:")
        assert "Its capital is N'Djamena." in content
        assert len(content) < 400
        assert "what is too long is cut" in caplog.text
        asked = [body for body in server.requests if "messages" in body]
        assert (len(asked) == 1) == counts, "who can count is not refused"


def test_without_a_count_max_input_tokens_is_a_guess_from_characters(chats):
    found = generator(chats, max_input_tokens=60)
    chats.requests.clear()
    found.write([Prompted("Capital of Chad?", (LONG,))], GREEDY, meters(1))
    (prompt,) = sent_prompts(chats)
    assert 150 < len(prompt) <= 180


def test_several_passages_share_the_room(chats):
    found = generator(chats, max_input_tokens=140)
    chats.requests.clear()
    prompted = Prompted("Capital of Chad?", (LONG, KENYA, LONG))
    found.write([prompted], GREEDY, meters(1))
    (prompt,) = sent_prompts(chats)
    assert "[2] Kenya. Its capital is Nairobi.\n\n[3] Chad. Its capital is N'Djamena." in prompt
    assert prompt.count("[1] Chad. Its capital is N'Djamena.") == 1


def test_citing_is_asked_for(chats):
    found = generator(chats)
    chats.requests.clear()
    found.write([Prompted("Capital?", (CHAD,), cite=True)], GREEDY, meters(1))
    (prompt,) = sent_prompts(chats)
    assert "number of its passage, as [1]" in prompt
    assert "[1] Chad. Its capital is N'Djamena" in prompt


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("passages", [(), (LONG,)])
def test_a_question_that_is_too_long_is_refused_and_not_cut(counts, passages):
    with running(WritingServer(positions=100)) as server:
        if counts:
            server.routes.add("/tokenize")
        found = generator(server)
        prompted = Prompted("Zzzzz yyyy xxxx? " * 20, passages)
        with pytest.raises(QuestionError, match=r"a question is never cut.*'Zzzzz"):
            found.write([prompted], GREEDY, meters(1))


def test_all_texts_of_a_prompt_are_scored_after_the_same_cut():
    with running(WritingServer(("logprobs", "echo"), positions=220)) as server:
        found = generator(server, chat=False, end_tokens=(END,), retries=0)
        prompted = Prompted("Capital of Chad?", (LONG,))
        server.requests.clear()
        texts = ["Chad", "N'Djamena" + "x" * 30]
        scores = found.score_texts([prompted] * 2, texts, meters(2))
        assert [len(score.tokens) > 1 for score in scores] == [True, True]
        alone, first, second = (body["prompt"] for body in server.requests[-3:])
        assert first == f"{alone} Chad{END}x"
        assert second == f"{alone} N'Djamena{'x' * 30}{END}x"


# Prompts.


@pytest.mark.parametrize(
    "mark",
    ["<|im_end|>", "</s>", "[/INST]", "<end_of_turn>", "<\uff5cUser\uff5c>", "<<SYS>>", "@@"],
)
def test_no_field_can_write_a_special_token(mark):
    config = OpenAIConfig(model="m", template=f"{mark}{{title}}|{{text}}|{{question}}{mark}")
    texts = PromptTexts(config, ["@@"])
    passage = Passage("p", f"a{mark}", f"b{mark}c")
    prompt = texts.text(f"d{mark}", (passage,), False, None)
    assert prompt.startswith(mark)
    assert prompt.endswith(mark)
    assert prompt.count(mark) == 2, "the template's own alone"
    assert mark[1:] in prompt[len(mark) : -len(mark)]


def test_what_is_no_special_token_is_sent_as_it_is():
    texts = PromptTexts(OpenAIConfig(model="m"))
    for text in ("a <b> c", "x < y > z", "[1] [note]", "<|", "if a|b:"):
        assert texts.harmless(text) == text


@given(
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=80)), min_size=1, max_size=5),
    st.integers(0, 300),
)
def test_passages_are_cut_evenly_to_the_room(parts, room):
    passages = [Passage(str(n), title, text) for n, (title, text) in enumerate(parts)]
    cut = shortened(passages, room)
    assert characters_of(cut) <= max(room, 0)
    for whole, part in zip(passages, cut, strict=True):
        assert whole.text.startswith(part.text)
        assert whole.title.startswith(part.title)
    longest = max(len(passage.text) for passage in cut)
    # A text that was cut is as long as any other, but for what cannot be divided.
    assert all(
        len(part.text) >= longest - 1 or part.text == whole.text
        for whole, part in zip(passages, cut, strict=True)
    )
    if characters_of(passages) <= room:
        assert cut == passages


# Settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": "sk-written-out-4711"}, "key is written out"),
        ({"chat": False, "system": "Be brief."}, "chat is false"),
        ({"request": {"messages": []}}, "set by ragcore"),
        ({"template": "{question}"}, "must hold"),
        ({"template_of_passages": "{title}{text}{question}"}, "no other field"),
        ({"end_tokens": [""]}, "end token is empty"),
        ({"tier": "steps"}, "score"),
        ({"model": ""}, "model"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message) as raised:
        OpenAIConfig(**({"model": "m"} | settings))
    assert "4711" not in str(raised.value).replace("input_value='sk-written-out-4711'", "")


def test_the_key_is_sent_and_is_in_no_representation(chats):
    found = generator(chats)
    assert set(chats.keys) == {f"Bearer {KEY}"}
    assert KEY not in repr(found.config)
    assert KEY not in json.dumps(found.speed_report())
