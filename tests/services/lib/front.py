"""A server on loopback in front of a registry: front.py REGISTRY LOG prints its port and hands every request on.

Each is a line of LOG: method and path. The first PUT of a manifest whose tag begins with "refused-once" is answered with 403.
"""

import http.client
import http.server
import sys
import threading

registry, log_path = sys.argv[1:]
lock = threading.Lock()
refused = set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        with lock:
            with open(log_path, "a") as log:
                log.write(f"{self.command} {self.path}\n")
            is_refused = self.command == "PUT" and "/manifests/refused-once" in self.path and self.path not in refused
            if is_refused:
                refused.add(self.path)
        if is_refused:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        beyond = http.client.HTTPConnection(registry, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "transfer-encoding", "content-length")}
        beyond.request(self.command, self.path, body or None, headers | {"Content-Length": str(len(body))})
        reply = beyond.getresponse()
        content = reply.read()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", reply.getheader("Content-Length") if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        beyond.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = answer


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
