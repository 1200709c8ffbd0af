"""The documents: their links lead somewhere, and they name the fields, reasons, events and metrics that there are."""

import json
import pathlib
import re
import shutil
import subprocess
import textwrap

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
API_PAGE = ROOT / "docs" / "api.md"
COMMAND_TIMEOUT_S = 60
# Below these, the fields are Kubernetes' own.
OPAQUE = ("resources", "config", "scheduling.nodeSelector", "scheduling.tolerations", "scheduling.affinity",
          "scheduling.topologySpreadConstraints")


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def crd():
    return yaml.safe_load((ROOT / "crds" / "redisreplicasets.yaml").read_text())


def spec_fields():
    """(dotted path below spec, schema) of every field a person writes."""
    def walk(schema, path):
        for name, field in schema["properties"].items():
            below = f"{path}{name}"
            if "properties" in field and below not in OPAQUE:
                yield from walk(field, below + ".")
            else:
                yield below, field
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield from walk(schema["properties"]["spec"], "")


def row_of(path):
    """The table row of docs/api.md about a field, named by its path or by what is left of it below its section."""
    for name in (path, path.split(".", 1)[-1]):
        rows = [line for line in API_PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
        if rows:
            assert len(rows) == 1, f"{name} has {len(rows)} rows"
            return rows[0]
    return None


def snippet(source, name):
    """The lines of a program between `docs: NAME` and `end`, without their indentation."""
    found = re.search(rf"^[ \t]*(?://|#) docs: {name}\n(.*?)^[ \t]*(?://|#) end$", (ROOT / source).read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"no snippet {name} in {source}"
    return textwrap.dedent(found[1])


def test_snippets_about_clients_are_of_programs_that_the_tests_run():
    text = (ROOT / "docs" / "clients.md").read_text()
    shown = re.findall(r"<!-- (\S+): (\w+) -->\n+```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 10
    for source, name, code in shown:
        assert code == snippet(source, name), f"{source}: {name}"


def test_versions_of_clients_are_those_that_are_installed():
    clients = ROOT / "e2e" / "clients"
    pinned = dict(json.loads((clients / "node" / "package.json").read_text())["dependencies"])
    pinned["node-redis"] = pinned.pop("redis")
    pinned |= {name.split("[")[0]: version for name, version in
               (line.split("==") for line in (clients / "python" / "requirements.txt").read_text().split())}
    pinned["redis-py"] = pinned.pop("redis")
    pom = (clients / "java" / "pom.xml").read_text()
    pinned |= dict(re.findall(r"<artifactId>(jedis|lettuce)(?:-core)?</artifactId>\s*<version>([\d.]+?)(?:\.RELEASE)?</version>", pom))
    cargo = (clients / "rust" / "Cargo.toml").read_text()
    pinned["redis-rs"], pinned["fred"] = (re.search(rf'^{name} = {{ version = "(.+?)"', cargo, re.MULTILINE)[1]
                                          for name in ("redis", "fred"))
    pinned["go-redis"] = re.search(r"go-redis/v9 v(\S+)", (clients / "go" / "go.mod").read_text())[1]
    text = (ROOT / "docs" / "clients.md").read_text()
    shown = {name.lower(): version for name, version in re.findall(r"^\| ([A-Za-z-]+) ([\d.]+) \|", text, re.MULTILINE)}
    # Those of the distribution have no lock file.
    assert shown.pop("sidekiq") and shown == pinned


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_field_is_explained_with_its_default():
    fields = list(spec_fields())
    assert len(fields) > 25
    for path, schema in fields:
        row = row_of(path)
        assert row, f"spec.{path} is not in docs/api.md"
        default = schema.get("default")
        if default not in (None, "", {}, []):
            text = default if isinstance(default, str) else json.dumps(default)
            assert text in row.split("|")[2], f"spec.{path} defaults to {text}: {row}"


def test_every_status_field_is_explained():
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    shard = schema["shards"]["items"]["properties"]
    member = shard["members"]["items"]["properties"]
    status = API_PAGE.read_text().partition("## Status")[2].partition("\n## ")[0]
    for name in {*schema, *shard, *member} - {"shards", "members"}:
        assert f"`{name}`" in status, name


def test_every_reason_is_explained():
    """Each reason that the operator gives in a condition has its line in docs/operations.md."""
    code = "".join(file.read_text() for file in (ROOT / "operator" / "src").rglob("*.rs"))
    calls = re.findall(r"\bplan\.(?:progressing|degraded|at_risk)\(", code)
    reasons = re.findall(r"\bplan\.(?:progressing|degraded|at_risk)\(\s*\"([A-Z][A-Za-z]+)\"", code)
    assert len(calls) == len(reasons), "a reason is not written where it is given, so that this test cannot see it"
    refusals = re.findall(r"self\.refuse\(\s*&object,\s*\"([A-Z][A-Za-z]+)\"", code)
    assert len(refusals) == len(re.findall(r"self\.refuse\(", code)), "nor this one"
    status = (ROOT / "operator" / "src" / "status.rs").read_text()
    status = status.partition("let ready =")[2].partition("RedisReplicaSetStatus {")[0]
    own = re.findall(r"\"([A-Z][A-Za-z]+)\"", status)
    assert "AllMembersReady" in own
    page = (ROOT / "docs" / "operations.md").read_text()
    assert not [reason for reason in {*reasons, *refusals, *own} if f"`{reason}`" not in page]


def test_every_event_is_named():
    code = "".join(file.read_text() for file in (ROOT / "operator" / "src").rglob("*.rs"))
    notes = re.findall(r"\.(?:news|warn)\(\s*\"([A-Z][A-Za-z]+)\"", code)
    notes += re.findall(r"Note \{[^}]*reason: \"([A-Z][A-Za-z]+)\"", code)
    assert len(notes) > 10
    page = (ROOT / "docs" / "operations.md").read_text()
    assert not [reason for reason in notes if f"`{reason}`" not in page]


def test_every_metric_of_the_operator_is_named():
    series = set(re.findall(r"\"(rrs_[a-z_]+)\"", (ROOT / "operator" / "src" / "telemetry.rs").read_text()))
    assert len(series) > 5
    page = (ROOT / "docs" / "operations.md").read_text()
    assert not [name for name in series if f"`{name}`" not in page]
    # Nor is one mentioned anywhere that does not exist.
    mentioned = {name for page in PAGES for name in re.findall(r"`(rrs_[a-z_]+)", page.read_text())}
    assert mentioned <= series


def test_the_sentinels_commands_are_named():
    source = ROOT / "datanode" / "src" / "command"
    served = re.search(r"const OF_A_SENTINEL.*?\];", (source / "table.rs").read_text(), re.DOTALL)[0]
    commands = ["SENTINEL", *(name.upper() for name in re.findall(r'^    "([a-z]+)",', served, re.MULTILINE))]
    commands += [name.upper() for name in re.findall(r'"sentinel\|([a-z-]+)"', (source / "sentinel.rs").read_text())]
    assert len(commands) > 30
    page = (ROOT / "docs" / "sentinel.md").read_text()
    assert not [name for name in commands if not re.search(rf"`{name}[` ]", page)]


def directives():
    """Directive and the field that holds it, of every directive the datanode knows."""
    table = (ROOT / "datanode" / "src" / "config" / "table.rs").read_text()
    return {name: field for field, name in re.findall(r'^    ([a-z_0-9]+): [^=]+= .*?"([a-z0-9-]+)"', table, re.MULTILINE)}


def test_the_datanodes_own_directives_are_explained():
    table = (ROOT / "datanode" / "src" / "config" / "table.rs").read_text()
    own = re.findall(r'^    [a-z_]+: [^=]+= .*?"([a-z-]+)"', table.partition("// Not of Redis")[2], re.MULTILINE)
    assert len(own) >= 6
    page = (ROOT / "docs" / "datanode.md").read_text()
    assert not [name for name in own if f"| `{name}` |" not in page]


def test_directives_that_are_said_to_have_no_effect_have_none():
    source = ROOT / "datanode" / "src"
    code = "".join(file.read_text() for file in source.rglob("*.rs") if file.parent != source / "config")
    page = (ROOT / "docs" / "datanode.md").read_text().partition("have no effect:**")[2].partition("\n## ")[0]
    named = [name for name in re.findall(r"`([a-z0-9-]+)`", page) if name in directives()]
    assert len(named) > 15
    named = [name for name in named if name not in ("cluster-enabled", "cluster-preferred-endpoint-type")]
    assert not [name for name in named if re.search(rf"\b{directives()[name]}\b", code)]


def test_every_stage_of_the_tests_is_named():
    stages = re.findall(r"^ *stage [a-z_]+ ([a-z-]+) ", (ROOT / "e2e" / "test").read_text(), re.MULTILINE)
    assert len(stages) > 5
    page = (ROOT / "docs" / "testing.md").read_text()
    assert not [stage for stage in stages if f"`{stage}.log`" not in page]


@pytest.mark.parametrize("crate", ["datanode", "operator"])
def test_every_directory_of_the_code_is_in_the_architecture(crate):
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Shape of the code")[2]
    directories = [path.name for path in (ROOT / crate / "src").iterdir() if path.is_dir()]
    assert directories
    assert not [name for name in directories if f"`{name}`" not in page]


@pytest.mark.cluster
@pytest.mark.parametrize("page", [page for page in PAGES if "kind: RedisReplicaSet" in page.read_text()],
                         ids=lambda page: page.name)
def test_the_api_server_accepts_the_samples(page):
    samples = re.findall(r"^(apiVersion: redis\.replicaset\.dev.*?)(?=^EOF|^```)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert samples
    assert shutil.which("kubectl"), "kubectl is not in PATH"
    for sample in samples:
        # Made, not changed: the cluster may hold a resource of the sample's name.
        resource = yaml.safe_load(sample)
        resource["metadata"]["name"] = "a-sample-of-the-documents"
        done = subprocess.run(["kubectl", "create", "--dry-run=server", "-f", "-"], input=json.dumps(resource),
                              capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
        assert done.returncode == 0, done.stderr
