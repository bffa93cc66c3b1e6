"""A small HTTP proxy on loopback, for what stands between floeberg and a store: a translator, or a network that fails.

Requests go on as they came, `Host` included, so that signatures hold.
"""

import http.client
import random
import socket
import struct
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from processes import free_ports

# What each of two neighbours settles for itself.
HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass
class Message:
    """A request (`method`, `target`) or an answer (`status`), whole."""

    headers: list
    body: bytes
    method: str = ""
    target: str = ""
    status: int = 0

    def header(self, name):
        return next((value for known, value in self.headers if known.lower() == name), None)


class Reset(Exception):
    """Raised in place of an answer: the connection ends with a reset."""


class Silence(Exception):
    """Raised in place of an answer: none comes until the other side has enough of it."""


class Relay:
    """Sends requests on to `upstream` (host:port); a subclass says in `answer` what becomes of each."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.port = free_ports(1)[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.server = None
        self.up()

    def up(self):
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, BrokenPipeError):
                    self.close_connection = True

            def log_message(self, *_):
                pass

            def serve(self):
                request = Message(self.headers.items(), self.body(), self.command, self.path)
                try:
                    self.write(relay.answer(request))
                except Reset:
                    # Closing with nothing to linger for sends a reset in place of an end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                except Silence:
                    self.rfile.read(1)
                    self.close_connection = True

            def body(self):
                if (self.headers.get("Transfer-Encoding") or "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return b"".join(chunks)

            def write(self, answer):
                self.send_response_only(answer.status)
                for name, value in answer.headers:
                    if name.lower() not in HOP | {"content-length"}:
                        self.send_header(name, value)
                length = answer.header("content-length") if self.command == "HEAD" else len(answer.body)
                if length is not None:
                    self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            connections = []

            def process_request(self, connection, address):
                self.connections.append(connection)
                super().process_request(connection, address)

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self):
        """Nobody listens any more, and nobody is spoken to."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.server.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def answer(self, request):
        return self.forward(request)

    def forward(self, request):
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                if name.lower() not in HOP | {"content-length"}:
                    connection.putheader(name, value)
            if request.body or request.method in ("PUT", "POST"):
                connection.putheader("Content-Length", len(request.body))
            connection.endheaders(request.body or None)
            answer = connection.getresponse()
            return Message(answer.getheaders(), answer.read(), status=answer.status)
        finally:
            connection.close()


class Unreliable(Relay):
    """A network to a store that fails as it is told to: `fail` for the next requests, `chaos` for some of all."""

    def __init__(self, upstream):
        self.lock = threading.Lock()
        self.rules, self.dice, self.chance, self.failed = [], random.Random(), 0.0, []
        super().__init__(upstream)

    def fail(self, how, times, which=lambda request: True):
        """The next `times` requests that `which` is true of fail: `busy`, `reset`, or done but nobody is told: `lost` with the
        connection, or `silent`."""
        with self.lock:
            self.rules.append([how, times, which])

    def chaos(self, seed, chance):
        self.dice, self.chance = random.Random(seed), chance

    def calm(self):
        with self.lock:
            self.rules, self.chance = [], 0.0

    def fate(self, request):
        with self.lock:
            for rule in self.rules:
                if rule[1] and rule[2](request):
                    rule[1] -= 1
                    return rule[0]
            if self.dice.random() < self.chance:
                return self.dice.choice(["busy", "reset", "lost"])
        return None

    def answer(self, request):
        how = self.fate(request)
        if how is None:
            return self.forward(request)
        self.failed.append((how, request.method, request.target))
        if how == "busy":
            body = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
            return Message([("Content-Type", "application/xml")], body, status=500)
        if how in ("lost", "silent"):
            self.forward(request)
        raise Silence if how == "silent" else Reset
