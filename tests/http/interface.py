"""A cluster of real nodes with tokens, and what is asked of it over HTTP.

Three masters and a spare node run for as long as this does. The description has to be valid; a journey through all operations has to be
answered as the description says; then schemathesis asks what it can think of; and at the end the cluster has to work as before.
"""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator

HERE = pathlib.Path(__file__).resolve().parent
BINARY = os.environ["LEASEHOLD_BIN"]
MASTERS = ["interface-master-a", "interface-master-b", "interface-master-c"]
SPARE = "interface-spare-node"
# Far beyond what anything takes here; it ends a test that has failed.
FOREVER = 60


def free_ports(count):
    with contextlib.ExitStack() as open_until_all_are_known:
        sockets = [open_until_all_are_known.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def until(what, done):
    """Waits until `done` returns something, and returns that."""
    end = time.monotonic() + FOREVER
    while time.monotonic() < end:
        found = done()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


class Cluster:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        names = [*MASTERS, SPARE]
        ports = free_ports(3 * len(names))
        self.ports = {name: ports[3 * i : 3 * i + 3] for i, name in enumerate(names)}
        self.secret = self.token("ops", "read,lock,force,admin")
        self.reader = self.token("reader", "read")
        self.nodes = {}

    def token(self, name, allow):
        secret = self.folder / f"{name}.token"
        made = subprocess.run(
            [BINARY, "token", name, "--allow", allow, "--secret", str(secret)],
            check=True, capture_output=True, text=True, timeout=FOREVER,
        )
        with open(self.folder / "tokens.toml", "a", encoding="utf-8") as tokens:
            tokens.write(made.stdout)
        return secret.read_text(encoding="utf-8").strip()

    def start(self, name):
        client, peer, http_port = self.ports[name]
        masters = [f"{master}=127.0.0.1:{self.ports[master][1]}" for master in MASTERS]
        replicas = [f"{SPARE}=127.0.0.1:{self.ports[SPARE][1]}"] if name == SPARE else []
        config = self.folder / f"{name}.toml"
        config.write_text(
            f"""
            [node]
            name = "{name}"
            data_dir = "{self.folder / name}"
            [cluster]
            name = "interface"
            masters = {json.dumps(masters)}
            replicas = {json.dumps(replicas)}
            [listen]
            client = "127.0.0.1:{client}"
            peer = "127.0.0.1:{peer}"
            http = "127.0.0.1:{http_port}"
            [auth]
            tokens = "{self.folder / 'tokens.toml'}"
            """,
            encoding="utf-8",
        )
        log = open(self.folder / f"{name}.log", "wb")
        self.nodes[name] = subprocess.Popen([BINARY, "node", "--config", str(config)], stdout=log, stderr=log)

    def end(self):
        for node in self.nodes.values():
            node.terminate()
        for node in self.nodes.values():
            try:
                node.wait(timeout=FOREVER)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()

    def url(self, name):
        return f"http://127.0.0.1:{self.ports[name][2]}"

    def connect(self, name):
        return http.client.HTTPConnection("127.0.0.1", self.ports[name][2], timeout=FOREVER)

    def ask(self, method, path, body=None, name=MASTERS[0], token="ops"):
        connection = self.connect(name)
        try:
            headers = {}
            if token is not None:
                headers["Authorization"] = f"Bearer {self.secret if token == 'ops' else self.reader}"
            if body is not None:
                headers["Content-Type"] = "application/json"
                body = json.dumps(body)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def is_ready(self, name):
        with contextlib.suppress(OSError):
            return self.ask("GET", "/readyz", name=name)[0] == 200
        return False


class Interface:
    """The cluster, with every answer held against the description."""

    def __init__(self, cluster, description):
        self.cluster, self.description = cluster, description
        self.seen = set()

    def described(self, method, path, status, headers, body):
        """Fails unless the description says that this operation may be answered like this."""
        path = path.split("?")[0]
        operation = self.description["paths"][path][method.lower()]
        said = operation["responses"].get(str(status))
        assert said, f"{method} {path} is answered with {status}, which is not described: {body!r}"
        self.seen.add((method, path))
        kind = headers["content-type"].split(";")[0]
        kinds = {kind.split(";")[0]: content for kind, content in said.get("content", {}).items()}
        assert kind in kinds, f"{method} {path} {status}: {kind} is not described: {list(kinds)}"
        for name, header in said.get("headers", {}).items():
            assert not header.get("required") or name in headers, f"{method} {path} {status}: no {name}"
        if kind == "application/json":
            schema = {**kinds[kind]["schema"], "components": self.description["components"]}
            jsonschema.Draft202012Validator(schema).validate(json.loads(body))

    def ask(self, status, method, path, body=None, **how):
        answered, headers, text = self.cluster.ask(method, path, body, **how)
        assert answered == status, f"{method} {path} {body}: {answered} in place of {status}: {text!r}"
        self.described(method, path, answered, headers, text)
        return json.loads(text) if headers["content-type"] == "application/json" else text.decode()

    def watch(self):
        """A stream of events, and what it says while a key is acquired and given up."""
        connection = self.cluster.connect(MASTERS[0])
        headers = {"Authorization": f"Bearer {self.cluster.secret}"}
        connection.request("GET", "/v1/watch?prefix=watched/", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        self.described("GET", "/v1/watch", 200, answer.headers, b"")
        assert answer.headers["x-accel-buffering"] == "no", "proxies would collect events"
        assert answer.headers["cache-control"] == "no-cache"

        def event():
            lines = {}
            while True:
                line = answer.readline().decode().rstrip("\n")
                if not line and "event" in lines:
                    return lines["event"], json.loads(lines["data"])
                name, _, rest = line.partition(": ")
                lines[name] = rest

        assert event() == ("watching", {})
        token = self.ask(200, "POST", "/v1/lock", {"key": "watched/a", "value": "me"})["token"]
        self.ask(200, "POST", "/v1/release", {"key": "watched/a", "token": token})
        notice = {"$ref": "#/components/schemas/NoticeShape", "components": self.description["components"]}
        for name in ("held", "released"):
            said, data = event()
            assert (said, data["token"]) == (name, token), f"{said}: {data}"
            jsonschema.Draft202012Validator(notice).validate(data)
        connection.close()
        for path in ("/v1/watch?prefix=a&prefix_base64=YQ==", "/v1/watch?prefiks=a", "/v1/watch?prefix_base64=%FF"):
            self.ask(400, "GET", path)
        self.ask(401, "GET", "/v1/watch", token=None)

    def life_of_a_key(self):
        locked = self.ask(200, "POST", "/v1/lock", {"key": "job", "value": "me", "meta": {"a": "b"}, "ttl": "1m"})
        token = locked["token"]
        self.ask(409, "POST", "/v1/lock", {"key": "job", "value": "you"})
        self.ask(408, "POST", "/v1/lock", {"key": "job", "value": "you", "wait": "100ms"})
        assert self.ask(200, "GET", "/v1/get?key=job")["holder"]["token"] == token
        assert self.ask(200, "GET", "/v1/get?key_base64=am9i&local=true")["key"] == "job"
        assert self.ask(200, "GET", "/v1/wait?key=job&timeout=5s")["held"]
        self.ask(408, "GET", "/v1/wait?key=job&released=true&timeout=100ms")
        self.ask(200, "GET", "/v1/waiters?key=job")
        self.ask(200, "GET", f"/v1/fence/check?key=job&token={token}")
        self.ask(409, "GET", f"/v1/fence/check?key=job&token={token - 1}")
        self.ask(200, "POST", "/v1/extend", {"key": "job", "token": token, "value": "me", "ttl": "2m"})
        self.ask(200, "POST", "/v1/update", {"key": "job", "old": "me", "value_base64": "/w=="})
        listed = self.ask(200, "GET", "/v1/list?prefix=job&most=10")
        assert [held["holder"]["value_base64"] for held in listed["held"]] == ["/w=="]
        self.ask(503, "GET", "/v1/list?after=1.1")
        self.ask(409, "POST", "/v1/release", {"key": "job", "value": "me"})
        self.ask(403, "POST", "/v1/release", {"key": "job", "force": True}, token="reader")
        self.ask(200, "POST", "/v1/release", {"key": "job", "force": True})
        self.ask(409, "POST", "/v1/extend", {"key": "job", "token": token, "ttl": "1m"})
        self.ask(401, "POST", "/v1/lock", {"key": "job"}, token=None)
        # Hardly more than is taken: of much more the node would not read the rest, and the caller might not hear why.
        self.ask(413, "POST", "/v1/lock", {"key": "job", "value": "v" * 803_000})
        self.ask(400, "POST", "/v1/lock", ["job"])
        self.ask(400, "GET", f"/v1/fence/check?key=%FF&token={token}")

    def changes_of_the_members(self):
        self.ask(409, "POST", "/v1/init", {})
        self.ask(503, "POST", "/v1/members/add", {"node": "nobody", "peer": "127.0.0.1:1", "timeout": "200ms"})

        def settled():
            return self.ask(200, "GET", "/v1/members")["complete"]

        spare = {"node": SPARE, "peer": f"127.0.0.1:{self.cluster.ports[SPARE][1]}"}
        all_of_them = {"masters": [{"node": name} for name in MASTERS], "replicas": []}
        self.cluster.start(SPARE)
        until("the spare node answers", lambda: self.is_up(SPARE))
        for path, asked in [
            ("add", spare),
            ("promote", {"node": SPARE}),
            ("demote", {"node": SPARE}),
            ("remove", {"node": SPARE}),
            ("set", all_of_them),
        ]:
            until("the members are settled", settled)
            self.until_done(f"/v1/members/{path}", asked)
        until("the members are settled", settled)
        self.ask(409, "POST", "/v1/members/replace", spare)

    def is_up(self, name):
        with contextlib.suppress(OSError):
            return self.cluster.ask("GET", "/livez", name=name)[0] == 200
        return False

    def until_done(self, path, asked):
        """Asks until it is done: nodes meet in their own time."""

        def done():
            status, headers, body = self.cluster.ask("POST", path, asked)
            self.described("POST", path, status, headers, body)
            assert status in (200, 409, 503), f"{path}: {status}: {body!r}"
            assert status != 409 or path.endswith("/set"), f"{path}: {body!r}"
            return status != 503

        until(path, done)

    def the_rest(self):
        for path in ("/livez", "/readyz?verbose", "/metrics", "/v1/status", "/v1/summary", "/v1/openapi.json"):
            self.ask(200, "GET", path)
        self.ask(200, "POST", "/v1/lag")
        for path in ("/livez", "/readyz", "/metrics", "/v1/openapi.json"):
            self.ask(200, "GET", path, token=None)

    def journey(self):
        self.life_of_a_key()
        self.watch()
        self.changes_of_the_members()
        self.the_rest()
        everything = {
            (method.upper(), path) for path, item in self.description["paths"].items() for method in item
        }
        assert self.seen == everything, f"never asked: {everything - self.seen}"


def properties(cluster):
    """What schemathesis finds."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "hooks"}
    schemathesis = pathlib.Path(sys.executable).with_name("st")
    command = [
        str(schemathesis), "--config-file", str(HERE / "schemathesis.toml"), "run", f"{cluster.url(MASTERS[0])}/v1/openapi.json",
        "--header", f"Authorization: Bearer {cluster.secret}",
    ]
    return subprocess.run(command, cwd=cluster.folder, env=environment, timeout=10 * FOREVER).returncode


def works(cluster, members):
    """Whether the cluster is as it was, and does what it is for."""
    for name in MASTERS:
        assert cluster.nodes[name].poll() is None, f"{name} has ended"
        until(f"{name} is ready", lambda name=name: cluster.is_ready(name))
    now = json.loads(cluster.ask("GET", "/v1/members")[2])
    names = lambda all: sorted((member["node"], member["master"]) for member in all["members"])
    assert names(now) == names(members), f"other members than before: {now}"
    status, _, body = cluster.ask("POST", "/v1/lock", {"key": "afterwards"}, name=MASTERS[1])
    assert status == 200, body
    token = json.loads(body)["token"]
    assert cluster.ask("POST", "/v1/release", {"key": "afterwards", "token": token}, name=MASTERS[2])[0] == 200


def main():
    with tempfile.TemporaryDirectory(prefix="leasehold-http-") as folder:
        cluster = Cluster(folder)
        try:
            for name in MASTERS:
                cluster.start(name)
            until("the cluster is founded", lambda: founded(cluster))
            for name in MASTERS:
                until(f"{name} is ready", lambda name=name: cluster.is_ready(name))
            description = json.loads(cluster.ask("GET", "/v1/openapi.json", token=None)[2])
            OpenAPIV31SpecValidator(description).validate()
            print("the description is valid", flush=True)
            Interface(cluster, description).journey()
            print("every operation is answered as described", flush=True)
            members = json.loads(cluster.ask("GET", "/v1/members")[2])
            code = properties(cluster)
            works(cluster, members)
            print("the cluster is as it was", flush=True)
            return code
        except BaseException:
            for name in cluster.nodes:
                log = (cluster.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
                print(f"== the last lines of {name}", *log, sep="\n", file=sys.stderr)
            raise
        finally:
            cluster.end()


def founded(cluster):
    with contextlib.suppress(OSError):
        return cluster.ask("POST", "/v1/init", {"timeout": "2s"})[0] in (200, 409)
    return False


if __name__ == "__main__":
    sys.exit(main())
