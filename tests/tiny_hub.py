"""A hub on this machine that speaks as much of the real one's protocol as an upload needs."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(BaseHTTPRequestHandler):
    """Keeps what is uploaded in `server.files`, by repository and path."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Authorization"] != "Bearer hf_right":
            return self.answer({"error": "Invalid user token."}, 401)
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            name = json.loads(body)["name"]
            self.server.files.setdefault(f"me/{name}", {})
            return self.answer({"url": f"{self.server.url}/me/{name}"})
        repository = "/".join(self.path.split("/")[3:5])
        if self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            return self.answer(
                {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
            )
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.files[repository][line["value"]["path"]] = content
        url = f"{self.server.url}/{repository}/commit/{'0' * 40}"
        return self.answer({"commitUrl": url, "commitOid": "0" * 40, "success": True})

    def answer(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Keep the tests' output clean."""


@contextmanager
def hub_at_home():
    """Yield a running hub with `url` and `files`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.url, server.files = f"http://127.0.0.1:{server.server_port}", {}
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
