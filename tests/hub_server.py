"""A server on this machine that answers what `huggingface_hub` asks to fetch and publish files."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeAlias

Files: TypeAlias = dict[str, bytes]
"""Contents by name, in one commit."""

RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
COMMIT = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)/commit/main")


class Hub(ThreadingHTTPServer):
    """Repositories in memory. The newest commit is `main`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, Files]] = {}
        """Commits in order, by repository."""
        self.private: set[str] = set()
        """Repositories that were created private."""
        self.fetched: list[str] = []
        """Paths of all requests to read a file's content."""

    @property
    def endpoint(self) -> str:
        """The address, as in HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository: str, files: Files) -> str:
        """Add files to a repository, and return the commit's name."""
        commits = self.repositories.setdefault(repository, {})
        number = f"{repository} {len(commits)}".encode()
        oid = hashlib.sha1(number, usedforsecurity=False).hexdigest()
        commits[oid] = (list(commits.values())[-1] if commits else {}) | files
        return oid


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.0"  # no connection outlives the server

    def do_HEAD(self) -> None:
        self._file()

    def do_GET(self) -> None:
        if not RESOLVE.fullmatch(
            self.path
        ):  # the client asks for some things that it can do without
            return self._error(404, None, "Not found")
        self.server.fetched.append(self.path)
        return self._file()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            repository = f"{wanted['organization']}/{wanted['name']}"
            if wanted["organization"] == "closed":
                return self._error(403, None, "You have no rights here")
            self.server.repositories.setdefault(repository, {})
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.server.private.add(repository)
            return self._json({"url": f"{self.server.endpoint}/{repository}"})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [
                {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names
            ]
            return self._json({"files": modes})
        match = COMMIT.fullmatch(self.path)
        assert match, self.path
        lines = [json.loads(line)["value"] for line in body.splitlines()]
        files = {v["path"]: base64.b64decode(v["content"]) for v in lines if "path" in v}
        oid = self.server.commit(match["repository"], files)
        url = f"{self.server.endpoint}/{match['repository']}/commit/{oid}"
        return self._json({"commitOid": oid, "commitUrl": url})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _file(self) -> None:
        match = RESOLVE.fullmatch(self.path)
        assert match, self.path
        commits = self.server.repositories.get(match["repository"])
        if commits is None:
            return self._error(401, "RepoNotFound", "Repository not found")
        revision = [*commits][-1] if match["revision"] == "main" else match["revision"]
        if revision not in commits:
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        if match["name"] not in commits[revision]:
            return self._error(404, "EntryNotFound", "Entry not found")
        content = commits[revision][match["name"]]
        etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return self._answer(200, content, {"X-Repo-Commit": revision, "ETag": f'"{etag}"'})

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(status, b"", headers)

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A running server without repositories."""
    server = Hub()
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
