"""A Hub on loopback, as much of it as the client asks for, and its faults.

Written from what `huggingface_hub` sends; nothing is kept on the disk.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
API = re.compile(
    r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch|revision)/(.+)"
)
BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
OBJECT = re.compile(r"/lfs/([0-9a-f]{64})")
XET_TOKEN = "/api/models/xet-read-token"
PIECE = 1 << 18


class Repository:
    """Commits of files by name; branches and tags are names of commits."""

    def __init__(self, private=False):
        self.private = private
        self.commits = {}
        self.branches = {}
        self.proposals = 0
        self.commit({".gitattributes": b""}, "main")

    def commit(self, files, branch):
        before = self.commits.get(self.branches.get(branch), {})
        files = before | files
        text = repr((sorted(files), len(self.commits)))
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def find(self, revision):
        oid = self.branches.get(revision, revision)
        return oid if oid in self.commits else None


class Hub(http.server.ThreadingHTTPServer):
    """The server; `faults` maps (method, end of the path) to a fault.

    A fault is a tuple of a status, an error code and a `Retry-After`, of which
    the last may be missing, or one of `"close"`, `"cut"`, `"flip"`, `"hang"`,
    `"slow"`, `"stall"`, or a function of the handler, which answers in its own
    way; a list of faults is played once. Files whose names end
    in one of `large` are stored apart, by their SHA-256; those in one of `xet`
    are said to be in Xet, which is not there. `pause` are the
    seconds for which the server rests before each piece of what is sent to it,
    or of what it sends slowly. `etag` names a file by its content, and
    `commit` a commit by its hash, or not where it is `None`.
    """

    daemon_threads = True
    token = "hf_secret_of_the_tests"
    etag = staticmethod(lambda content: git_hash(content))
    commit = staticmethod(lambda oid: oid)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = {}
        self.faults = {}
        self.large = ()
        self.xet = ()
        self.objects = {}
        self.pause = 0.0
        self.requests = []
        self.released = threading.Event()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, method, path):
        for (wanted, end), fault in self.faults.items():
            if wanted == method and path.endswith(end):
                if isinstance(fault, list):
                    return fault.pop(0) if fault else None
                return fault
        return None


@contextlib.contextmanager
def serve():
    """Yields a running `Hub`."""
    with Hub() as hub:
        # It asks so often, in seconds, whether to stop.
        often = {"poll_interval": 0.01}
        threading.Thread(
            target=hub.serve_forever, kwargs=often, daemon=True
        ).start()
        try:
            yield hub
        finally:
            hub.released.set()
            hub.shutdown()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else each body waits 40 ms for the client to acknowledge the headers.
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.handle_file()

    def do_GET(self):
        self.handle_file()

    def read_body(self):
        length = int(self.headers.get("Content-Length", 0))
        pieces = []
        for first in range(0, length, PIECE):
            self.server.released.wait(self.server.pause)
            pieces.append(self.rfile.read(min(PIECE, length - first)))
        self.body = b"".join(pieces)

    def do_PUT(self):
        self.read_body()
        path = self.begin()
        if path is None:
            return
        oid = OBJECT.fullmatch(path)[1]
        if hashlib.sha256(self.body).hexdigest() != oid:
            self.refuse(400)
            return
        self.server.objects[oid] = self.body
        self.send_json({})

    def do_POST(self):
        self.read_body()
        path = self.begin()
        if path is None:
            return
        if path == "/api/repos/create":
            self.create()
            return
        if path == "/api/validate-yaml":
            self.validate()
            return
        if path == "/lfs/verify":
            known = json.loads(self.body)["oid"] in self.server.objects
            self.send_json({}, 200 if known else 404)
            return
        match = BATCH.fullmatch(path)
        if match is not None:
            self.batch()
            return
        match = API.fullmatch(path)
        if match is None:
            self.refuse(404)
            return
        repository = self.find(match[1])
        if repository is not None:
            getattr(self, match[2])(repository, match[1], match[3])

    def begin(self):
        """Returns the path, or plays the fault that is set for it."""
        self.query = urllib.parse.urlsplit(self.path).query
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        self.played = self.server.fault(self.command, path)
        if self.played == "hang":
            self.server.released.wait(60)
            self.close_connection = True
            return None
        if self.played == "close":
            self.close_connection = True
            return None
        if isinstance(self.played, tuple):
            self.refuse(*self.played)
            return None
        if callable(self.played):
            self.played(self)
            return None
        return path

    def answer(self, status, body=b"", headers=()):
        """Sends an answer that is the caller's to the last byte."""
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stored(self):
        """Returns the commit and the content of the file that is asked for."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        match = RESOLVE.fullmatch(path)
        repository = self.server.repositories[match[1]]
        oid = repository.find(match[2])
        return oid, repository.commits[oid][match[3]]

    def refuse(self, status, code=None, seconds=None):
        self.send_response(status)
        # Of the page that says so, as some servers have it.
        self.send_header("ETag", 'W/"f-a/b"')
        if code is not None:
            self.send_header("X-Error-Code", code)
        if seconds is not None:
            self.send_header("Retry-After", str(seconds))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def is_known(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return token == self.server.token

    def name(self):
        if self.is_known():
            self.send_json({"type": "user", "name": "owner"})
        else:
            self.refuse(401)

    def find(self, repo_id):
        repository = self.server.repositories.get(repo_id)
        if repository is None or (
            (repository.private or self.command == "POST")
            and not self.is_known()
        ):
            self.refuse(401, "RepoNotFound")
            return None
        return repository

    def handle_file(self):
        path = self.begin()
        if path is None:
            return
        if path == "/api/whoami-v2":
            self.name()
            return
        match = API.fullmatch(path)
        if match is not None:
            repository = self.find(match[1])
            if repository is not None:
                oid = repository.find(match[3])
                self.send_json({"id": match[1], "sha": oid})
            return
        match = RESOLVE.fullmatch(path)
        repository = self.find(match[1]) if match else self.refuse(404)
        if repository is None:
            return
        oid = repository.find(match[2])
        if oid is None:
            self.refuse(404, "RevisionNotFound")
        elif match[3] not in repository.commits[oid]:
            self.refuse(404, "EntryNotFound")
        else:
            self.send_file(oid, repository.commits[oid][match[3]])

    def send_file(self, oid, content):
        first = 0
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if ranged:
            first = int(ranged[1])
        self.send_response(206 if ranged else 200)
        self.send_names(oid, content)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_place_in_xet(content)
        if ranged:
            last = f"{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", f"bytes {first}-{last}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.played in ("cut", "stall"):
            self.close_connection = True
            content = content[: len(content) // 2]
        if self.played == "flip":
            middle = len(content) // 2
            changed = bytes([content[middle] ^ 1])
            content = content[:middle] + changed + content[middle + 1 :]
        if self.played == "slow":
            self.send_slowly(content[first:])
            return
        self.wfile.write(content[first:])
        if self.played == "stall":
            self.server.released.wait(60)

    def send_names(self, oid, content):
        if self.server.commit is not None:
            self.send_header("X-Repo-Commit", self.server.commit(oid))
        self.send_header("ETag", f'"{self.server.etag(content)}"')

    def send_place_in_xet(self, content):
        if self.path.endswith(self.server.xet):
            place = f"{self.server.endpoint}{XET_TOKEN}"
            digest = hashlib.sha256(content).hexdigest()
            self.send_header("X-Xet-Hash", digest)
            self.send_header("X-Xet-Refresh-Route", place)

    def send_slowly(self, content, num_pieces=8):
        size = -(-len(content) // num_pieces)
        for first in range(0, len(content), size):
            self.server.released.wait(self.server.pause)
            self.wfile.write(content[first : first + size])

    def send_json(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def create(self):
        wanted = json.loads(self.body)
        owner = wanted.get("organization") or "owner"
        repo_id = f"{owner}/{wanted['name']}"
        if not self.is_known():
            self.refuse(401)
            return
        new = repo_id not in self.server.repositories
        if new:
            private = wanted.get("visibility") == "private"
            private = private or bool(wanted.get("private"))
            self.server.repositories[repo_id] = Repository(private)
        answer = {"url": f"{self.server.endpoint}/{repo_id}"}
        self.send_json(answer, 200 if new else 409)

    def branch(self, repository, repo_id, name):
        if name in repository.branches:
            self.refuse(409)
            return
        repository.branches[name] = repository.branches["main"]
        self.send_json({})

    def preupload(self, repository, repo_id, revision):
        before = repository.commits.get(repository.find(revision), {})
        self.send_json(
            {
                "files": [
                    self.upload_mode(file["path"], before)
                    for file in json.loads(self.body)["files"]
                ]
            }
        )

    def upload_mode(self, name, before):
        large = name.endswith(self.server.large)
        answer = {
            "path": name,
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
        }
        if name in before:
            digest = hashlib.sha256(before[name]).hexdigest()
            answer["oid"] = digest if large else git_hash(before[name])
        return answer

    def batch(self):
        self.send_json(
            {
                "transfer": "basic",
                "objects": [
                    self.actions(file)
                    for file in json.loads(self.body)["objects"]
                ],
            }
        )

    def actions(self, file):
        if file["oid"] in self.server.objects:
            return file
        place = f"{self.server.endpoint}/lfs"
        upload = {"href": f"{place}/{file['oid']}", "header": {}}
        verify = {"href": f"{place}/verify", "header": {}}
        return file | {"actions": {"upload": upload, "verify": verify}}

    def validate(self):
        card = json.loads(self.body)["content"]
        if "\nlicense: \n" in card:
            wrong = [{"message": '"license" must be a string'}]
            self.send_json({"errors": wrong, "warnings": []}, 400)
        else:
            self.send_json({"errors": [], "warnings": []})

    def commit(self, repository, repo_id, revision):
        lines = [json.loads(line) for line in self.body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        files |= {
            line["value"]["path"]: self.server.objects[line["value"]["oid"]]
            for line in lines
            if line["key"] == "lfsFile"
        }
        answer = {}
        if "create_pr=1" in self.query:
            repository.proposals += 1
            number = repository.proposals
            page = f"{self.server.endpoint}/{repo_id}/discussions/{number}"
            answer["pullRequestUrl"] = page
            revision = f"refs/pr/{number}"
        oid = repository.commit(files, revision)
        answer["commitOid"] = oid
        answer["commitUrl"] = f"{self.server.endpoint}/{repo_id}/commit/{oid}"
        self.send_json(answer)


def git_hash(content):
    """The name that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
