"""What is under deploy/ fits the program: metrics, labels, settings, commands, ports, runbooks."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from stallwart.cli.main import build
from stallwart.core.settings import Settings
from stallwart.monitoring.exposition import Exposition
from stallwart.serving.metrics import STAGES, Metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DRAWN = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
ASKED = [(rule["alert"], rule["expr"]) for rule in ALERTS]
# Prometheus adds these, and prometheus_client `pid` where several processes share a port
ADDED_LABELS = {"instance", "job", "pid"}


def served_metrics() -> dict[str, set[str]]:
    """Every name that /metrics can have, with its labels."""
    served = {}
    for metric in vars(Metrics()).values():
        if not isinstance(metric, MetricWrapperBase) or not metric._name:
            continue
        labels = set(metric._labelnames)
        if isinstance(metric, Counter):
            served[f"{metric._name}_total"] = labels
        elif isinstance(metric, Histogram):
            served |= {f"{metric._name}_{part}": labels for part in ("sum", "count")}
            served[f"{metric._name}_bucket"] = labels | {"le"}
        else:
            served[metric._name] = labels
    # What the class holds as children, looked up once
    served["stallwart_embeddings_total"] = {"source"}
    stages = "stallwart_stage_seconds"
    return served | {
        f"{stages}_sum": {"stage"},
        f"{stages}_count": {"stage"},
        f"{stages}_bucket": {"stage", "le"},
    }


def watched_metrics() -> dict[str, set[str]]:
    """Every name that the watcher's own port can have, with its labels."""
    found = (one for one in vars(Exposition()).values() if isinstance(one, MetricWrapperBase))
    return {metric._name: set(metric._labelnames) for metric in found}


def used(expression: str) -> list[tuple[str, set[str]]]:
    """Metrics that an expression names, and the labels that it selects them by."""
    found = re.findall(r"\b(stallwart_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))) for name, labels in found]


def grouped_by(expression: str) -> set[str]:
    return {
        label.strip()
        for labels in re.findall(r"\bby\s*\(([^)]*)\)", expression)
        for label in labels.split(",")
    }


@pytest.mark.parametrize(("title", "expression"), DRAWN + ASKED)
def test_every_metric_and_label_that_is_asked_for_is_served(title, expression):
    served = served_metrics() | watched_metrics()
    asked = used(expression)
    assert asked or 'up{job="stallwart"}' in expression, f"{title} asks for nothing of the service"
    offered = ADDED_LABELS.union(*(served[name] for name, _ in asked))
    for name, labels in asked:
        assert labels <= served[name] | ADDED_LABELS, f"{title}: {name} has the labels {served[name]}"
    assert grouped_by(expression) <= offered


def test_the_names_of_served_metrics_are_those_of_the_text_that_prometheus_reads():
    metrics = Metrics()
    for stage in STAGES:
        metrics.stages[stage].observe(0.1)
    text = metrics.text().decode()
    for name in ("stallwart_stage_seconds_bucket", "stallwart_embeddings_total", "stallwart_shed_total"):
        assert f"\n{name}" in text
    unlabelled = {name for name, labels in served_metrics().items() if not labels}
    assert [name for name in unlabelled if f"\n{name} " not in text] == []


def test_every_metric_of_the_service_is_drawn():
    drawn = {name for _, expression in DRAWN for name, _ in used(expression)}
    served = served_metrics() | watched_metrics()
    families = {re.sub(r"_(total|sum|count|bucket)$", "", name) for name in served}
    assert families == {re.sub(r"_(total|sum|count|bucket)$", "", name) for name in drawn}


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_a_runbook_that_is_there(rule):
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (DEPLOY.parent / page).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_alert_on_slow_answers_waits_for_the_default_deadline():
    (slow,) = (rule for rule in ALERTS if rule["alert"] == "StallwartSlow")
    assert slow["expr"].strip().endswith(f"> {Settings.model_fields['deadline_ms'].default // 1000}")


@pytest.mark.parametrize(
    "file",
    ["Dockerfile", "compose.yaml", "stallwart.service", "../docs/deploy.md", "../docs/serving.md"],
)
def test_every_setting_that_is_named_is_one(file):
    # STALLWART_BUNDLES is compose's own, for a mount
    named = set(re.findall(r"STALLWART_[A-Z_]+", (DEPLOY / file).read_text())) - {"STALLWART_BUNDLES"}
    assert named <= {f"STALLWART_{name.upper()}" for name in Settings.model_fields}


def dockerfile(word: str) -> list[str]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(f"{word} ")]


def started() -> list[list[str]]:
    """Arguments of `stallwart` in all files."""
    unit = re.findall(
        r"^ExecStart=\S+/stallwart (.*)$", (DEPLOY / "stallwart.service").read_text(), re.MULTILINE
    )
    services = [one["command"] for one in COMPOSE["services"].values() if one["image"] == "stallwart"]
    return [json.loads(dockerfile("CMD")[-1]), *services, *(line.split() for line in unit)]


@pytest.mark.parametrize("arguments", started(), ids=" ".join)
def test_every_command_that_is_started_is_one_that_the_program_takes(arguments):
    command = typer.main.get_command(build())
    while hasattr(command, "commands"):
        command, *arguments = command.commands[arguments[0]], *arguments[1:]
    command.make_context("stallwart", list(arguments))  # a usage error where it takes none of it


def test_the_image_starts_in_exec_form_as_a_user_without_rights():
    assert json.loads(dockerfile("ENTRYPOINT")[0]) == ["stallwart"]
    assert dockerfile("USER")[-1] != "root"
    assert all("constraints.txt" in line for line in dockerfile("RUN") if "pip install" in line)
    assert not any("[train" in line for line in dockerfile("RUN")), "the service needs no torch"


def test_what_the_image_copies_is_there_and_not_left_out_of_the_build():
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    copied = [line.split()[:-1] for line in dockerfile("COPY") if not line.startswith("--from")]
    for source in (name for names in copied for name in names):
        assert (DEPLOY.parent / source).exists()
        assert source in kept


def test_a_stopping_service_is_given_longer_than_it_takes():
    shutdown_seconds = Settings.model_fields["shutdown_seconds"].default
    assert int(COMPOSE["services"]["serve"]["stop_grace_period"].removesuffix("s")) > shutdown_seconds
    unit = (DEPLOY / "stallwart.service").read_text()
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1]) > shutdown_seconds


def test_what_compose_mounts_from_here_is_here():
    # The key and the bundles are the operator's
    theirs = {"secrets/prometheus.key"}
    mounts = [str(one) for service in COMPOSE["services"].values() for one in service.get("volumes", ())]
    sources = {mount.split(":")[0].removeprefix("./") for mount in mounts if mount.startswith("./")}
    assert [source for source in sources - theirs if not (DEPLOY / source).exists()] == []
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith((".", "$"))}
    assert named <= set(COMPOSE["volumes"])


def test_what_compose_waits_for_is_a_service_of_it():
    services = COMPOSE["services"]
    needed = {other for service in services.values() for other in service.get("depends_on", ())}
    assert needed <= set(services)
    scraped, watching = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    (found,) = scraped["dns_sd_configs"]
    assert found["names"] == ["serve"]
    assert str(found["port"]) in services["serve"]["command"]
    ((host, port),) = (target.split(":") for target in watching["static_configs"][0]["targets"])
    assert port in services[host]["command"]


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda file: file.name)
def test_every_yaml_file_says_each_key_once(file):
    def mapping(loader, node):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{file}: {keys}"
        loader.flatten_mapping(node)
        return dict(loader.construct_pairs(node))

    loader = type("Once", (yaml.SafeLoader,), {})
    loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    assert yaml.load(file.read_text(), loader)


def run(program: str, *arguments: object) -> str:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_reads_its_files():
    run("promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml")
    run("promtool", "check", "rules", DEPLOY / "prometheus/alerts.yml")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alerts.yml", "alerts_slow.yml"])
def test_alerts_fire_when_they_should_and_only_then(name):
    run("promtool", "test", "rules", Path(__file__).parent / name)


def test_prometheus_can_read_what_the_dashboard_asks(tmp_path):
    plain = [
        expression.replace("$__rate_interval", "5m").replace("$instance", ".*") for _, expression in DRAWN
    ]
    rules = [{"record": f"drawn:{place}", "expr": one} for place, one in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "drawn", "rules": rules}]}))
    run("promtool", "check", "rules", tmp_path / "rules.yml")


def test_systemd_reads_the_unit(tmp_path):
    unit = (DEPLOY / "stallwart.service").read_text()
    (tmp_path / "stallwart.service").write_text(
        re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.M)
    )
    assert run("systemd-analyze", "verify", "--man=no", tmp_path / "stallwart.service") == ""


def test_every_metric_of_the_service_is_in_the_guide():
    table = (DEPLOY.parent / "docs/serving.md").read_text().partition("## Metrics")[2]
    named = set(re.findall(r"`(stallwart_\w+)`", table))
    assert named == {re.sub(r"_(sum|count|bucket)$", "", name) for name in served_metrics()}


def test_every_metric_of_the_watcher_is_in_the_guide():
    table = (DEPLOY.parent / "docs/monitoring.md").read_text().partition("## Metrics")[2]
    assert set(re.findall(r"`(stallwart_\w+)`", table)) == set(watched_metrics())


def test_every_route_of_the_service_is_in_the_guide():
    from stallwart.serving.app import _Routes

    page = (DEPLOY.parent / "docs/serving.md").read_text()
    for path, method, _, scope, _ in _Routes.table(_Routes.__new__(_Routes)):
        row = next(
            line for line in page.splitlines() if line.startswith("|") and f"`{method} {path}`" in line
        )
        assert f"| {scope.value if scope else 'none'} |" in row
