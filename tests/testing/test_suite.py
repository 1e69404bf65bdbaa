"""A law is never skipped silently, and a report says how to fix what failed."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.flat import Exact
from ragcore.testing import CorpusSuite, IndexSuite, RetrieverSuite, SuiteError, examine
from ragcore.testing.encoder import EncoderSuite
from ragcore.testing.generator import GeneratorSuite
from tests.testing.faults.corpus import Correct as Lines
from tests.testing.mutants_corpus import Counted, IdsTwice

SUITES = [IndexSuite, RetrieverSuite, EncoderSuite, GeneratorSuite, CorpusSuite]


def define(name: str = "Mine", **members: object) -> type[CorpusSuite]:
    return type(name, (CorpusSuite,), {"__module__": __name__, **members})


def outcomes(suite: type[CorpusSuite], component: type = IdsTwice) -> dict[str, tuple[str, str]]:
    return {verdict.law: (verdict.outcome, verdict.reason) for verdict in examine(suite, component)}


def test_a_law_is_not_overridden_without_a_reason():
    for replacement in (lambda self: None, None):
        with pytest.raises(SuiteError, match="overrides the law 'test_ids_are_unique'"):
            define(test_ids_are_unique=replacement)


def test_a_mixin_does_not_override_a_law():
    class Mixin:
        def test_ids_are_unique(self):
            """Nothing."""

    with pytest.raises(SuiteError, match="without a reason"):
        type("Mine", (Mixin, CorpusSuite), {"__module__": __name__})


def test_a_waiver_needs_a_reason_and_a_law():
    with pytest.raises(SuiteError, match="without a reason"):
        define(waived={"test_ids_are_unique": " "})
    with pytest.raises(SuiteError, match="did you mean 'test_ids_are_unique'"):
        define(waived={"test_ids_are_uniqe": "they are not"})


def test_a_waived_law_is_skipped_with_its_reason():
    waived = {"test_ids_are_unique": "the source has them twice"}
    by_law = outcomes(define(waived=waived))
    assert by_law["test_ids_are_unique"] == ("skipped", "waived: the source has them twice")
    assert [law for law, (outcome, _) in by_law.items() if outcome == "failed"] == []


def test_a_waiver_is_inherited_by_subclasses_alone():
    parent = define(waived={"test_ids_are_unique": "the source has them twice"})
    child = type("Child", (parent,), {"__module__": __name__})
    assert outcomes(child)["test_ids_are_unique"][0] == "skipped"
    assert outcomes(CorpusSuite)["test_ids_are_unique"][0] == "failed"


def test_an_override_with_a_reason_runs():
    ran = []
    suite = define(
        waived={"test_ids_are_unique": "compared with the source instead"},
        test_ids_are_unique=lambda self: ran.append(True),
    )
    assert outcomes(suite)["test_ids_are_unique"] == ("passed", "")
    assert ran


def test_a_failed_law_says_what_was_found():
    outcome, reason = outcomes(CorpusSuite)["test_ids_are_unique"]
    assert (outcome, reason) == ("failed", "ids ['0', '1', '10', '11', '12'] occur more than once")


@pytest.mark.parametrize("suite", SUITES)
def test_every_law_says_how_to_fix_what_it_catches(suite):
    laws = suite.laws()
    assert len(laws) >= 8
    for name, law in laws.items():
        doc = inspect.cleandoc(law.__doc__ or "")
        assert "Fix:" in doc, name
        assert {"component", "tmp_path", "self"} >= set(inspect.signature(law).parameters)


@pytest.mark.parametrize("component", [3, ComponentSpec("index", "exact", Exact, Exact.Config())])
def test_a_component_is_a_class_or_a_spec_of_the_kind(component):
    with pytest.raises(SuiteError, match="expected a class, or a ComponentSpec"):
        CorpusSuite.spec(component)


def test_pytest_reports_how_to_fix_what_failed(tmp_path, monkeypatch):
    # Where the entry point is installed, the plugin would come a second time.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    file = tmp_path / "test_mine.py"
    file.write_text(
        "import pytest\n"
        "from ragcore.testing import CorpusSuite\n"
        "from tests.testing.mutants_corpus import IdsTwice\n"
        "class TestMine(CorpusSuite):\n"
        "    @pytest.fixture\n"
        "    def component(self):\n"
        "        return IdsTwice\n",
        encoding="utf-8",
    )
    reports = []

    class Recorder:
        def pytest_runtest_logreport(self, report):
            if report.when == "call":
                reports.append(report)

    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    pytest.main([*options, str(file)], plugins=[Recorder(), _plugin()])
    assert {report.nodeid.partition("::")[2] for report in reports} == {
        f"TestMine::{law}" for law in CorpusSuite.laws()
    }
    (failed,) = [report for report in reports if report.failed]
    assert (
        "number the pieces of a text that is split"
        in dict(failed.sections)["How to fix it"].lower()
    )


def test_pytest_leaves_the_laws_out_by_their_marker(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    file = tmp_path / "test_marked.py"
    file.write_text(
        "import pytest\n"
        "from ragcore.testing import CorpusSuite\n"
        "from tests.testing.mutants_corpus import IdsTwice\n"
        "class TestMine(CorpusSuite):\n"
        "    @pytest.fixture\n"
        "    def component(self):\n"
        "        return IdsTwice\n"
        "    def test_of_its_own(self):\n"
        "        pass\n",
        encoding="utf-8",
    )
    names = []

    class Recorder:
        def pytest_runtest_logreport(self, report):
            if report.when == "call":
                names.append(report.nodeid.rpartition("::")[2])

    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    plugins = [Recorder(), _plugin()]
    status = pytest.main(
        [*options, "--strict-markers", "-m", "not contract", str(file)], plugins=plugins
    )
    assert (status, names) == (0, ["test_of_its_own"])


def _plugin():
    import ragcore.testing.pytest_plugin

    return ragcore.testing.pytest_plugin


def test_pytest_starts_without_anything_heavy():
    heavy = ["torch", "numpy", "hypothesis", "pydantic", "ragcore.contracts", "faiss"]
    code = (
        "import ragcore.testing.pytest_plugin, sys\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_correct_corpus_passes_every_law():
    for corpus, count in ((Lines, 1), (Counted, 6)):
        by_law = outcomes(CorpusSuite, corpus)
        assert {outcome for outcome, _ in by_law.values()} == {"passed", "skipped"}
        skipped = [reason for outcome, reason in by_law.values() if outcome == "skipped"]
        reasons = [reason for reason in skipped if not reason.startswith("it does not declare")]
        assert len(reasons) == count, "only laws of files are skipped, and that of saved ones"
        assert all(
            reason == "it saves nothing" or reason.startswith("its config has no path")
            for reason in reasons
        )


def test_a_wrong_line_must_be_refused() -> None:
    law = "test_a_wrong_line_is_named"
    for line, outcome in (("a\tA\tword", "failed"), ("a\tA", "passed"), (None, "passed")):
        (verdict,) = examine(define(wrong_line=line), Lines, {law})
        assert verdict.outcome == outcome, verdict
    assert "raised no error" in next(examine(define(wrong_line="a\tA\tb"), Lines, {law})).reason
