"""A stand-in for W&B's API on the loopback interface: it answers the unmodified client, and keeps what it gets.

There is no W&B server that could run here. It answers the GraphQL operations of runs, files and artifacts, takes
uploads by PUT and the stream of a run's files, and can be told to fail for a while.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

KEY = "0123456789abcdef0123456789abcdef01234567"


class Bucket:
    """What the server has of one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.history: dict[int, str] = {}
        self.console: dict[int, str] = {}
        self.events: dict[int, str] = {}
        self.summary = "{}"
        self.config = "{}"
        self.variables: dict[str, Any] = {}
        self.exitcode: int | None = None
        self.complete = False

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for _, line in sorted(self.history.items())]


class Api:
    """The state of the server."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.uploads: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.alerts: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, Any]] = []
        self.authorized: set[str] = set()
        self.refuse = 0
        self.answers = threading.Event()
        self.answers.set()
        self.lock = threading.Lock()

    def graphql(self, operation: str, variables: dict[str, Any], base: str) -> dict[str, Any]:
        self.operations.append(operation)
        answer = getattr(self, f"_{operation}", None)
        return answer(variables, base) if answer else {}

    def _Viewer(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": "me"}}]}
        return {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": teams}}

    def _ServerFeaturesQuery(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _UpsertBucket(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        name = variables.get("name") or "unnamed"
        inserted = name not in self.buckets
        bucket = self.buckets.setdefault(name, Bucket(name))
        bucket.variables |= {key: value for key, value in variables.items() if value is not None}
        bucket.config = variables.get("config") or bucket.config
        if variables.get("summaryMetrics"):
            bucket.summary = variables["summaryMetrics"]
        project = {"id": "p1", "name": variables.get("project") or "p", "entity": {"id": "e1", "name": "me"}}
        return {
            "upsertBucket": {
                "bucket": {
                    "id": f"id-{name}",
                    "name": name,
                    "displayName": bucket.variables.get("displayName") or name,
                    "description": "",
                    "config": bucket.config,
                    "sweepName": None,
                    "project": project,
                    "historyLineCount": len(bucket.history),
                },
                "inserted": inserted,
            }
        }

    def _RunResumeStatus(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        bucket = self.buckets.get(variables.get("name") or variables.get("runId") or "")
        if bucket is None:
            return {"model": {"id": "p1", "name": "p", "entity": {"id": "e1", "name": "me"}, "bucket": None}}
        lines = [line for _, line in sorted(bucket.history.items())]
        found = {
            "id": f"id-{bucket.name}",
            "name": bucket.name,
            "summaryMetrics": bucket.summary,
            "displayName": bucket.name,
            "logLineCount": len(bucket.console),
            "historyLineCount": len(lines),
            "eventsLineCount": len(bucket.events),
            "historyTail": json.dumps(lines[-1:]),
            "eventsTail": "[]",
            "config": bucket.config,
            "tags": bucket.variables.get("tags") or [],
            "wandbConfig": "{}",
        }
        return {"model": {"id": "p1", "name": "p", "entity": {"id": "e1", "name": "me"}, "bucket": found}}

    def _CreateRunFiles(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{base}/upload/{variables['run']}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _NotifyScriptableRunAlert(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        self.alerts.append(variables)
        return {"notifyScriptableRunAlert": {"success": True}}

    def _CreateArtifact(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        given = variables.get("input", variables)
        number = len(self.artifacts)
        self.artifacts.append({**given, "committed": False})
        sequence = {"id": f"s{number}", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": f"a{number}", "state": "PENDING", "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        name = f"manifest/{variables.get('artifactID')}"
        file = {
            "id": f"f-{name}",
            "name": variables.get("fileName", "wandb_manifest.json"),
            "displayName": "wandb_manifest.json",
            "uploadUrl": f"{base}/upload/{name}",
            "uploadHeaders": [],
            "artifact": {"id": variables.get("artifactID")},
        }
        manifest = {"id": f"m-{variables.get('artifactID')}", "file": file}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _CreateArtifactFiles(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        specs = variables.get("artifactFiles") or variables.get("input", {}).get("artifactFiles", [])
        edges = [
            {
                "node": {
                    "id": f"af-{spec['artifactID']}-{spec['name']}",
                    "name": spec["name"],
                    "displayName": spec["name"],
                    "uploadUrl": f"{base}/upload/artifact/{spec['artifactID']}/{spec['name']}",
                    "uploadHeaders": [],
                    "storagePath": f"artifact/{spec['artifactID']}/{spec['name']}",
                    "artifact": {"id": spec["artifactID"]},
                    "uploadMultipartUrls": None,
                }
            }
            for spec in specs
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        number = int(variables["artifactID"][1:])
        self.artifacts[number]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "d"}}}

    def _ArtifactType(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        of_that_name = [a for a in self.artifacts if a["artifactCollectionName"] == variables["name"].partition(":")[0]]
        if not of_that_name:
            return {"project": {"artifact": None}}
        return {"project": {"artifact": {"artifactType": {"name": of_that_name[0]["artifactTypeName"]}}}}

    def _UseArtifact(self, variables: dict[str, Any], base: str) -> dict[str, Any]:
        number = int(variables["input"]["artifactID"][1:])
        self.artifacts[number]["used_by"] = variables["input"]["runName"]
        return {"useArtifact": {"artifact": {"id": f"a{number}"}}}

    def stream(self, name: str, body: dict[str, Any]) -> None:
        bucket = self.buckets.setdefault(name, Bucket(name))
        kept = {
            "wandb-history.jsonl": bucket.history,
            "output.log": bucket.console,
            "wandb-events.jsonl": bucket.events,
        }
        for file, chunk in (body.get("files") or {}).items():
            lines = chunk.get("content") or []
            if file == "wandb-summary.json":
                bucket.summary = lines[-1] if lines else bucket.summary
            elif file in kept:
                for index, line in enumerate(lines, start=int(chunk.get("offset", 0))):
                    kept[file][index] = line
        if body.get("complete"):
            bucket.complete, bucket.exitcode = True, body.get("exitcode")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def do_POST(self) -> None:
        body = self._body()
        self.api.answers.wait()
        with self.api.lock:
            if self.api.refuse > 0:
                self.api.refuse -= 1
                self._answer(503, {"error": "try again"})
                return
            self._note_login()
            if self.path.startswith("/graphql"):
                asked = json.loads(body)
                match = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                base = f"http://127.0.0.1:{self.server.server_address[1]}"
                answer = self.api.graphql(match[1] if match else "", asked.get("variables") or {}, base)
                self._answer(200, {"data": answer})
            elif match := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
                self.api.stream(match[1], json.loads(body))
                self._answer(200, {"exitcode": None, "limits": {}})
            else:
                self._answer(404, {})

    def do_PUT(self) -> None:
        body = self._body()
        with self.api.lock:
            self.api.uploads[self.path.removeprefix("/upload/")] = body
        self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(404, {})

    def _note_login(self) -> None:
        scheme, _, code = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            self.api.authorized.add(base64.b64decode(code).decode())

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        return body

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error."""


@contextmanager
def serve() -> Iterator[tuple[str, Api]]:
    """Run the server; gives its address and what it keeps."""
    api = Api()
    handler = type("Handler", (_Handler,), {"api": api})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", api
        finally:
            api.answers.set()
            server.shutdown()


@contextmanager
def serve_client(home: Path) -> Iterator[Api]:
    """Run the server, and send W&B's client to it; nothing of the user's own settings is read."""
    with pytest.MonkeyPatch.context() as patch, serve() as (address, api):
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("WANDB_BASE_URL", address)
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("HOME", str(home))
        yield api
