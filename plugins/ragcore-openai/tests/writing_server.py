"""A small HTTP server with OpenAI's routes for texts, and a small model behind it.

The model is honest: log-probs are those of one distribution over its vocabulary, which depends on
the text before alone. How much of them the server shows is the test's choice. It is a peer of the
generator that is tested, and shares no code with it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from embedding_server import EmbeddingServer

__all__ = ["END", "WritingServer", "events_of", "greedy", "log_probs_after", "tokens_of"]

END = "</s>"
WORDS = [" Nairobi", " Chad", " is", " the", " capital", " of", " N'Djamena", " Kenya", "\n"]
VOCABULARY = [END, *WORDS, *map(chr, range(32, 127)), "é"]
NUMBER = {token: number for number, token in enumerate(VOCABULARY)}
LONGEST = max(map(len, VOCABULARY))


def tokens_of(text: str) -> list[str]:
    """Cut a text into tokens, the longest first; a character without a token is a question mark."""
    tokens = []
    while text:
        size = next((n for n in range(LONGEST, 0, -1) if text[:n] in NUMBER), 0)
        tokens.append(text[:size] if size else "?")
        text = text[size or 1 :]
    return tokens


def log_probs_after(text: str) -> dict[str, float]:
    """The log-prob of each token after a text."""
    digest = hashlib.sha256(text.encode()).digest()
    logits = np.random.default_rng(list(digest)).standard_normal(len(VOCABULARY)) * 2
    # Answers are made of words, and end.
    logits[: 1 + len(WORDS)] += 5
    logits -= np.log(np.exp(logits).sum())
    return dict(zip(VOCABULARY, logits.tolist(), strict=True))


def tops_after(text: str, count: int) -> dict[str, float]:
    ranked = sorted(log_probs_after(text).items(), key=lambda item: -item[1])
    return dict(ranked[:count])


def greedy(prompt: str, longest: int) -> tuple[list[str], bool]:
    """The most probable tokens after a prompt, and whether they end."""
    written: list[str] = []
    while len(written) < longest:
        token = next(iter(tops_after(prompt + "".join(written), 1)))
        if token == END:
            return written, True
        written.append(token)
    return written, False


class WritingServer(EmbeddingServer):
    """Keeps what it was asked.

    Attributes:
        forms: how it shows log-probs: "logprobs", "echo", "prompt_logprobs"; none for texts alone.
        routes: that it has.
        positions: the most tokens of prompt and answer together.
        changed: changes a reply before it is sent.
    """

    def __init__(
        self,
        forms: Sequence[str] = (),
        routes: Sequence[str] = ("/v1/chat/completions", "/v1/completions"),
        positions: int = 10_000,
    ) -> None:
        super().__init__()
        self.forms = set(forms)
        self.routes = set(routes)
        self.positions = positions
        self.changed: Callable[[dict[str, Any]], Any] = lambda reply: reply

    @property
    def writes(self) -> list[dict[str, Any]]:
        """The requests that write, without those of the probe."""
        return [body for body in self.requests if "N'Djamena.\n" not in json.dumps(body)]

    def reply_to(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/embeddings":
            return super().reply_to(path, body)
        if path not in self.routes:
            return 404, {"error": {"message": f"no route {path}"}}
        if path == "/tokenize":
            return 200, {"count": len(tokens_of(body["prompt"])), "max_model_len": self.positions}
        messages = body.get("messages")
        prompt = body["prompt"] if messages is None else chat_text(messages)
        length, longest = len(tokens_of(prompt)), body["max_tokens"]
        if length + longest > self.positions:
            message = (
                f"This model's maximum context length is {self.positions} tokens, however you "
                f"requested {length + longest} tokens"
            )
            return 400, {"error": {"message": message, "code": "context_length_exceeded"}}
        count = body.get("n", 1)
        choices = [self.choice(body, prompt, number) for number in range(count)]
        reply = {
            "choices": choices[::-1],
            "system_fingerprint": "fp_1",
            "usage": {"prompt_tokens": length, "completion_tokens": count},
        }
        if body.get("stream"):
            return 200, stream_of(self.changed(reply), chat=messages is not None)
        return 200, self.changed(reply)

    def choice(self, body: dict[str, Any], prompt: str, number: int) -> dict[str, Any]:
        if body["temperature"] > 0:
            written, ended = [WORDS[(body["seed"] + number) % 5]], True
        else:
            written, ended = greedy(prompt, body["max_tokens"])
        text = "".join(written)
        for stop in body.get("stop", ()):
            text, stopped, _ = text.partition(stop)
            ended = ended or bool(stopped)
        choice: dict[str, Any] = {"index": number, "finish_reason": "stop" if ended else "length"}
        if "messages" in body:
            return choice | {"message": {"role": "assistant", "content": text}}
        shown = written + [END] * ended
        echo = body.get("echo") and "echo" in self.forms
        choice["text"] = prompt + text if echo else text
        tops = body.get("logprobs")
        if tops is not None and "logprobs" in self.forms:
            begin = prompt
            if echo:
                begin, shown = "", tokens_of(prompt) + shown[: body["max_tokens"]]
            choice["logprobs"] = rows(begin, shown, tops, first_unknown=bool(echo))
        if "prompt_logprobs" in body and "prompt_logprobs" in self.forms:
            choice["prompt_logprobs"] = rows_of_vllm(prompt, body["prompt_logprobs"])
        return choice


def stream_of(reply: dict[str, Any], *, chat: bool) -> bytes:
    """The reply as server-sent events, a character each, then the reason, and the usage."""
    (choice,) = reply["choices"]
    text = choice["message"]["content"] if chat else choice["text"]
    rows = [{"delta": {"content": part}} if chat else {"text": part} for part in text]
    rows.append({"delta": {}} if chat else {"text": ""})
    rows[-1]["finish_reason"] = choice["finish_reason"]
    named = {"system_fingerprint": reply["system_fingerprint"]}
    events = [named | {"choices": [row]} for row in rows]
    events.append({"choices": [], "usage": reply["usage"]})
    return events_of(events) + b"data: [DONE]\n\n"


def events_of(events: Sequence[Any]) -> bytes:
    return b"".join(b": a comment\ndata: %s\n\n" % json.dumps(each).encode() for each in events)


def chat_text(messages: Sequence[dict[str, str]]) -> str:
    turns = [f"<|{message['role']}|>{message['content']}{END}" for message in messages]
    return "".join(turns) + "<|assistant|>"


def rows(begin: str, shown: Sequence[str], tops: int, *, first_unknown: bool) -> dict[str, Any]:
    """Log-probs in OpenAI's older form."""
    own: list[float | None] = []
    best: list[dict[str, float] | None] = []
    text = begin
    for number, token in enumerate(shown):
        known = not (number == 0 and first_unknown)
        p = log_probs_after(text)[token]
        own.append(p if known else None)
        best.append(tops_after(text, tops) | {token: p} if known else None)
        text += token
    return {"tokens": list(shown), "token_logprobs": own, "top_logprobs": best}


def rows_of_vllm(prompt: str, tops: int) -> list[Any]:
    """Log-probs of a prompt as vLLM shows them: the prompt's own token first."""
    shown: list[Any] = []
    text = ""
    for number, token in enumerate(tokens_of(prompt)):
        best = tops_after(text, tops)
        ordered = {token: log_probs_after(text)[token], **best}
        entries = {
            str(NUMBER[other]): {"logprob": p, "rank": 1, "decoded_token": other}
            for other, p in ordered.items()
        }
        shown.append(entries if number else None)
        text += token
    return shown


def log_prob_of(prompt: str, text: str) -> float:
    """log p(y|x,z) by the model itself, the end included."""
    total = 0.0
    for token in [*tokens_of(text), END]:
        total += log_probs_after(prompt)[token]
        prompt += token
    return total


assert math.isclose(sum(map(math.exp, log_probs_after("a").values())), 1)
