"""The Helm chart: what it renders in each mode, what it refuses, and what a real API server makes of it."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "redis-replicaset-operator"
RELEASE = "rro"
NAMESPACE = "chart-dev"
FULLNAME = "rro-redis-replicaset-operator"
COMMAND_TIMEOUT_S = 60
# Helm built from source believes in an old Kubernetes where it has no cluster to ask.

MONITORING = {
    "serviceMonitor": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
}
# One entry for each way to use the chart; every template is rendered by at least one.
MODES = {
    "defaults": {},
    "namespaced": {"watchNamespaces": ["team-a", "team-b"]},
    "highly-available": {"replicaCount": 3, "priorityClassName": "system-cluster-critical"},
    "no-leader-election": {"replicaCount": 1, "leaderElection": {"enabled": False}},
    "stopped": {"replicaCount": 0},
    "own-accounts": {"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False}},
    "monitoring": {"monitoring": MONITORING},
    "everything": {
        "fullnameOverride": "redis-operator",
        "image": {"repository": "mirror.example:5000/team/operator", "tag": "1.2.3", "pullPolicy": "Always"},
        "datanodeImage": {"repository": "mirror.example:5000/team/datanode", "tag": "1.2.3", "pullPolicy": "Never"},
        "imagePullSecrets": [{"name": "pull"}],
        "replicaCount": 3,
        "logLevel": "info,operator=debug",
        "logFormat": "text",
        "serviceAccount": {"annotations": {"example.com/role": "x"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "podAnnotations": {"example.com/a": "b"},
        "podLabels": {"example.com/team": "a"},
        "extraEnv": [{"name": "A", "value": "b"}],
        "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
        "monitoring": MONITORING,
    },
}


def run(*args, stdin=None, check=True):
    """Runs a command found through PATH; a missing tool is a failure, not a reason to skip."""
    assert shutil.which(args[0]), f"{args[0]} is not in PATH"
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    if check:
        assert done.returncode == 0, f"{' '.join(args)}: {done.stderr or done.stdout}"
    return done


def template(values, check=True):
    return run("helm", "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-",
               stdin=yaml.safe_dump(values), check=check)


def render(values):
    """The chart's objects by (kind, namespace, name)."""
    found = {}
    for item in yaml.safe_load_all(template(values).stdout):
        if item:
            key = (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
            assert key not in found, f"rendered twice: {key}"
            found[key] = item
    return found


def of_kind(objects, kind):
    return [item for (k, _, _), item in objects.items() if k == kind]


def deployment(values):
    return of_kind(render(values), "Deployment")[0]


def container(values):
    return deployment(values)["spec"]["template"]["spec"]["containers"][0]


def environment(values):
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(values)["env"]}


def grants(objects, kinds):
    """(api group, resource, verb) of every rule in the roles of these kinds."""
    return {
        (group, resource, verb)
        for kind in kinds
        for role in of_kind(objects, kind)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def leaves(values, prefix=""):
    """Dotted names of the values that have no values below them."""
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in ("resources", "labels"):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize("mode", MODES)
def test_lint(mode):
    run("helm", "lint", "--strict", str(CHART), "--values", "-", stdin=yaml.safe_dump(MODES[mode]))


@pytest.mark.parametrize("mode", MODES)
def test_every_object_is_labelled_and_in_its_namespace(mode):
    cluster_wide = {"ClusterRole", "ClusterRoleBinding"}
    for (kind, namespace, name), item in render(MODES[mode]).items():
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "redis-replicaset-operator", (kind, name)
        assert labels["app.kubernetes.io/instance"] == RELEASE, (kind, name)
        assert (namespace is None) == (kind in cluster_wide), (kind, name)


def test_the_operator_is_locked_down():
    pod = deployment({})["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "10m", "memory": "64Mi"},
        "limits": {"memory": "256Mi"},
    }


def test_probes_ask_the_http_port():
    subject = container({})
    assert subject["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    paths = {probe: subject[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": {"path": "/livez", "port": "http"},
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


def test_environment_of_the_operator():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    env = environment({})
    assert env["DATANODE_IMAGE"] == f"redis-replicaset-datanode:{version}"
    assert env["DATANODE_IMAGE_PULL_POLICY"] == "IfNotPresent"
    assert env["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert env["POD_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert (env["RUST_LOG"], env["LOG_FORMAT"]) == ("info", "json")
    assert "WATCH_NAMESPACE" not in env

    env = environment(MODES["everything"])
    assert env["DATANODE_IMAGE"] == "mirror.example:5000/team/datanode:1.2.3"
    assert env["DATANODE_IMAGE_PULL_POLICY"] == "Never"
    assert (env["RUST_LOG"], env["LOG_FORMAT"], env["A"]) == ("info,operator=debug", "text", "b")


def test_leader_election_and_the_way_to_roll():
    assert container({})["args"] == ["--leader-elect"]
    assert deployment({})["spec"]["strategy"] == {"type": "RollingUpdate"}
    without = MODES["no-leader-election"]
    assert "args" not in container(without)
    assert deployment(without)["spec"]["strategy"] == {"type": "Recreate"}
    assert not of_kind(render(without), "Role")


def test_cluster_mode_roles():
    objects = render({})
    role = of_kind(objects, "ClusterRole")[0]["metadata"]["name"]
    binding = of_kind(objects, "ClusterRoleBinding")[0]
    assert binding["roleRef"]["name"] == role
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": FULLNAME, "namespace": NAMESPACE}]
    assert [r["metadata"]["namespace"] for r in of_kind(objects, "Role")] == [NAMESPACE]
    assert grants(objects, ["Role"]) == {
        ("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update", "patch")
    }
    assert ("", "nodes", "list") in grants(objects, ["ClusterRole"])
    assert ("storage.k8s.io", "storageclasses", "get") in grants(objects, ["ClusterRole"])


def test_namespaced_mode_roles():
    objects = render(MODES["namespaced"])
    assert not of_kind(objects, "ClusterRole") and not of_kind(objects, "ClusterRoleBinding")
    for namespace in ("team-a", "team-b"):
        binding = objects["RoleBinding", namespace, FULLNAME]
        assert binding["subjects"][0]["namespace"] == NAMESPACE
        assert ("Role", namespace, binding["roleRef"]["name"]) in objects
    assert ("", "nodes", "list") not in grants(objects, ["Role"])
    assert environment(MODES["namespaced"])["WATCH_NAMESPACE"] == "team-a,team-b"


@pytest.mark.parametrize("mode", ["defaults", "namespaced"])
def test_roles_grant_no_more_than_needed(mode):
    granted = grants(render(MODES[mode]), ["ClusterRole", "Role"])
    assert not [grant for grant in granted if "*" in grant]
    assert {verb for _, resource, verb in granted if resource == "secrets"} == {"get", "create", "patch"}
    assert {verb for _, resource, verb in granted if resource == "persistentvolumeclaims"}.isdisjoint({"create", "delete"})
    assert {verb for _, resource, verb in granted if resource == "redisreplicasets"}.isdisjoint({"create", "delete"})
    groups = {group for group, _, _ in granted}
    assert "rbac.authorization.k8s.io" not in groups and "apiextensions.k8s.io" not in groups


def test_nothing_is_granted_where_others_grant():
    objects = render(MODES["own-accounts"])
    kinds = {kind for kind, _, _ in objects}
    assert kinds.isdisjoint({"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"})
    assert of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


def test_disruption_budget_only_for_several_pods():
    assert not of_kind(render({"replicaCount": 1}), "PodDisruptionBudget")
    budget = of_kind(render(MODES["highly-available"]), "PodDisruptionBudget")[0]
    assert budget["spec"]["maxUnavailable"] == 1
    off = {**MODES["highly-available"], "podDisruptionBudget": {"enabled": False}}
    assert not of_kind(render(off), "PodDisruptionBudget")


def test_services_and_monitors_select_what_they_mean():
    objects = render(MODES["monitoring"])
    pod_labels = of_kind(objects, "Deployment")[0]["spec"]["template"]["metadata"]["labels"]
    service = objects["Service", NAMESPACE, f"{FULLNAME}-metrics"]
    assert service["spec"]["selector"].items() <= pod_labels.items()
    monitor = of_kind(objects, "ServiceMonitor")[0]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert of_kind(objects, "PodMonitor")[0]["spec"]["namespaceSelector"] == {"any": True}
    narrow = render({"watchNamespaces": ["team-a"], "monitoring": MONITORING})
    assert of_kind(narrow, "PodMonitor")[0]["spec"]["namespaceSelector"] == {"matchNames": ["team-a"]}


def test_alerts_and_dashboard_arrive_whole():
    objects = render(MODES["monitoring"])
    groups = of_kind(objects, "PrometheusRule")[0]["spec"]["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    for alert in ("RedisReplicaSetNotReady", "RedisReplicaSetDataAtRisk", "RedisReplicationLag",
                  "RedisShardWithoutMaster", "RedisDiskError", "RedisReplicaSetOperatorDown"):
        assert alert in rules
    for name, rule in rules.items():
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], name
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert "OPERATOR_JOB" not in rule["expr"], name
    # Prometheus' own templates must survive Helm's.
    assert "{{ $labels.name }}" in rules["RedisReplicaSetNotReady"]["annotations"]["summary"]
    # The job of a ServiceMonitor's target is its Service's name.
    assert f'up{{job="{FULLNAME}-metrics"}}' in rules["RedisReplicaSetOperatorDown"]["expr"]

    dashboard = json.loads(of_kind(objects, "ConfigMap")[0]["data"]["redis-replicaset.json"])
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) > 10
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            assert re.search(r"\b(redis|rrs)_[a-z_]+", target["expr"]), panel["title"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "replicas"),
        ({"image": {"repositry": "x"}}, "repositry"),
        ({"replicaCount": -1}, "replicaCount"),
        ({"replicaCount": "two"}, "replicaCount"),
        ({"image": {"pullPolicy": "Sometimes"}}, "image.pullPolicy"),
        ({"image": {"repository": "team/operator:1.0 "}}, "image.repository"),
        ({"watchNamespaces": "team-a"}, "watchNamespaces"),
        ({"watchNamespaces": ["Team_A"]}, "watchNamespaces"),
        ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
        ({"logFormat": "xml"}, "logFormat"),
        ({"logLevel": ""}, "logLevel"),
        ({"resources": {"limits": {"memory": "lots"}}}, "resources.limits.memory"),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels may not set app.kubernetes.io.name"),
        ({"monitoring": {"podMonitor": {"interval": "often"}}}, "monitoring.podMonitor.interval"),
        ({"leaderElection": {"enabled": "yes"}}, "leaderElection.enabled"),
        ({"replicaCount": 2, "leaderElection": {"enabled": False}}, "several operators would work at once"),
        ({"monitoring": {"prometheusRule": {"enabled": True}}}, "needs monitoring.serviceMonitor.enabled"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_bad_values_are_refused(values, message):
    refused = template(values, check=False)
    assert refused.returncode != 0, "accepted"
    # Helm writes a path below the values either with dots or with slashes.
    assert message in refused.stderr.replace("/", "."), refused.stderr


def test_every_value_is_in_the_schema_and_explained():
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    page = (ROOT / "docs" / "chart.md").read_text()
    names = list(leaves(yaml.safe_load(text)))
    assert len(names) > 30
    for name in names:
        node = schema
        for part in name.split("."):
            assert part in node["properties"], f"{name} is not in values.schema.json"
            node = node["properties"][part]
        assert f"`{name}`" in page, f"{name} is not in docs/chart.md"
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = re.match(r"^( *)([A-Za-z]+):(.*)$", line)
        if match and (match[3].strip() or lines[number + 1].startswith(match[1] + "  ") is False):
            within = next((above for above in reversed(lines[:number])
                           if above and len(above) - len(above.lstrip()) < len(match[1])), "")
            if not re.match(r" *(- |(resources|requests|limits|labels):)", within):
                assert lines[number - 1].lstrip().startswith("#"), f"values.yaml:{number + 1} has no comment"


def test_the_chart_carries_the_generated_crd():
    generated = (ROOT / "crds" / "redisreplicasets.yaml").read_text()
    assert (CHART / "crds" / "redisreplicasets.yaml").read_text() == generated
    kinds = [item["kind"] for item in yaml.safe_load_all(generated) if item]
    assert kinds == ["CustomResourceDefinition"]
    # In templates/ it would be deleted with the release, and with it every instance.
    assert not [item for item in render({}) if item[0] == "CustomResourceDefinition"]


# ---- against a real API server ----


@pytest.fixture(scope="module")
def namespace():
    """A namespace of our own, taken away afterwards."""
    run("kubectl", "apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")
    yield NAMESPACE
    run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found")


@pytest.mark.cluster
@pytest.mark.parametrize("mode", [mode for mode in MODES if "monitoring" not in MODES[mode]])
def test_api_server_accepts(namespace, mode):
    values = dict(MODES[mode])
    if "watchNamespaces" in values:
        values["watchNamespaces"] = [namespace]
    done = run("kubectl", "apply", "--namespace", namespace, "--dry-run=server", "--warnings-as-errors", "-f", "-",
               stdin=template(values).stdout)
    assert "deployment.apps/" in done.stdout


@pytest.mark.cluster
def test_notes_help():
    notes = run("helm", "install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=server").stdout
    notes = notes[notes.index("NOTES:"):]
    for needle in ("kind: RedisReplicaSet", "get rrs orders -w", "orders-replicas:6379", "kubectl apply --server-side",
                   "Uninstalling"):
        assert needle in notes, needle


@pytest.mark.cluster
def test_install_upgrade_uninstall(namespace):
    """A second release beside a running one, with no pod of its own: its roles say what they should."""
    values = yaml.safe_dump({"replicaCount": 0, "watchNamespaces": [namespace]})
    account = f"system:serviceaccount:{namespace}:{FULLNAME}"

    def may(verb, resource, where=namespace):
        done = run("kubectl", "auth", "can-i", verb, resource, "--namespace", where, "--as", account, check=False)
        return done.stdout.strip() == "yes"

    def helm(*args):
        run("helm", *args, "--namespace", namespace, stdin=values)

    helm("install", RELEASE, str(CHART), "--values", "-", "--skip-crds", "--wait")
    try:
        assert may("patch", "statefulsets.apps")
        assert may("patch", "redisreplicasets.redis.replicaset.dev", namespace)
        assert may("get", "secrets") and not may("list", "secrets") and not may("delete", "secrets")
        assert may("update", "leases.coordination.k8s.io")
        assert not may("delete", "redisreplicasets.redis.replicaset.dev")
        assert not may("get", "secrets", "kube-system") and not may("list", "pods", "default")
        assert not may("list", "nodes")

        helm("upgrade", RELEASE, str(CHART), "--values", "-", "--set", "logLevel=debug", "--wait")
        shown = run("kubectl", "get", "deployment", FULLNAME, "--namespace", namespace, "-o", "json").stdout
        env = json.loads(shown)["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "RUST_LOG", "value": "debug"} in env
    finally:
        helm("uninstall", RELEASE, "--wait")
    left = run("kubectl", "get", "all,roles,rolebindings,serviceaccounts", "--namespace", namespace,
               "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name").stdout
    assert left.strip() == ""
    run("kubectl", "get", "crd", "redisreplicasets.redis.replicaset.dev")


def exposed(namespace, pod, port):
    """Names of the metrics a pod exposes, from samples and from TYPE lines (a counter may have no sample yet)."""
    text = run("kubectl", "get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics").stdout
    return set(re.findall(r"^(?:# TYPE )?([a-z_]+)", text, re.MULTILINE))


@pytest.mark.cluster
def test_alerts_and_dashboard_use_metrics_that_exist():
    """A misspelt name would make an alert that never fires and a panel that stays empty."""
    pods = json.loads(run("kubectl", "get", "pods", "--all-namespaces", "-o", "json").stdout)["items"]
    found = set()
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        operator = labels.get("app.kubernetes.io/name") == "redis-replicaset-operator"
        if not operator and "redis.replicaset.dev/shard" not in labels or pod["status"]["phase"] != "Running":
            continue
        name = "http" if operator else "metrics"
        ports = [port["containerPort"] for c in pod["spec"]["containers"] for port in c.get("ports", [])
                 if port.get("name") == name]
        assert ports, f"{pod['metadata']['name']} has no port {name}, which the monitors ask for"
        found |= exposed(pod["metadata"]["namespace"], pod["metadata"]["name"], ports[0])
    assert found, "no operator and no datanode is running"

    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    expressions = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    used = {name for expr in expressions for name in re.findall(r"\b(?:redis|rrs)_[a-z_]+", expr)}
    used = {re.sub(r"_(sum|count|bucket)$", "", name) for name in used}
    found |= {re.sub(r"_(sum|count|bucket)$", "", name) for name in found}
    assert len(used) > 20
    assert used <= found, sorted(used - found)
