"""The files of deploy/ fit the command, its defaults, its metrics, and the page that shows them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from ragcore_serve import running
from ragcore_serve.cli import app
from ragcore_serve.config import ServeConfig
from ragcore_serve.measuring import FinishedRequest
from ragcore_serve.metrics import Metrics
from ragcore_serve.outcomes import Outcome

from ragcore.cli.logs import split_options
from ragcore.errors import ConfigError
from tests.helpers.markdown import ROOT, files_of

DEPLOY: Final = ROOT / "plugins" / "ragcore-serve" / "deploy"
PAGE: Final = ROOT / "docs" / "how-to" / "operate.md"
UNIT: Final = DEPLOY / "ragcore-serve@.service"
DOCKERFILE: Final = DEPLOY / "Dockerfile"
NGINX: Final = DEPLOY / "nginx.conf"
REPLICAS_PAGE: Final = ROOT / "docs" / "how-to" / "replicas.md"
REPLICAS: Final = DEPLOY / "replicas.conf"
KUBERNETES: Final = DEPLOY / "kubernetes.yaml"
DEFAULTS: Final = ServeConfig()
INSTRUCTIONS: Final = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
    *("RUN", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
# Of PromQL, after which labels are named.
_GROUPED: Final = re.compile(r"\bby \(([^)]*)\)")
_SELECTED: Final = re.compile(r"(\w+)\{([^}]*)\}")
_METRIC: Final = re.compile(r"\bragcore_(?!serve\b)[a-z_]+")


def unit() -> dict[str, str]:
    """Return the keys of the service's section; of one that is repeated, the last."""
    parser = RawConfigParser(strict=False, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT.read_text("utf-8").replace("\\\n", " "))
    return dict(parser["Service"])


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def directives(name: str, site: Path = NGINX) -> list[str]:
    return re.findall(rf"^\s*{name} ([^;]+);", site.read_text("utf-8"), re.MULTILINE)


def pod() -> dict[str, Any]:
    spec = yaml.safe_load(KUBERNETES.read_text("utf-8"))["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    return dict(spec["template"]["spec"])


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Return the values of a command line, as the command reads them."""
    _, (command, *rest) = split_options(arguments)
    assert command == "serve"
    return typer.main.get_command(app).make_context("serve", list(rest)).params


def unit_arguments() -> list[str]:
    program, *arguments = shlex.split(unit()["ExecStart"].replace("%i", "8000"))
    assert program == "/opt/ragcore/bin/ragcore"
    return arguments


def image_arguments() -> list[str]:
    values = dict(instructions())
    program, *arguments = json.loads(values["ENTRYPOINT"]) + json.loads(values["CMD"])
    assert program == "ragcore"
    return arguments


@pytest.fixture(scope="module")
def labels_of() -> dict[str, set[str]]:
    """The labels of each series that a server shows, by its name."""
    metrics = Metrics()
    world = metrics.pipeline("world", lambda: "2018-12")
    metrics.observe_request(FinishedRequest("/v1/answer", "POST", "/", 200, 0.1))
    world.observe(Outcome("error", ConfigError("none"), 0.1, 0.1))
    content, _ = metrics.exposition()
    return {
        sample.name: {*sample.labels}
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the expressions of the dashboard and of the alerts, with what they are for."""
    dashboard = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    return list(group["rules"])


@pytest.mark.parametrize(
    ("arguments", "changes_versions"),
    [(unit_arguments(), True), (image_arguments(), True), (pod()["containers"][0]["args"], False)],
    ids=["unit", "image", "pod"],
)
def test_the_command_lines_are_understood_and_demand_tokens(arguments, changes_versions):
    values = parsed(arguments)
    assert values["token_file"] is not None
    assert (values["admin_token_file"] is not None) == changes_versions
    assert not values["open_"]
    assert values["max_body_bytes"] == DEFAULTS.max_body_bytes


def test_the_unit_waits_until_the_server_has_stopped():
    values, service = parsed(unit_arguments()), unit()
    assert values["drain"] == DEFAULTS.drain
    assert float(service["TimeoutStopSec"]) > values["drain"] + running._LAST_SECONDS
    # With systemd's own mode each worker would get the signal twice.
    assert service["KillMode"] == "mixed"
    assert service["RestartPreventExitStatus"] == str(ConfigError.exit_code)


def test_the_unit_gives_the_tokens_that_the_command_reads():
    text = UNIT.read_text("utf-8")
    loaded = re.findall(r"^LoadCredential=([\w-]+):/etc/ragcore/\1$", text, re.MULTILINE)
    values = parsed(unit_arguments())
    files = [values["token_file"], values["admin_token_file"]]
    assert list(map(str, files)) == [f"%d/{name}" for name in loaded]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_accepts_the_unit(tmp_path):
    file = tmp_path / "ragcore-serve@8000.service"
    # systemd wants to see the program; no server is installed here.
    text = UNIT.read_text("utf-8").replace("/opt/ragcore/bin/ragcore", shutil.which("true") or "")
    file.write_text(text, "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert file.name not in done.stderr, done.stderr


def test_the_image_is_made_of_files_of_the_repository():
    steps = instructions()
    assert {name for name, _ in steps} <= INSTRUCTIONS
    copied = [rest.split()[:-1] for name, rest in steps if name == "COPY" and "--from" not in rest]
    names = {name for row in copied for name in row}
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert names == {line[1:] for line in ignore if line.startswith("!")}
    installed = {path for _, rest in steps for path in re.findall(r"\./(plugins/[\w-]+)", rest)}
    assert installed
    assert all((ROOT / path / "pyproject.toml").is_file() for path in installed)


def test_the_image_runs_as_a_user_and_is_probed_where_it_listens():
    steps, values = dict(instructions()), parsed(image_arguments())
    assert steps["USER"] == "ragcore"
    assert steps["EXPOSE"] == str(values["port"])
    assert f":{values['port']}/readyz" in steps["HEALTHCHECK"]
    assert values["host"] == "0.0.0.0"
    assert all(pipeline.startswith(f"{steps['VOLUME']}/") for pipeline in values["pipelines"])
    program = json.loads(steps["HEALTHCHECK"].partition(" CMD ")[2])[2]
    compile(program, "HEALTHCHECK", "exec")


@pytest.mark.parametrize("site", [NGINX, REPLICAS], ids=lambda site: site.name)
def test_the_proxy_agrees_with_the_server(site):
    assert directives("client_max_body_size", site) == [str(DEFAULTS.max_body_bytes)]
    assert directives("proxy_buffering", site) == ["off"]
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        (seconds,) = directives(name, site)
        assert float(seconds.removesuffix("s")) > DEFAULTS.timeout
    values = parsed(unit_arguments())
    assert directives("server_name", site) == list(values["allow_host"])
    assert "Host $host" in directives("proxy_set_header", site)


def test_the_proxy_asks_the_unit():
    values = parsed(unit_arguments())
    assert f"{values['host']}:{values['port']}" in directives("server")


def test_a_pod_is_probed_where_it_listens_and_may_finish():
    (container,) = pod()["containers"]
    values = parsed(container["args"])
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": values["port"]}
    paths = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert {container[probe]["httpGet"]["port"] for probe in paths} == set(ports)
    assert list(paths.values()) == ["/readyz", "/readyz", "/livez"]
    before = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    seconds = pod()["terminationGracePeriodSeconds"]
    assert seconds > before + values["drain"] + running._LAST_SECONDS
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert set(mounts) == {each["name"] for each in pod()["volumes"]}
    assert all(pipeline.startswith(f"{mounts['data']}/") for pipeline in values["pipelines"])
    assert values["token_file"].is_relative_to(mounts["tokens"])
    # The user of the image.
    assert f"--uid {pod()['securityContext']['runAsUser']} " in DOCKERFILE.read_text("utf-8")


def test_dashboard_and_alerts_ask_for_series_that_exist(labels_of):
    seen = set()
    for title, expression in expressions():
        names = set(_METRIC.findall(expression))
        assert names <= set(labels_of), f"{title}: {names - set(labels_of)}"
        seen |= names
        known = set().union(*(labels_of[name] for name in names)) | {"instance", "job"}
        grouped = {
            label.strip() for row in _GROUPED.findall(expression) for label in row.split(",")
        }
        assert grouped <= known, title
        for name, selectors in _SELECTED.findall(expression):
            selected = set(re.findall(r"(\w+)=", selectors))
            assert selected <= labels_of.get(name, {"job"}), title
    # The dashboard shows every metric; the series of a histogram or counter count as one.
    shown = {re.sub("_(bucket|sum|count|total|created)$", "", name) for name in seen}
    assert shown == {re.sub("_(bucket|sum|count|total|created)$", "", name) for name in labels_of}


promtool_needed = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here")


def promtool(*arguments: str, text: str = "") -> str:
    """Return what promtool finds; nothing where all is well."""
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@promtool_needed
def test_prometheus_accepts_the_alerts_and_the_dashboard_s_expressions(tmp_path):
    assert promtool("check", "rules", str(DEPLOY / "alerts.yaml")) == ""
    shown = [
        {"record": f"shown:{n}", "expr": expression.replace("$__rate_interval", "5m")}
        for n, (_, expression) in enumerate(expressions())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": shown}]}), "utf-8")
    assert promtool("check", "rules", str(file)) == ""
    file.write_text(file.read_text("utf-8").replace("rate(", "rat(", 1), "utf-8")
    assert "unknown function" in promtool("check", "rules", str(file))


FIRING = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - {{series: 'ragcore_memory_info{{pipeline="world",version="v1",pid="1"}}', values: '1x9 0x20'}}
  - {{series: 'ragcore_memory_info{{pipeline="world",version="v2",pid="1"}}', values: '0x9 1x20'}}
  - {{series: 'ragcore_memory_info{{pipeline="world",version="v1",pid="2"}}', values: '1x9 1x20'}}
  alert_rule_test:
  - {{eval_time: 9m, alertname: RagcoreVersionsDiffer}}
  - eval_time: 20m
    alertname: RagcoreVersionsDiffer
    exp_alerts:
    - exp_labels: {{pipeline: world}}
      exp_annotations: {{summary: "world: processes serve different versions"}}
"""


@promtool_needed
def test_an_alert_fires_where_a_worker_does_not_follow(tmp_path):
    file = tmp_path / "test.yaml"
    file.write_text(FIRING.format(rules=DEPLOY / "alerts.yaml"), "utf-8")
    assert promtool("test", "rules", str(file)) == ""


@promtool_needed
def test_prometheus_finds_no_fault_in_the_metrics():
    metrics = Metrics()
    metrics.pipeline("world", lambda: "2018-12")
    content, _ = metrics.exposition()
    assert promtool("check", "metrics", text=content.decode()) == ""


def test_the_page_names_the_alerts_and_metrics_that_exist(labels_of):
    text = PAGE.read_text("utf-8")
    assert set(re.findall(r"`(Ragcore\w+)`", text)) == {rule["alert"] for rule in rules()}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in labels_of}
    named = set(_METRIC.findall(text))
    assert named
    assert named <= families


@pytest.mark.parametrize(
    ("page", "file"),
    [
        *((PAGE, file) for file in (UNIT, DOCKERFILE, NGINX)),
        *((REPLICAS_PAGE, file) for file in (REPLICAS, KUBERNETES)),
    ],
    ids=lambda path: path.name,
)
def test_the_page_shows_the_files(page: Path, file: Path):
    assert files_of(page)[file.name] == file.read_text("utf-8")
