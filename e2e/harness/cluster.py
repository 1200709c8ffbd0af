"""The kind cluster: kubectl in short form, and RedisReplicaSets with everything a test does to them.

Names of the cluster's DNS resolve and pods and Services answer for whoever runs this (`cluster/inside` sees to it), so clients
use the same addresses as a program in the cluster would.
"""

import base64
import contextlib
import json
import os
import shlex
import subprocess
import uuid

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from .api import CONTEXT, GROUP, RRS, ApiError, get, items
from .wait import NotReached, until
from .writer import TIMEOUTS

NODE_PREFIX = CONTEXT.removeprefix("kind-")
DOCKER = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
RELEASE = "redis-replicaset-operator"
SYSTEM = "redis-replicaset-system"
COMMAND_S = 60
READY_S = 150
DELETE_S = 120
REDIS_PORT, SENTINEL_PORT, METRICS_PORT, OPERATOR_PORT = 6379, 26379, 9121, 8080
PROBLEMS = (redis.RedisError, OSError)


class Refused(Exception):
    """The API server did not take a resource; the text is its message."""


def run(*command, stdin=None, timeout=COMMAND_S, check=True):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise RuntimeError(f"{shlex.join(command)[:300]}: exit {done.returncode}\n{done.stderr[-2000:]}{done.stdout[-1000:]}")
    return done


def kubectl(*arguments, **options):
    return run("kubectl", "--context", CONTEXT, *arguments, **options).stdout


def on_node(node, script, **options):
    """Runs a shell script on a node."""
    return run(DOCKER, "exec", "-i", node, "sh", "-euc", script, **options).stdout


def workers():
    return sorted(node["metadata"]["name"] for node in items("nodes")
                  if "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"])


@contextlib.contextmanager
def frozen(node):
    """The node stands still within the block; afterwards it runs again, whatever happened."""
    run(DOCKER, "pause", node)
    try:
        yield
    finally:
        run(DOCKER, "unpause", node)


# The packets that a node exchanges with the others; pods on it still reach each other, and `docker exec` needs no network.
_PASSING = ("INPUT -i", "OUTPUT -o", "FORWARD -i", "FORWARD -o")
_DEVICE = "device=$(ip -4 route show default | awk '{print $5; exit}')"
_DROP = "\"$device\" -m comment --comment rrs-cut-off -j DROP"


@contextlib.contextmanager
def cut_off(node):
    """Every packet between the node and the others is lost within the block, and nobody is told."""
    try:
        on_node(node, "; ".join([_DEVICE, *(f"iptables -I {where} {_DROP}" for where in _PASSING)]))
        yield
    finally:
        join(node)


def join(node):
    """Ends what `cut_off` has begun, if anything."""
    ends = (f"while iptables -D {where} {_DROP} 2>/dev/null; do :; done" for where in _PASSING)
    on_node(node, "; ".join([_DEVICE, *ends]))


def mend_all():
    """Runs and joins every node of the cluster that an earlier run left frozen or cut off."""
    named = ("--filter", f"name=^{NODE_PREFIX}-")
    paused = run(DOCKER, "ps", "-q", "--filter", "status=paused", *named).stdout.split()
    if paused:
        run(DOCKER, "unpause", *paused)
    for node in run(DOCKER, "ps", "-q", *named).stdout.split():
        join(node)


def workers():
    """Names of the nodes that pods may run on."""
    return [node["metadata"]["name"] for node in items("nodes", None, "!node-role.kubernetes.io/control-plane")]


class Operator:
    """The operator's Deployment."""

    @staticmethod
    def _scale(replicas):
        kubectl("-n", SYSTEM, "scale", "deployment", RELEASE, f"--replicas={replicas}")

    @staticmethod
    def pods():
        return items("pods", SYSTEM, f"app.kubernetes.io/name={RELEASE}")

    @classmethod
    @contextlib.contextmanager
    def stopped(cls):
        """There is no operator within the block."""
        before = get("deployments", RELEASE, SYSTEM)["spec"]["replicas"]
        cls._scale(0)
        try:
            until("the operator's pods are gone", lambda: not cls.pods(), 60, poll=0.3)
            yield
        finally:
            cls._scale(before)
            cls.wait_ready()

    @classmethod
    def wait_ready(cls):
        kubectl("-n", SYSTEM, "rollout", "status", "deployment", RELEASE, "--timeout=120s", timeout=130)

    @classmethod
    def lead_from(cls, node):
        """Starts the operator anew such that the one who works is on this node."""
        others = [name for name in workers() if name != node]
        with cls.stopped():
            kubectl("cordon", *others)
            try:
                cls._scale(1)
                until(f"an operator on {node} works", lambda: cls.leader()["spec"]["nodeName"] == node, 60)
            finally:
                kubectl("uncordon", *others)

    @classmethod
    def leader(cls):
        """The pod that works; the others wait for its Lease to run out."""
        def probe():
            holder = get("leases", RELEASE, SYSTEM)["spec"].get("holderIdentity")
            return next((pod for pod in cls.pods() if pod["metadata"]["name"] == holder), None)
        return until("an operator holds the Lease", probe, 60)

    @classmethod
    def log(cls, tail=30):
        """What every operator pod said."""
        return "".join(kubectl("-n", SYSTEM, "logs", pod["metadata"]["name"], f"--tail={tail}", check=False)
                       for pod in cls.pods())


class Namespace:
    """A namespace of its own for a test, and the RedisReplicaSets in it."""

    def __init__(self, hint):
        self.name = f"e2e-{hint}-{uuid.uuid4().hex[:5]}"
        kubectl("create", "namespace", self.name)

    def delete(self):
        """Deletes everything in it, the volumes too, and waits until it is gone."""
        kubectl("-n", self.name, "delete", RRS, "--all", f"--timeout={DELETE_S}s", timeout=DELETE_S + 10, check=False)
        kubectl("delete", "namespace", self.name, f"--timeout={DELETE_S}s", timeout=DELETE_S + 10)

    def kubectl(self, *arguments, **options):
        return kubectl("-n", self.name, *arguments, **options)

    def apply(self, *objects, dry_run=False):
        """Server-side validation with unknown fields refused; raises Refused with the server's message."""
        arguments = ["apply", "--validate=strict", "-f", "-"] + (["--dry-run=server"] if dry_run else [])
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        done = run("kubectl", "--context", CONTEXT, "-n", self.name, *arguments, stdin=text, check=False)
        if done.returncode:
            raise Refused(done.stderr)

    def instance(self, name, spec):
        """Applies a RedisReplicaSet."""
        instance = Instance(self, name)
        instance.apply(spec)
        return instance


class Instance:
    """One RedisReplicaSet."""

    def __init__(self, namespace, name):
        self.namespace = namespace
        self.name = name
        self._password = None

    # The resource.

    def resource(self, spec):
        return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "RedisReplicaSet", "metadata": {"name": self.name}, "spec": spec}

    def apply(self, spec, dry_run=False):
        self.namespace.apply(self.resource(spec), dry_run=dry_run)

    def patch(self, spec):
        """Merges into the spec; raises Refused with the server's message."""
        done = run("kubectl", "--context", CONTEXT, "-n", self.namespace.name, "patch", RRS, self.name, "--type=merge",
                   "-p", json.dumps({"spec": spec}), check=False)
        if done.returncode:
            raise Refused(done.stderr)

    def get(self):
        return get("redisreplicasets", self.name, self.namespace.name)

    @property
    def spec(self):
        return self.get()["spec"]

    def conditions(self):
        return {one["type"]: one for one in self.get().get("status", {}).get("conditions", [])}

    def wait_condition(self, kind, status="True", text="", timeout=READY_S):
        """Waits for a condition of this generation whose reason and message contain `text`."""
        def probe():
            resource = self.get()
            for one in resource.get("status", {}).get("conditions", []):
                if (one["type"], one["status"]) == (kind, status) and text in f"{one['reason']}: {one['message']}":
                    if resource["status"].get("observedGeneration") == resource["metadata"]["generation"]:
                        return one
            return None
        return self.explained(f"{self.name}: condition {kind}={status} {text}", probe, timeout)

    def wait_reached(self, timeout=READY_S):
        """Waits until what was asked for is there: ready, nothing under way, nothing missing, every pod in place."""
        def probe():
            resource = self.get()
            status = resource.get("status", {})
            now = {one["type"]: one["status"] for one in status.get("conditions", [])}
            wanted = {"Ready": "True", "Progressing": "False", "Degraded": "False", "DataAtRisk": "False"}
            return (status.get("observedGeneration") == resource["metadata"]["generation"]
                    and all(now.get(kind) == value for kind, value in wanted.items()))
        self.explained(f"{self.name}: everything is as asked for", probe, timeout)

    def explained(self, what, probe, timeout):
        """Waits as `until`; a failure shows everything a person would look at."""
        try:
            return until(what, probe, timeout, poll=0.2, ignore=(ApiError,))
        except NotReached as error:
            raise NotReached(f"{error}\n{self.explain()}") from None

    def explain(self):
        """Everything a person would look at."""
        parts = []
        for command in (("get", RRS, self.name, "-o", "yaml"), ("get", "pods,pvc,endpointslices", "-o", "wide"),
                        ("get", "events", "--sort-by=.lastTimestamp")):
            text = self.namespace.kubectl(*command, check=False)
            parts.append(f"--- {' '.join(command)}\n" + "\n".join(text.splitlines()[-60:]))
        for pod in self.pods():
            name = pod["metadata"]["name"]
            for previous in ((), ("--previous",)):
                text = self.namespace.kubectl("logs", name, "--tail=15", *previous, check=False)
                if text:
                    parts.append(f"--- logs {name} {' '.join(previous)}\n{text}")
        parts.append(f"--- operator\n{Operator.log()}")
        return "\n".join(parts)

    def delete(self):
        self.namespace.kubectl("delete", RRS, self.name, f"--timeout={DELETE_S}s", timeout=DELETE_S + 10)

    def wait_pods_gone(self):
        self.explained(f"{self.name}: all pods are gone", lambda: not self.pods(), DELETE_S)

    def events(self):
        return [event for event in items("events", self.namespace.name)
                if event["involvedObject"]["name"] == self.name]

    # Its parts.

    @property
    def password(self):
        if self._password is None:
            secret = get("secrets", f"{self.name}-auth", self.namespace.name)
            self._password = base64.b64decode(secret["data"]["password"]).decode()
        return self._password

    def pods(self, **labels):
        """Pods by labels: shard=0, role="master"; every pod of the resource without any."""
        selector = ",".join([f"{GROUP}/name={self.name}", *(f"{GROUP}/{key}={value}" for key, value in labels.items())])
        return items("pods", self.namespace.name, selector)

    def pod(self, name):
        return get("pods", name, self.namespace.name)

    def data_pods(self, shard=None):
        """Names of the data pods, of one shard or of all."""
        names = [pod["metadata"]["name"] for pod in self.pods() if f"{GROUP}/shard" in pod["metadata"]["labels"]]
        return sorted(name for name in names if shard is None or name.startswith(f"{self.name}-{shard}-"))

    def sentinel_pods(self):
        return [f"{self.name}-sentinel-{n}" for n in range(self.spec["sentinels"])]

    def host(self, pod):
        """The name by which a member is known."""
        return f"{pod}.{self.name}-nodes.{self.namespace.name}.svc.cluster.local"

    def service(self, suffix=""):
        return f"{self.name}{suffix}.{self.namespace.name}.svc.cluster.local"

    def endpoints(self, suffix=""):
        """IPs of the ready endpoints behind a Service."""
        slices = items("endpointslices", self.namespace.name, f"kubernetes.io/service-name={self.name}{suffix}")
        return {address for one in slices for endpoint in one.get("endpoints") or [] if endpoint["conditions"].get("ready")
                for address in endpoint["addresses"]}

    # Clients.

    def connect(self, host, port=REDIS_PORT, **options):
        return redis.Redis(host, port, **{**TIMEOUTS, "password": self.password, "decode_responses": True, **options})

    def client(self, **options):
        """A client through the Service for writes."""
        return self.connect(self.service(), **options)

    def reader(self, **options):
        """A client through the Service for reads."""
        return self.connect(self.service("-replicas"), **options)

    def member(self, pod, **options):
        """A client of one member."""
        return self.connect(self.host(pod), **options)

    def sentinel(self, pod, **options):
        """A client of one sentinel."""
        return self.connect(self.host(pod), SENTINEL_PORT, **options)

    def discovery(self):
        """redis-py's Sentinel, with the sentinels' own names."""
        hosts = [(self.host(pod), SENTINEL_PORT) for pod in self.sentinel_pods()]
        return Sentinel(hosts, sentinel_kwargs={**TIMEOUTS, "password": self.password}, password=self.password,
                        decode_responses=True, **TIMEOUTS)

    def cluster_client(self, **options):
        """redis-py's RedisCluster."""
        nodes = [ClusterNode(self.host(pod), REDIS_PORT) for pod in self.data_pods()]
        return RedisCluster(startup_nodes=nodes, password=self.password, decode_responses=True, socket_timeout=1.0,
                            socket_connect_timeout=0.5, **options)

    # Who is master.

    def master_name(self, shard=0):
        """Name of a shard's master for the sentinels."""
        return self.name if self.spec["masters"] == 1 else f"{self.name}-{shard}"

    def master(self, shard=0):
        """Pod that the status names as master."""
        return self.get()["status"]["shards"][shard]["master"]

    def epoch(self, shard=0):
        return self.get()["status"]["shards"][shard]["epoch"]

    def roles(self, shard=0):
        """What each data pod says itself: {pod: (role, master's host or None)}; absent where it does not answer."""
        found = {}
        for pod in self.data_pods(shard):
            with contextlib.suppress(*PROBLEMS), self.member(pod) as client:
                role = client.role()
                found[pod] = (role[0], None if role[0] == "master" else role[1])
        return found

    def agreed_master(self, shard=0):
        """The master, if members, labels, Services, sentinels and status all agree on it; else AssertionError says who does not."""
        resource = self.get()
        shard_status = resource["status"]["shards"][shard]
        master = shard_status["master"]
        assert master, f"status names no master: {shard_status}"
        pods = {pod["metadata"]["name"]: pod for pod in self.pods(shard=shard)}
        assert len(pods) == resource["spec"]["replicas"] + 1, f"pods: {sorted(pods)}"
        replicas = sorted(set(pods) - {master})
        labels = {name: pod["metadata"]["labels"].get(f"{GROUP}/role") for name, pod in pods.items()}
        assert labels == {master: "master", **dict.fromkeys(replicas, "replica")}, f"labels: {labels}"
        roles = self.roles(shard)
        host = self.host(master)
        assert roles == {master: ("master", None), **dict.fromkeys(replicas, ("slave", host))}, f"roles: {roles}"
        said = {member["name"]: (member["role"], member["ready"]) for member in shard_status["members"]}
        assert said == {master: ("master", True), **dict.fromkeys(replicas, ("replica", True))}, f"status: {said}"
        if resource["spec"]["masters"] == 1:
            ips = {name: pod["status"].get("podIP") for name, pod in pods.items()}
            assert self.endpoints() == {ips[master]}, f"Service for writes: {self.endpoints()}, pods: {ips}"
            assert self.endpoints("-replicas") == {ips[name] for name in replicas}, f"Service for reads: {ips}"
        for pod in [f"{self.name}-sentinel-{n}" for n in range(resource["spec"]["sentinels"])]:
            name = self.name if resource["spec"]["masters"] == 1 else f"{self.name}-{shard}"
            with self.sentinel(pod) as client:
                assert client.sentinel_get_master_addr_by_name(name) == (host, REDIS_PORT), pod
                known = {one["ip"] for one in client.sentinel_slaves(name)}
                assert known == {self.host(replica) for replica in replicas}, f"{pod} knows {known}"
        return master

    def wait_agreed(self, shard=0, timeout=READY_S):
        """Waits until everybody agrees on the master; its pod."""
        return self.explained(f"{self.name}: all agree on the master of shard {shard}",
                               lambda: self._agreed(shard), timeout)

    def _agreed(self, shard):
        try:
            master = self.agreed_master(shard)
            # The nodes learn of a Service a moment after the pod behind it is Ready. A connection that comes too early is
            # lost for good, since its later packets take the same way: so each try is a new one.
            with self.client(socket_timeout=2, socket_connect_timeout=2) as client:
                client.ping()
            return master
        except (*PROBLEMS, KeyError, IndexError) as error:
            raise AssertionError(repr(error)) from error

    def wait_elected(self, epoch, shard=0, timeout=READY_S):
        """Waits until a member says that it is master at a later epoch than this; its pod. It may be the one that was master
        before, if that has come back in time. Asks the members only, so that it works with the operator down."""
        def probe():
            for pod in self.data_pods(shard):
                with contextlib.suppress(*PROBLEMS), self.member(pod) as client:
                    status = json.loads(client.execute_command("REPLICASET", "STATUS"))
                    if status["role"] == "master" and status["epoch"] > epoch:
                        return pod
            return None
        return self.explained(f"{self.name}: a master after epoch {epoch}", probe, timeout)

    # Harm.

    def node_of(self, pod):
        return self.pod(pod)["spec"]["nodeName"]

    def process(self, pod):
        """(node, pid on that node) of the pod's process."""
        found = self.pod(pod)
        container = found["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        node = found["spec"]["nodeName"]
        pid = on_node(node, f"ctr -n k8s.io tasks ls | awk '$1 == \"{container}\" {{print $2}}'")
        return node, int(pid)

    @contextlib.contextmanager
    def network(self, pod):
        """The pod's network namespace, a file descriptor: nodes are containers of this host."""
        node, pid = self.process(pod)
        init = run(DOCKER, "inspect", "--format", "{{.State.Pid}}", node).stdout.strip()
        namespace = os.open(f"/proc/{init}/root/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield namespace
        finally:
            os.close(namespace)

    def volume(self, pod):
        """(node, directory on that node) of the pod's volume."""
        claim = get("persistentvolumeclaims", f"data-{pod}", self.namespace.name)
        volume = get("persistentvolumes", claim["spec"]["volumeName"])["spec"]
        path = (volume.get("local") or volume["hostPath"])["path"]
        return self.node_of(pod), path

    def kill(self, pod):
        """kill -9 of the pod's process."""
        node, pid = self.process(pod)
        on_node(node, f"kill -9 {pid}")

    def kill_all(self, pods):
        """kill -9 of several pods' processes at the same moment, as near as possible."""
        found = [self.process(pod) for pod in pods]
        commands = [subprocess.Popen([DOCKER, "exec", node, "kill", "-9", str(pid)]) for node, pid in found]
        assert all(command.wait(COMMAND_S) == 0 for command in commands)

    def empty_and_kill(self, pod):
        """Empties the pod's volume and kills its process at once."""
        node, pid = self.process(pod)
        _, path = self.volume(pod)
        assert path.count("/") >= 3, path
        on_node(node, f"kill -STOP {pid}; find {shlex.quote(path)} -mindepth 1 -delete; kill -9 {pid}")

    def delete_pods(self, *pods, force=False):
        options = ["--force", "--grace-period=0"] if force else []
        self.namespace.kubectl("delete", "pod", *pods, "--wait=false", *options)

    def logs(self, pod, *arguments, **options):
        return self.namespace.kubectl("logs", pod, *arguments, **options)
