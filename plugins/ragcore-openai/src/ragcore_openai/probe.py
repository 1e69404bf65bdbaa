"""Ask a server what it gives: log-probs of texts, of each step's most probable tokens, or texts.

What it says of itself does not count. Log-probs of a given text are those of that text only if the
step after the prompt has, within the text, the same most probable token with the same log-prob as
where the server writes: llama-cpp-python's shifts them by one where a prompt lacks the model's
first token. Knows which routes there are; knows nothing of questions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from ragcore.contracts import Meter, Prompted, Tier, Writing
from ragcore.errors import GeneratorError
from ragcore.types import Passage
from ragcore_openai.client import Ask, Client, Json, Reply
from ragcore_openai.configs import OpenAIConfig
from ragcore_openai.failures import ServerError
from ragcore_openai.fitting import Count
from ragcore_openai.llamacpp_route import LlamaCppRoute
from ragcore_openai.prompt_texts import PromptTexts
from ragcore_openai.replies import WrongLogProbs, choices_of, completion_of, steps_of
from ragcore_openai.routes import Chat, Completions, Route, TopRoute
from ragcore_openai.scores import Form, PromptToken, TextScores, agrees
from ragcore_openai.tokenizing import END_TOKENS, counting, end_tokens_of

__all__ = ["Server", "probed"]

_LOG: Final = logging.getLogger("ragcore.openai")

_QUESTION: Final = "What is the capital of Chad?"
_PASSAGE: Final = Passage("probe", "Chad", "Its capital is N'Djamena.")
_ANSWER: Final = "Yes, it is."
_ONE_TOKEN: Final = Writing(max_new_tokens=1)

_SAME: Final = 0.1
"""How far the log-probs of two requests may differ: servers compute other batches."""

_FEWEST_TOPS: Final = 5
"""What OpenAI's older route gives at most."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server gives, and how it is asked.

    Attributes:
        tier: what the generator gives.
        texts: makes prompts as text.
        route: writes.
        top: also continues tokens, with the tier `top`.
        scores: scores texts, with the tier `score`.
        count: counts a text's tokens, where the server can.
        limit: the most tokens of a prompt; None where only a refusal tells.
        reasons: what it does not give and why, a line each.
    """

    tier: Tier
    texts: PromptTexts
    route: Route
    top: TopRoute | None = None
    scores: TextScores | None = None
    count: Count | None = None
    limit: int | None = None
    reasons: tuple[str, ...] = ()


def probed(config: OpenAIConfig, client: Client) -> Server:
    """Find out what a server gives, by a few short requests.

    Raises:
        ServerError: it cannot be reached, does not know the model, or replies wrongly.
        GeneratorError: it does not give what the config asks for.
    """
    properties = _properties(client)
    if properties is not None:
        server = _llamacpp(config, client, properties)
    elif config.chat:
        server = _chat(config, client)
    else:
        server = _completions(config, client)
    if config.tier is not None and server.tier != config.tier:
        raise GeneratorError(
            f"tier is {config.tier!r}, but the server at {config.base_url} gives tier "
            f"{server.tier!r} for model {config.model!r}: {'; '.join(server.reasons)}"
        )
    _LOG.info(
        "model %r at %s: tier %s%s",
        config.model,
        config.base_url,
        server.tier,
        "".join(f"; {reason}" for reason in server.reasons),
    )
    return server


def _properties(client: Client) -> Json | None:
    """Return what llama.cpp's own server says of itself; None at any other server."""
    try:
        properties = client.get(f"{client.root}/props", patient=False)
    except ServerError:
        # Whatever is wrong will be wrong for a route that the server must have.
        return None
    known = {"default_generation_settings", "total_slots", "chat_template"}
    return properties if known <= properties.keys() else None


def _llamacpp(config: OpenAIConfig, client: Client, properties: Json) -> Server:
    route = LlamaCppRoute(config, client, properties)
    tier: Tier = "text" if config.tier == "text" else "top"
    if tier == "top":
        # Raises where the log-probs cannot be right.
        route.go_on(_asking(client), _prompted(), None, (), _ONE_TOKEN, Meter())
    else:
        route.write(_asking(client), _prompted(), None, _ONE_TOKEN, Meter())
    return Server(
        tier,
        PromptTexts(config),
        route,
        top=route,
        reasons=("llama.cpp's own server shows the tops of each step, and scores no given text",),
    )


def _chat(config: OpenAIConfig, client: Client) -> Server:
    texts = PromptTexts(config, config.end_tokens)
    route = Chat(config, texts)
    _write_once(client, route)
    count, limit = _counting(config, client)
    reason = "a chat's route gives texts alone; chat: false uses the route /completions"
    return Server("text", texts, route, count=count, limit=limit, reasons=(reason,))


def _completions(config: OpenAIConfig, client: Client) -> Server:
    count, limit = _counting(config, client)
    ends: list[str] = list(config.end_tokens)
    if not ends and config.tier in (None, "score"):
        ends = end_tokens_of(client, count)
    texts = PromptTexts(config, ends)
    route = Completions(config, texts, {*END_TOKENS, *config.end_tokens})
    reasons: list[str] = []
    scores: TextScores | None = None
    top: TopRoute | None = None
    _write_once(client, route)
    if config.tier in (None, "score"):
        scores = _scores(client, route, texts, ends, reasons)
    if scores is None and config.tier in (None, "top"):
        top = route if _shows_tops(client, route, reasons) else None
    tier: Tier = "score" if scores else "top" if top else "text"
    return Server(tier, texts, route, top, scores, count, limit, tuple(reasons))


def _counting(config: OpenAIConfig, client: Client) -> tuple[Count | None, int | None]:
    """Return what counts tokens at the server, and how many a prompt may have."""
    count, longest = counting(client, config.model)
    if config.max_input_tokens is not None:
        return count, config.max_input_tokens
    # Half of a short model's positions at least are the prompt's.
    return count, None if longest is None else longest - min(128, longest // 2)


def _write_once(client: Client, route: Chat | Completions) -> None:
    """Write one token, to see that there is such a route, such a model, and such a key."""
    texts = route.request(_prompt_of(route), _ONE_TOKEN)
    try:
        reply = client.post(route.path, texts)
    except ServerError as error:
        if "max_completion_tokens" in error.reply and route.limit_field == "max_tokens":
            route.limit_field = "max_completion_tokens"
            _write_once(client, route)
            return
        if error.status in (404, 405) and isinstance(route, Completions):
            raise ServerError(
                f"{error}; if the server has chats alone, set chat: true", error.status, error.reply
            ) from None
        raise
    choices_of(client.config.base_url + route.path, reply)


def _scores(
    client: Client,
    route: Completions,
    texts: PromptTexts,
    ends: list[str],
    reasons: list[str],
) -> TextScores | None:
    """Return what scores texts, if the server shows a prompt's log-probs in one of two forms.

    Raises:
        Faulty: it shows log-probs that are not those of the prompt's tokens.
    """
    prompt, ask = _prompt_of(route), _asking(client)
    forms: tuple[Form, ...] = ("echo", "prompt_logprobs")
    for form in forms:
        scores = TextScores(route, texts, form, ends)
        try:
            length = scores.length(ask, prompt, Meter())
            added = scores.added(ask, prompt, length, _answer(texts, prompt), ".", Meter())
        except WrongLogProbs:
            raise
        except ServerError as error:
            reasons.append(f"no {form}: {error}")
            continue
        if any(token.log_prob is None for token in added):
            reasons.append(f"no {form}: the server shows no log-probs of a prompt")
            continue
        _check_row(client, route, prompt, added[0], form)
        if not ends:
            reasons.append(
                f"the server shows log-probs of texts ({form}), but not how an answer ends: set "
                "end_tokens"
            )
            return None
        return scores
    return None


def _check_row(
    client: Client, route: Completions, prompt: str, row: PromptToken, form: Form
) -> None:
    """Refuse log-probs of a prompt's tokens that are those of other tokens.

    Args:
        client: of the server.
        route: writes.
        prompt: any.
        row: the token of a longer prompt that comes after this one.
        form: how it was shown.
    """
    url = route.url
    reply = client.post(route.path, route.request(prompt, _ONE_TOKEN) | {"logprobs": 1})
    log_probs = choices_of(url, reply)[0].get("logprobs")
    tops = log_probs.get("top_logprobs") if isinstance(log_probs, dict) else None
    best = tops[0] if isinstance(tops, list) and tops else None
    if not isinstance(best, dict) or not best:
        raise WrongLogProbs(
            url,
            "it shows log-probs of a prompt, and none where it writes, so that they cannot be "
            "compared",
        )
    text, log_prob = max(best.items(), key=lambda item: float(item[1]))
    if not agrees(row, text, float(log_prob), _SAME):
        raise WrongLogProbs(
            url,
            f"the log-probs that it shows of a prompt ({form}) are not those of its tokens: "
            f"after a prompt it writes {text!r} with log-prob {float(log_prob):.3g}, and where the "
            "same prompt is the beginning of a longer one it shows others there. "
            "llama-cpp-python's server does so where the prompt does not begin with the model's "
            "first token, such as <s>: write it at the beginning of template",
        )


def _shows_tops(client: Client, route: Completions, reasons: list[str]) -> bool:
    """Return whether a server shows the most probable tokens of a step.

    Raises:
        Faulty: what it shows cannot be log-probs.
    """
    wanted = route.top_tokens
    for tops in dict.fromkeys((wanted, min(wanted, _FEWEST_TOPS))):
        request = route.request(_prompt_of(route), _ONE_TOKEN) | {"logprobs": tops}
        try:
            reply = client.post(route.path, request, patient=False)
        except ServerError as error:
            reasons.append(f"no logprobs: {error}")
            continue
        choice = choices_of(route.url, reply)[0]
        completion_of(route.url, choice)
        if not isinstance(choice.get("logprobs"), dict):
            reasons.append("no logprobs: the server leaves them out")
            return False
        steps_of(route.url, choice, route.ends)
        route.top_tokens = tops
        return True
    return False


def _answer(texts: PromptTexts, prompt: str) -> str:
    return texts.separator(prompt) + _ANSWER


def _prompt_of(route: Chat | Completions) -> str:
    return route.prompt_text(_prompted())


def _prompted() -> Prompted:
    return Prompted(_QUESTION, (_PASSAGE,))


def _asking(client: Client) -> Ask:
    """Return what sends a request that the server need not be able to answer."""
    return lambda path, request: Reply(client.post(path, request, patient=False), 1)
