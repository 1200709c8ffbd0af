"""Reads of the Kubernetes API over one kept connection: a kubectl process for each of the many polls would take the CPU from
what is measured. Everything that changes something goes through kubectl, as people do it."""

import base64
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import threading
import urllib.parse

CONTEXT = os.environ.get("RRS_CONTEXT", "kind-rrs")
GROUP = "redis.replicaset.dev"
TIMEOUT_S = 30
RRS = f"redisreplicasets.{GROUP}"

# Path of the API that serves a kind; whether it lives in namespaces.
KINDS = {
    "nodes": ("/api/v1", False), "persistentvolumes": ("/api/v1", False), "pods": ("/api/v1", True), "secrets": ("/api/v1", True),
    "services": ("/api/v1", True), "configmaps": ("/api/v1", True), "events": ("/api/v1", True),
    "persistentvolumeclaims": ("/api/v1", True), "endpointslices": ("/apis/discovery.k8s.io/v1", True),
    "leases": ("/apis/coordination.k8s.io/v1", True), "deployments": ("/apis/apps/v1", True), "statefulsets": ("/apis/apps/v1", True),
    "poddisruptionbudgets": ("/apis/policy/v1", True), "redisreplicasets": (f"/apis/{GROUP}/v1alpha1", True),
    "customresourcedefinitions": ("/apis/apiextensions.k8s.io/v1", False),
}


class ApiError(RuntimeError):
    """The API server refused a read, or did not answer."""


class _Api(threading.local):
    """One connection for each thread, made when it is needed."""

    def __init__(self):
        self._connection = None

    def _connect(self):
        done = subprocess.run(["kubectl", "config", "view", "--raw", "--minify", "-o", "json", "--context", CONTEXT],
                              capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        config = json.loads(done.stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pem.flush()
            context.load_cert_chain(pem.name)
        address = urllib.parse.urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(address.hostname, address.port, context=context, timeout=TIMEOUT_S)

    def read(self, path):
        # A kept connection may have been closed by the server meanwhile: then a new one is tried, once.
        for last in (False, True):
            try:
                if self._connection is None:
                    self._connect()
                self._connection.request("GET", path, headers={"Accept": "application/json"})
                response = self._connection.getresponse()
                body = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                if last:
                    raise ApiError(f"{path}: {error!r}") from error
        if response.status != 200:
            raise ApiError(f"{path}: {response.status} {json.loads(body).get('message', '')}")
        return json.loads(body)


_api = _Api()


def _path(kind, namespace):
    prefix, namespaced = KINDS[kind]
    return f"{prefix}/namespaces/{namespace}/{kind}" if namespaced else f"{prefix}/{kind}"


def get(kind, name, namespace=None):
    """One object. Raises ApiError, where there is none too."""
    return _api.read(f"{_path(kind, namespace)}/{name}")


def items(kind, namespace=None, selector=None):
    """All objects of a kind, by label selector."""
    query = f"?labelSelector={urllib.parse.quote(selector)}" if selector else ""
    return _api.read(_path(kind, namespace) + query)["items"]
