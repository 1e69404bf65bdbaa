"""A component without the members of its contract is refused by name, before it is used."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ragcore import ComponentConfig, ComponentSpec, SimpleRetriever
from ragcore.cli import main
from ragcore.contracts import (
    Corpus,
    Encoder,
    Generator,
    Index,
    Retriever,
    Scorer,
    TokenizedEncoder,
    TokenizedRetriever,
    TokenizerUser,
    WordGenerator,
)
from ragcore.errors import PluginError
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.metrics.base import Mean, Metric
from ragcore.registry.conformance import KINDS, check_class, check_instance
from ragcore.retrievers.flat import Exact
from tests.conftest import COSTLY, Installed, loadable
from tests.helpers.word_encoder import WordEncoder

CONTRACTS = [Corpus, Encoder, Generator, Index, Metric, Retriever, Scorer]
HEAD = "import ragcore\nfrom ragcore import Target, hookimpl\n"


class NoSettings(ComponentConfig):
    pass


def body(contract: Any) -> dict[str, Any]:
    """Return the members of a plain class that follows a contract, without inheriting from it."""
    members: dict[str, Any] = {"Config": NoSettings, "capabilities": frozenset()}
    for base in contract.__mro__:
        for name, value in vars(base).items():
            if name.startswith("_") and name not in ("__len__", "__iter__"):
                continue
            if inspect.isfunction(value) or isinstance(value, classmethod):
                members[name] = value
            elif isinstance(value, property) and name != "capabilities":
                members[name] = None
    if contract is Metric:
        members["resampled"] = True
    return members | {"__init__": lambda self, config, *, dim=0: None}


def kind_of(contract: Any) -> str:
    return KINDS.get(contract, "metric")


def checked(contract: Any, members: dict[str, Any]) -> None:
    cls = type("Mine", (), members)
    check_class(kind_of(contract), "mine", cls, contract)
    check_instance(kind_of(contract), "mine", cls(NoSettings()), contract)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_member_of_every_contract_is_required(contract: Any) -> None:
    members = body(contract)
    checked(contract, members)
    required = sorted(set(members) - {"__init__"})
    assert len(required) >= 3
    for name in required:
        lacking = {key: value for key, value in members.items() if key != name}
        with pytest.raises(PluginError, match=rf"'mine' is the class Mine in .*\bno {name}\b"):
            checked(contract, lacking)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_method_that_cannot_be_called_as_the_contract_says_is_refused(contract: Any) -> None:
    members = body(contract)
    for name, value in members.items():
        if name != "__init__" and inspect.isfunction(value):
            for wrong in (None, 3, lambda self, *, needed: None, lambda: None):
                with pytest.raises(PluginError, match=f"its {name} "):
                    checked(contract, members | {name: wrong})
            checked(contract, members | {name: lambda self, *args, **options: None})


def test_all_faults_are_in_one_message_with_the_file_and_the_contract() -> None:
    members = body(Generator)
    del members["step"], members["device"]
    del members["score"]
    members["eos_token_id"] = lambda self: 2
    mine = type("Mine", (), members | {"__module__": __name__})
    with pytest.raises(PluginError) as raised:
        check_class("generator", "mine", mine)
    message = str(raised.value)
    assert "generator 'mine' is the class Mine in " in message
    assert "it has no device, score, step; " in message
    assert "its eos_token_id is a method, expected an attribute: write @property" in message
    assert "see ragcore.contracts.Generator, or Generator in docs/reference/contracts.md" in message


def test_members_that_the_constructor_sets_count_and_are_needed() -> None:
    class Sets(WordEncoder):
        pass

    spec = ComponentSpec("encoder", "sets", Sets, Sets.Config())
    assert spec.build().dim == 32

    class Delayed:
        Config = NoSettings
        capabilities: ClassVar[frozenset[str]] = frozenset()

        def __init__(self, config: Any) -> None:
            if config is None:
                self.score = np.dot

    check_class("scorer", "delayed", Delayed)
    with pytest.raises(PluginError, match=r"it has no score: see ragcore\.contracts\.Scorer"):
        ComponentSpec("scorer", "delayed", Delayed, NoSettings()).build()


def closure(self: Any) -> Any:
    return lambda questions, passages: np.zeros(len(questions), np.float32)


def delegating(self: Any) -> Any:
    # As `torch.no_grad()` and others wrap a bound method.
    @functools.wraps(self.inner)
    def score(*args: Any) -> Any:
        return self.inner(*args)

    return score


@pytest.mark.parametrize("method", [closure, delegating, lambda self: self.inner])
@pytest.mark.parametrize("slots", [("__dict__",), ("score",)])
def test_methods_that_the_constructor_sets_take_no_self(method: Any, slots: Any) -> None:
    class Sets:
        __slots__ = slots
        Config = NoSettings
        capabilities: ClassVar[frozenset[str]] = frozenset()

        def __init__(self, config: Any) -> None:
            self.score = method(self)

        def inner(self, questions: Any, passages: Any) -> Any:
            return np.zeros(len(questions), np.float32)

    class Replaces(Sets):
        def score(self, questions: Any, passages: Any) -> Any: ...

    class Delegates:
        Config = NoSettings
        capabilities: ClassVar[frozenset[str]] = frozenset()

        def __init__(self, config: Any) -> None:
            self.within = Sets(config)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__dict__["within"], name)

    for component in (Sets, Replaces, Delegates) if "__dict__" in slots else (Sets, Delegates):
        scorer = ComponentSpec("scorer", "sets", component, NoSettings()).build()
        assert scorer.score(["one", "two"], []).shape == (2,)


def test_a_wrong_method_that_the_constructor_sets_is_refused() -> None:
    class Unbound:
        Config = NoSettings
        capabilities: ClassVar[frozenset[str]] = frozenset()

        def __init__(self, config: Any) -> None:
            # Called as it is, it lacks `self`.
            self.score = Unbound.__dict__["inner"]

        def inner(self, questions: Any, passages: Any) -> Any: ...

    class Itself(Unbound):
        def __init__(self, config: Any) -> None:
            self.score = Itself.score

        def score(self, questions: Any, passages: Any) -> Any: ...

    for component in (Unbound, Itself):
        with pytest.raises(PluginError, match=r"its score cannot be called as score\(questions, p"):
            ComponentSpec("scorer", "sets", component, NoSettings()).build()


def test_a_class_that_follows_one_contract_is_checked_again_for_another() -> None:
    class Words(WordEncoder):
        pass

    check_class("encoder", "words", Words)
    for kind, absent in (("generator", "step"), ("scorer", "score"), ("index", "search")):
        with pytest.raises(PluginError, match=rf"{kind} 'words' .* it has no .*\b{absent}\b"):
            check_class(kind, "words", Words)


def test_a_member_inherited_from_the_contract_itself_does_nothing_and_is_missing() -> None:
    class Half(Scorer):
        Config = NoSettings
        capabilities: ClassVar[frozenset[str]] = frozenset()

        def __init__(self, config: Any) -> None: ...

    with pytest.raises(PluginError, match="it has no score"):
        check_class("scorer", "half", Half)


def test_what_a_base_leaves_to_its_subclasses_is_needed() -> None:
    class Scoreless(SimpleRetriever):
        pass

    with pytest.raises(PluginError, match=r"retriever 'scoreless' .* it has no scores"):
        ComponentSpec("retriever", "scoreless", Scoreless, Scoreless.Config()).build()


def test_a_declared_capability_promises_its_members() -> None:
    members = body(Generator) | {"capabilities": frozenset({"words"})}
    with pytest.raises(PluginError, match=r"no encode_words \(promised by its capability 'words'"):
        checked(Generator, members)
    checked(Generator, members | {"encode_words": WordGenerator.encode_words})

    for kind, extension, member in (
        (Encoder, TokenizedEncoder, "tokenizer"),
        (Retriever, TokenizedRetriever, "tokenizer"),
        (Corpus, TokenizerUser, "use_tokenizer"),
    ):
        members = body(kind) | {"capabilities": frozenset({"tokenizer"})}
        with pytest.raises(PluginError, match=rf"no {member} \(promised by its .* 'tokenizer'"):
            checked(kind, members)
        checked(kind, members | {member: vars(extension)[member]})

    class Late:
        """Its capabilities are known when it is built."""

        capabilities = property(lambda self: frozenset({"scratch"}))

    late = type("Mine", (Late,), {k: v for k, v in body(Index).items() if k != "capabilities"})
    check_class("index", "late", late)
    with pytest.raises(PluginError, match=r"no use_scratch .promised by its capability 'scratch'"):
        ComponentSpec("index", "late", late, NoSettings()).build(dim=2)
    with pytest.raises(PluginError, match="its capabilities are a list object"):
        checked(Generator, body(Generator) | {"capabilities": ["words"]})


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (len, "found the function len, expected a class"),
        (Exact(Exact.Config(), dim=2), "found an Exact object, expected a class"),
        (inspect, "found the module inspect, expected a class"),
        (None, "found None, expected a class"),
    ],
)
def test_what_is_no_class_is_refused(component: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        check_class("index", "mine", component)


def test_a_constructor_that_does_not_take_the_config_is_refused() -> None:
    with pytest.raises(PluginError, match=r"cannot be constructed as Mine\(config, dim=d\)"):
        check_class("index", "mine", type("Mine", (Exact,), {"__init__": lambda self, a: None}))
    with pytest.raises(PluginError, match=r"cannot be constructed as Mine\(config\)"):
        check_class("encoder", "mine", type("Mine", (WordEncoder,), {"__init__": lambda _: None}))


def test_what_load_returns_is_checked(tmp_path: Path) -> None:
    class Forgetful(Exact):
        @classmethod
        def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Any:
            super().load(folder, config, mmap=mmap)

    spec = ComponentSpec("index", "forgetful", Forgetful, Forgetful.Config())
    spec.build(dim=2).save(tmp_path)
    returned = r"index 'forgetful': its load\(\) returned None, expected a Forgetful, as built by "
    with pytest.raises(PluginError, match=returned):
        spec.load(tmp_path)


def test_properties_are_not_called() -> None:
    class Lazy(SimpleRetriever):
        @property
        def fingerprint(self) -> str:
            raise AssertionError("the weights were loaded")

        def scores(self, question: str) -> list[float]:
            return []

    ComponentSpec("retriever", "lazy", Lazy, Lazy.Config()).build()


NO_GENERATOR = """
class Config(ragcore.ComponentConfig):
    pass
class Mine:
    Config = Config
    capabilities = frozenset()
    def __init__(self, config):
        self.config = config
"""


def pipeline(folder: Path) -> Path:
    """Write a pipeline file whose generator is `mine`."""
    passages = folder / "passages.jsonl"
    passages.write_text('{"id": "1", "text": "one"}\n', encoding="utf-8")
    file = folder / "pipeline.yaml"
    file.write_text(
        "ragcore: 1\n"
        "memory:\n  store: store\n  corpus: {use: jsonl, path: passages.jsonl}\n"
        "  retriever: {use: found}\n"
        "generator: {use: mine}\n",
        encoding="utf-8",
    )
    return file


FOUND = """
class Found(ragcore.SimpleRetriever):
    def scores(self, question):
        return [1.0 for _ in self.passages]
@hookimpl
def ragcore_retrievers():
    return {'found': 'bad_plugin:Found'}
"""


def hook(value: str) -> str:
    return f"@hookimpl\ndef ragcore_generators():\n    return {{'mine': {value}}}\n"


def test_check_refuses_an_object_that_is_no_generator(
    installed: Installed, tmp_path: Path, capsys: Any
) -> None:
    installed.add("bad", HEAD + NO_GENERATOR + FOUND + hook("'bad_plugin:Mine'"))
    assert main(["check", str(pipeline(tmp_path))]) == 2
    message = capsys.readouterr().err
    assert "pipeline.yaml:6:18: generator 'mine' is the class Mine in " in message
    assert "bad_plugin.py, which does not follow the contract of a generator" in message
    assert "no device, vocabulary_size, eos_token_id, forced_bos_token_id, encode_ans" in message


TARGET = "Target('far:Mine', config='bad_plugin:Config')"
"""In a module that no check may import."""

FAR = """
raise_if_imported = 1 / 0
import ragcore
from bad_plugin import Config
"""


def write_far(installed: Installed, source: str) -> None:
    installed.add("bad", HEAD + NO_GENERATOR + FOUND + hook(TARGET))
    (installed.folder / "far.py").write_text(source, encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "class Mine:\n    Config = Config\n    capabilities = frozenset()\n"
            "    def step(self, state, tokens): ...\n",
            "far.py, which does not follow the contract of a generator: it has no device, ",
        ),
        (
            "class Base:\n    def step(self): ...\nclass Mine(Base):\n    Config = Config\n",
            "it has no capabilities, device, ",
        ),
        ("class Mien: ...\n", "far.py has no 'Mine' at its top level: did you mean 'Mien'?"),
        ("def Mine(config): ...\n", "found the function Mine in "),
        ("class Mine(:\n", "cannot be loaded from 'far:Mine': SyntaxError"),
    ],
)
def test_check_reads_the_source_of_a_class_behind_a_target(
    installed: Installed, tmp_path: Path, capsys: Any, source: str, message: str
) -> None:
    write_far(installed, FAR + source)
    assert main(["check", str(pipeline(tmp_path))]) == 2
    error = capsys.readouterr().err
    assert "generator 'mine'" in error
    assert message in error
    assert "no step" not in error


WRONG_CAPABILITIES = [
    ("['score']", "its capabilities are a list object, expected a frozenset of names"),
    ("None", "its capabilities are None, expected a frozenset of names"),
    ("frozenset({'score', 'trainabel'})", "capability 'trainabel' is unknown: did you mean 'trai"),
    ("frozenset(['wrods'])", "capability 'wrods' is unknown: did you mean 'words'?"),
    ("frozenset({3})", "capability 3 is not a string"),
]


@pytest.mark.parametrize(("capabilities", "message"), WRONG_CAPABILITIES)
@pytest.mark.parametrize("load", [[], ["--load"]])
@pytest.mark.parametrize("inherited", [False, True])
def test_check_reads_the_capabilities(
    installed: Installed,
    tmp_path: Path,
    capsys: Any,
    capabilities: str,
    message: str,
    load: list[str],
    inherited: bool,
) -> None:
    members = MEMBERS.replace("frozenset()", capabilities)
    source = f"class Base:\n    Config = Config\n{members}\nclass Mine(Base): pass\n"
    if not inherited:
        source = source.replace("class Base", "class Mine").replace("class Mine(Base): pass", "")
    write_far(installed, FAR.replace("raise_if_imported = 1 / 0" if load else "\0", "") + source)
    assert main(["check", str(pipeline(tmp_path)), *load]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "capabilities",
    [
        "frozenset({'mine-alone', 'trainable-not'} - {'trainable-not'})",
        "frozenset({'mine-alone'})",
        "None\n    def other(self): self.capabilities = frozenset()",
        "None\n    def other(self): setattr(self, 'capabilities', frozenset())",
        "property(lambda self: frozenset())",
    ],
)
def test_check_leaves_capabilities_that_only_an_instance_has(
    installed: Installed, tmp_path: Path, capabilities: str
) -> None:
    members = MEMBERS.replace("frozenset()", capabilities)
    source = f"class Mine:\n    Config = Config\n{members}"
    write_far(installed, FAR + source)
    assert main(["check", str(pipeline(tmp_path))]) == 0
    scope: dict[str, Any] = {"Config": NoSettings}
    exec(source, scope)
    with pytest.raises(PluginError, match="its encode_answers is None") as caught:
        check_class("generator", "mine", scope["Mine"])
    assert "capabilit" not in str(caught.value)


@pytest.mark.parametrize("contract", [Corpus, Encoder, Generator, Index, Retriever, Scorer])
def test_misspelt_capabilities_of_an_instance_are_refused(contract: Any) -> None:
    def construct(self: Any, config: Any, *, dim: int = 0) -> None:
        self.capabilities = frozenset({"exact", "remvoe", "mine-alone"})

    cls = type("Mine", (), body(contract) | {"__init__": construct})
    check_class(kind_of(contract), "mine", cls, contract)
    with pytest.raises(PluginError, match=r"'remvoe' is unknown: did you mean 'remove'\?: see"):
        check_instance(kind_of(contract), "mine", cls(NoSettings()), contract)


def test_a_module_that_is_not_there_is_found_by_check(
    installed: Installed, tmp_path: Path, capsys: Any
) -> None:
    write_far(installed, "")
    (installed.folder / "far.py").unlink()
    assert main(["check", str(pipeline(tmp_path))]) == 2
    assert "there is no module 'far' (from 'far:Mine')" in capsys.readouterr().err


MEMBERS = """
    def __init__(self, config):
        self.vocabulary_size = self.eos_token_id = 1
        setattr(self, "forced_bos_token_id", None)
    device: object = None
    capabilities = frozenset()
    encode_answers = decode_tokens = None
    if True:
        def read(self, questions, passages): ...
    def score(self, read, pairs, targets): ...
    @property
    def start(self): ...
    class step: ...
"""


@pytest.mark.parametrize(
    "source",
    [
        f"class Mine:\n    Config = Config\n{MEMBERS}",
        f"class Base:\n{MEMBERS}\nclass Mine(Base):\n    Config = Config\n",
        "from elsewhere import Base\nclass Mine(Base):\n    Config = Config\n",
        "import elsewhere\nclass Mine(elsewhere.Base): ...\n",
        "from elsewhere import *\n",
        "try:\n    from elsewhere import Mine\nexcept ImportError:\n    Mine = None\n",
        "Mine = make()\n",
        "@made\nclass Mine: ...\n",
        "class Mine(metaclass=Made): ...\n",
        "class Mine:\n    def __getattr__(self, name): ...\n",
        "def __getattr__(name): ...\n",
    ],
)
def test_check_refuses_nothing_that_the_source_does_not_tell(
    installed: Installed, tmp_path: Path, source: str
) -> None:
    write_far(installed, FAR + source)
    assert main(["check", str(pipeline(tmp_path))]) == 0


def test_a_class_behind_a_target_is_checked_where_it_is_imported(
    installed: Installed, tmp_path: Path, capsys: Any
) -> None:
    target = "Target('bad_plugin:Made', config='bad_plugin:Config')"
    made = "Made = type('Made', (Mine,), {})\n"
    installed.add("bad", HEAD + NO_GENERATOR + made + FOUND + hook(target))
    file = pipeline(tmp_path)
    assert main(["check", str(file)]) == 0
    assert main(["memory", "build", str(file)]) == 0
    capsys.readouterr()
    assert main(["check", "--load", str(file)]) == 2
    assert "does not follow the contract of a generator: it has no" in capsys.readouterr().err
    assert main(["ask", str(file), "who?"]) == 2
    assert "does not follow the contract of a generator: it has no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Mine", 'the class itself, expected where it is: write "bad_plugin:Mine"'),
        ("Mine(None)", "of type Mine, expected a text"),
        ("None", "for 'mine', found None, expected a text"),
        ("'bad_plugin.Mine'", "found 'bad_plugin.Mine', expected a colon"),
        ("'bad_plugin:'", "found 'bad_plugin:', expected the name of a module"),
        ("':Mine'", "found ':Mine', expected the name of a module"),
        ("Target('bad_plugin:Mine', config=Config)", "the part 'config' of its Target is wrong"),
        ("Target(Mine, config='bad_plugin:Config')", "the part 'component' of its Target is wrong"),
    ],
)
def test_a_hook_s_wrong_return_value_is_described(
    installed: Installed, value: str, message: str
) -> None:
    installed.add("bad", HEAD + NO_GENERATOR + hook(value))
    (report,) = [entry for entry in installed.discover().reports if entry.name == "bad"]
    assert report.status == "broken"
    assert 'ragcore_generators() must return {name: "package.module:Class" or' in report.detail
    assert message in report.detail


def test_a_hook_that_is_no_function_is_described(installed: Installed) -> None:
    installed.add("bad", HEAD + "ragcore_generators = {'mine': 'a:B'}\n")
    (report,) = [entry for entry in installed.discover().reports if entry.name == "bad"]
    assert "ragcore_generators is {'mine': 'a:B'}, of type dict, not a function" in report.detail


@pytest.mark.parametrize("config", ["bad_plugin:Mine", "bad_plugin:HEAD"])
def test_a_target_whose_config_is_none_is_refused_by_check(
    installed: Installed, tmp_path: Path, capsys: Any, config: str
) -> None:
    target = f"Target('bad_plugin:Mine', config='{config}')"
    installed.add("bad", HEAD + "HEAD = 3\n" + NO_GENERATOR + FOUND + hook(target))
    assert main(["check", str(pipeline(tmp_path))]) == 2
    message = capsys.readouterr().err
    assert f"generator 'mine': its hook names the config '{config}', which is not a" in message


def test_a_metric_is_checked_when_it_is_made(installed: Installed) -> None:
    installed.add(
        "odd",
        HEAD
        + "class Odd:\n    class Config(ragcore.ComponentConfig): pass\n"
        + "    capabilities = frozenset()\n"
        + "    def __init__(self, config): pass\n"
        + "    def statistics(self, predictions): return []\n"
        + "@hookimpl\ndef ragcore_metrics():\n    return {'odd': 'odd_plugin:Odd'}\n",
    )
    with pytest.raises(PluginError, match=r"metric 'odd' is the class Odd .* no resampled, value"):
        make_metrics(["odd"])
    check_class("metric", "mean", Mean, Metric)


def test_every_installed_component_follows_its_contract() -> None:
    """In a process of its own, since it imports torch and every plugin."""
    missing = [name for name in COSTLY if not loadable(name)]
    code = (
        "from ragcore.registry.discovery import registry\n"
        "from ragcore.registry.conformance import KINDS, check_class\n"
        "from ragcore.registry.source import check_source\n"
        "names = [(kind, name) for kind in KINDS.values() for name in registry().names(kind)]\n"
        f"names = [(kind, name) for kind, name in names if name not in {missing}]\n"
        "for kind, name in names:\n"
        "    check_source(kind, name, registry().target(kind, name))\n"
        "    check_class(kind, name, registry().load(kind, name))\n"
        "print(len(names))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10
