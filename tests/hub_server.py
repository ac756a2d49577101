"""A hub on this machine that speaks what huggingface_hub asks, and misbehaves when it is told to.

    with Hub() as hub:
        commit = hub.push("org/name", folder)
        hub.cut("model.safetensors", after=1000)

Files that a real hub keeps outside git, weights above all, are redirected to another origin, as to its CDN.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from threading import Event, Thread
from urllib.parse import unquote, urlsplit

_LARGE = (".safetensors", ".bin")


@dataclass(frozen=True)
class Request:
    """What was asked, and how many bytes of a body were sent."""

    method: str
    path: str
    range: str | None
    token: str | None
    sent: int


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path holds `path`."""

    path: str
    method: str
    times: int
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = None  # bytes that are sent before the connection is closed, or rests
    rests: bool = False
    length: int | None = None  # what is sent, and announced, instead of the whole
    content: bytes | None = None


class Hub:
    """Repositories by id: their commits, and the commits that branches and tags stand for."""

    def __init__(self):
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.private: dict[str, str] = {}  # the token that opens a repository
        self.log: list[Request] = []
        self.connections: list[socket] = []
        self.faults: list[Fault] = []
        self.resting, self._released = Event(), Event()

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.cdn = f"http://localhost:{self._server.server_port}/cdn"
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:  # which a client would keep for its next request
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)

    def push(self, repo: str, folder: Path | dict[str, bytes], ref: str = "main") -> str:
        """A new commit of what the folder holds, for which `ref` stands from now on."""
        files = folder if isinstance(folder, dict) else _files(folder)
        commit = sha1(json.dumps({name: sha256(data).hexdigest() for name, data in files.items()}).encode()).hexdigest()
        self.commits.setdefault(repo, {})[commit] = files
        self.refs.setdefault(repo, {})[ref] = commit
        return commit

    def fail(self, path: str, status: int, times: int = 1, method: str = "", **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(path, method, times, status, named))

    def cut(self, path: str, after: int, times: int = 1, rests: bool = False):
        self.faults.append(Fault(path, "GET", times, after=after, rests=rests))

    def shorten(self, path: str, length: int, times: int = 1):
        self.faults.append(Fault(path, "GET", times, length=length))

    def spoil(self, path: str, content: bytes, times: int = 1):
        self.faults.append(Fault(path, "GET", times, content=content))

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            has_body = fault.status or "/resolve/" not in path  # files of weights are redirected from there
            if fault.times and fault.path in path and fault.method in ("", method) and has_body:
                fault.times -= 1
                return fault
        return None

    def bodies(self, name: str) -> list[Request]:
        """The requests that a file's bytes were asked for with, from the CDN where it lies there."""
        return [one for one in self.log if one.method == "GET" and one.path.endswith("/" + name) and one.sent]


def _files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.hub.connections.append(self.connection)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.sent, fault = 0, self.hub.fault(self.command, path)
        try:
            if fault and fault.status:
                self._say(fault.status, b"<html></html>", fault.headers)
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
                self._describe(match[1], match[2] or "revision", match[3] or "main")
            elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", path):
                self._send(self.hub.commits[match[1]][match[2]][match[3]], fault)
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._resolve(match[1], match[2], match[3], fault)
            else:
                self._say(404, b"")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            asked = (self.headers.get("Range"), self.headers.get("Authorization"))
            self.hub.log.append(Request(self.command, path, *asked, self.sent))

    def _commit(self, repo, revision):
        """The commit that is meant, or None after the refusal that a real hub gives."""
        token = self.hub.private.get(repo)
        if repo not in self.hub.commits or (token and self.headers.get("Authorization") != f"Bearer {token}"):
            self._say(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision in self.hub.commits[repo]:
            return revision
        elif revision in self.hub.refs[repo]:
            return self.hub.refs[repo][revision]
        else:
            self._say(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return None

    def _describe(self, repo, what, revision):
        if (commit := self._commit(repo, revision)) is None:
            return
        if what == "revision":
            self._say(200, json.dumps({"id": repo, "sha": commit, "siblings": []}).encode())
            return
        entries = [_entry(name, content) for name, content in self.hub.commits[repo][commit].items()]
        self._say(200, json.dumps(entries).encode())

    def _resolve(self, repo, revision, name, fault):
        if (commit := self._commit(repo, revision)) is None:
            return
        content = self.hub.commits[repo][commit].get(name)
        told = {"X-Repo-Commit": commit}
        if content is None:
            self._say(404, b"{}", told | {"X-Error-Code": "EntryNotFound"})
        elif name.endswith(_LARGE):
            linked = {"X-Linked-Etag": f'"{sha256(content).hexdigest()}"', "X-Linked-Size": str(len(content))}
            self._say(302, b"", told | linked | {"Location": f"{self.hub.cdn}/{repo}/{commit}/{name}"})
        else:
            self._send(content, fault, told | {"ETag": f'"{_git_id(content)}"'})

    def _say(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send(self, content, fault, headers=None):
        whole = fault.content if fault and fault.content else content
        first, last = 0, len(whole) - 1
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(asked[1]), min(int(asked[2] or last), last)
        body = whole[first : last + 1]
        if fault and fault.length is not None:
            body = body[: fault.length]
        self.send_response(206 if asked else 200)
        told = {"Content-Range": f"bytes {first}-{last}/{len(whole)}"} if asked else {}
        for name, value in {"Content-Length": str(len(body)), **told, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.after is not None:
            body, self.close_connection = body[: fault.after], True
        self.wfile.write(body)
        self.sent = len(body)
        if fault and fault.rests:
            self.hub.resting.set()
            self.hub._released.wait(60)

    def log_message(self, *_):
        pass


def _entry(name, content):
    entry = {"type": "file", "path": name, "size": len(content), "oid": _git_id(content)}
    large = {"lfs": {"oid": sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
    return entry | (large if name.endswith(_LARGE) else {})


def _git_id(content):
    return sha1(b"blob %d\0" % len(content) + content).hexdigest()
