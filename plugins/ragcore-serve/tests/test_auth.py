"""Tokens: read from a file, compared, and never shown."""

from __future__ import annotations

import logging
import os
import threading

import pytest
from ragcore_serve import tokens
from ragcore_serve.auth import Access, Caller
from ragcore_serve.config import ServeConfig, check_exposure
from ragcore_serve.errors import ForbiddenError, UnauthorizedError
from ragcore_serve.tokens import TokenFile
from serving_app import ADMIN, SALES, TOKEN

from ragcore.errors import ConfigError


def file_of(folder, text, name="tokens", mode=0o600):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_file_has_tokens_with_and_without_a_filter(tmp_path):
    path = file_of(tmp_path, f'# of the team\n\n{TOKEN}\n  {SALES}   {{"n": 3}}\n')
    tokens = TokenFile(path).current()
    assert tokens.find(TOKEN).where is None
    assert tokens.find(SALES).where == {"n": 3}
    for unknown in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", "\ud800", SALES + ' {"n": 3}'):
        assert tokens.find(unknown) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the file has no token"),
        ("# nothing\n", "the file has no token"),
        ("short\n", ":1: a token has at least 16"),
        (f"{TOKEN}\nwith\ttab-0123456789abcdef\n", ":2: a token has at least 16"),
        (f"{TOKEN}\n{TOKEN}\n", ":2: the same token as on line 1"),
        (f"{TOKEN} nonsense\n", ":1: after the token"),
        (f'{TOKEN} {{"n": {{"near": 3}}}}\n', ":1: after the token"),
        (f"{TOKEN} [1]\n", ":1: after the token"),
    ],
)
def test_a_faulty_file_is_refused_without_showing_a_token(tmp_path, text, fault):
    with pytest.raises(ConfigError, match=fault) as raised:
        TokenFile(file_of(tmp_path, text))
    message = str(raised.value) + repr(raised.value.__cause__)
    assert TOKEN not in message
    assert "0123456789abcdef" not in message


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the file of tokens: No such file"):
        TokenFile(tmp_path / "none")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_can_read_is_warned_of(tmp_path, caplog, mode, warned):
    TokenFile(file_of(tmp_path, TOKEN, mode=mode))
    assert ("chmod 600" in caplog.text) == warned
    assert TOKEN not in caplog.text


def test_credentials_of_systemd_are_not_warned_of(tmp_path, caplog, monkeypatch):
    # The access list by which the service's user reads them is the group's part of the mode.
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    TokenFile(file_of(tmp_path, TOKEN, mode=0o440))
    assert "chmod" not in caplog.text
    (tmp_path / "other").mkdir()
    TokenFile(file_of(tmp_path / "other", TOKEN, mode=0o440))
    assert "chmod" in caplog.text


class Clock:
    """A clock that goes on by a second whenever it is looked at."""

    seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1.0
        return self.seconds


def known(file: TokenFile) -> set[str]:
    tokens = file.current()
    return {token for token in (TOKEN, SALES) if tokens.find(token)}


@pytest.mark.parametrize("replaced", [False, True])
def test_tokens_are_exchanged_while_the_server_runs(tmp_path, replaced):
    path = file_of(tmp_path, TOKEN)
    file = TokenFile(path, clock=Clock())
    assert known(file) == {TOKEN}
    if replaced:
        file_of(tmp_path, SALES, "new").replace(path)
    else:
        # Of the same length, and within the same tick of the file system's clock.
        path.write_text(SALES + "x" * (len(TOKEN) - len(SALES)), encoding="utf-8")
        path.write_text(SALES, encoding="utf-8")
    assert known(file) == {SALES}


def test_an_old_file_is_not_read_again_until_it_changes(tmp_path, monkeypatch):
    path = file_of(tmp_path, TOKEN)
    os.utime(path, (1, 1))
    file = TokenFile(path, clock=Clock())
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "_read", lambda path: pytest.fail("was read"))
        assert known(file) == {TOKEN}
    path.write_text(SALES, encoding="utf-8")
    assert known(file) == {SALES}


def test_within_a_second_a_file_is_not_looked_at(tmp_path):
    path = file_of(tmp_path, TOKEN)
    file = TokenFile(path, clock=lambda: 1.0)
    path.write_text(SALES, encoding="utf-8")
    assert known(file) == {TOKEN}


@pytest.mark.parametrize("broken", [None, "short", "", "\udcff"])
def test_a_file_that_cannot_be_used_keeps_the_tokens_before_it(tmp_path, caplog, broken):
    path = file_of(tmp_path, TOKEN)
    file = TokenFile(path, clock=Clock())
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken.encode("utf-8", "surrogateescape"))
    for _ in range(3):
        assert known(file) == {TOKEN}
    # Once, not at each look.
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert str(path) in record.getMessage()
    file_of(tmp_path, SALES)
    assert known(file) == {SALES}


def test_a_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(TOKEN,))
    writer.start()
    file = TokenFile(path, clock=Clock())
    writer.join(10)
    assert known(file) == {TOKEN}


def test_no_token_is_part_of_a_repr(tmp_path):
    file = TokenFile(file_of(tmp_path, f'{SALES} {{"n": 3}}'))
    assert SALES not in repr(vars(file)) + repr(vars(file.current()))


def access(tmp_path, *, tokens=None, admins=None, **settings):
    files = {}
    if tokens:
        files["token_file"] = file_of(tmp_path, tokens)
    if admins:
        files["admin_token_file"] = file_of(tmp_path, admins, "admins")
    return Access(ServeConfig(**files, **settings))


def test_with_a_file_only_its_tokens_are_let_in(tmp_path):
    by_token = access(tmp_path, tokens=TOKEN)
    assert by_token.caller(f"Bearer {TOKEN}") == Caller()
    assert by_token.caller(f"bearer  {TOKEN} ") == Caller()
    for header in (None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {SALES}", TOKEN):
        with pytest.raises(UnauthorizedError):
            by_token.caller(header)


def test_changes_need_a_token_of_their_own(tmp_path):
    both = access(tmp_path, tokens=TOKEN, admins=ADMIN)
    both.check_admin(both.caller(f"Bearer {ADMIN}"))
    with pytest.raises(ForbiddenError, match="token of the server's --admin-token-file"):
        both.check_admin(both.caller(f"Bearer {TOKEN}"))
    only_readers = access(tmp_path, tokens=TOKEN)
    with pytest.raises(ForbiddenError, match="start it with --admin-token-file"):
        only_readers.check_admin(only_readers.caller(f"Bearer {TOKEN}"))


def test_without_any_file_only_a_loopback_address_may_be_administered(tmp_path):
    local = access(tmp_path)
    local.check_admin(local.caller(None))
    for settings in ({"open": True}, {"open": True, "host": "0.0.0.0"}):
        opened = access(tmp_path, **settings)
        with pytest.raises(ForbiddenError):
            opened.check_admin(opened.caller(None))


def test_a_file_for_changes_alone_lets_everybody_ask(tmp_path):
    admins = access(tmp_path, admins=ADMIN)
    assert not admins.caller(None).admin
    assert admins.caller(f"Bearer {ADMIN}").admin
    with pytest.raises(UnauthorizedError):
        admins.caller(f"Bearer {TOKEN}")


def test_a_request_can_only_narrow_its_callers_filter():
    assert Caller().narrowed(None) is None
    assert Caller().narrowed({"n": 1}) == {"n": 1}
    assert Caller({"n": 3}).narrowed(None) == {"n": 3}
    assert Caller({"n": 3}).narrowed({"n": 1}) == {"and": [{"n": 3}, {"n": 1}]}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_an_address_that_others_reach_needs_tokens(tmp_path, host):
    with pytest.raises(ConfigError, match="--token-file"):
        check_exposure(ServeConfig(host=host))
    check_exposure(ServeConfig(host=host, open=True))
    check_exposure(ServeConfig(host=host, token_file=tmp_path / "tokens"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_loopback_address_needs_none(host):
    check_exposure(ServeConfig(host=host))


def test_open_with_tokens_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="leave one of them out"):
        check_exposure(ServeConfig(open=True, token_file=tmp_path / "tokens"))


def test_the_level_of_the_warning_is_seen_by_default():
    assert logging.getLogger("ragcore.serve").isEnabledFor(logging.WARNING)
