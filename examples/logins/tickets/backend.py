"""A backend that issues tickets. POST /ticket answers a user of its own with one."""
import base64
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

API = os.environ.get("API", "http://localhost:8080/rt")
AUTHORIZATION = "Basic " + base64.b64encode(b"backend:" + os.environ["BACKEND_PASSWORD"].encode()).decode()
KEYS = {"key-of-ann": {"user": "ann", "roles": ["editor"]}}  # yours: the session of a request


def ticket_for(grant):
    body = json.dumps({**grant, "ttl_ms": 30_000}).encode()
    headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
    with urlopen(Request(API + "/tickets", body, headers), timeout=10) as answer:
        return json.load(answer)["ticket"]


class Backend(BaseHTTPRequestHandler):
    def do_POST(self):
        grant = KEYS.get(self.headers["X-Key"])
        if self.path != "/ticket":
            return self.answer(404)
        if grant is None:
            return self.answer(401)
        try:
            self.answer(200, {"ticket": ticket_for(grant)})
        except OSError as error:  # among them each status that is not 2xx
            self.log_error("no ticket: %s", error)
            self.answer(502)

    def answer(self, status, body=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body is not None:
            self.wfile.write(json.dumps(body).encode())


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8081"))), Backend)
print("listening on port", server.server_port, flush=True)
server.serve_forever()
