"""git http-backend behind a small web server on loopback.

git_server.py ROOT LOG [CERTIFICATE KEY]: prints its port, serves the repositories below ROOT until it is ended, and writes a line for every
answer to LOG: status, bytes, user, method, path.

/private/REPO  asks for a user and password: reader and "let me in", the token "canary-token" as the user or as oauth2's password, or
               "canary-hub" as x-access-token's
/old/REPO      speaks version 0 of the protocol only
/moved/REPO    leads to /REPO
/web/...       is a web page
/broken/REPO   breaks off in the middle of the first two answers with objects
"""

import base64
import http.server
import os
import ssl
import subprocess
import sys
import threading

root, log_path, *tls = sys.argv[1:]
log_lock = threading.Lock()
broken = {}


def is_known(user, password):
    return (user, password) in (("reader", "let me in"), ("canary-token", ""), ("oauth2", "canary-token"), ("x-access-token", "canary-hub"))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, status, sent, user):
        with log_lock, open(log_path, "a") as log:
            log.write(f"{status} {sent} {user or '-'} {self.command} {self.path}\n")

    def answer(self, status, user, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.note(status, 0, user)

    def do_GET(self):
        self.serve()

    do_POST = do_GET

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        user = password = None
        kind, _, value = (self.headers.get("Authorization") or "").partition(" ")
        if kind == "Basic":
            user, _, password = base64.b64decode(value).decode().partition(":")
        path, _, query = self.path.partition("?")
        protocol = self.headers.get("Git-Protocol") or ""
        breaks = False
        if path.startswith("/private/"):
            if not is_known(user, password):
                return self.answer(401, user, WWW_Authenticate='Basic realm="git"')
            path = path[len("/private"):]
        elif path.startswith("/moved/"):
            return self.answer(302, user, Location=self.path[len("/moved"):])
        elif path.startswith("/web/"):
            return self.answer(200, user, Content_Type="text/html")
        elif path.startswith("/old/"):
            path, protocol = path[len("/old"):], ""
        elif path.startswith("/broken/"):
            path = path[len("/broken"):]
            if b"command=fetch" in body:
                broken[path] = broken.get(path, 0) + 1
                breaks = broken[path] <= 2
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": root,
            "GIT_PROTOCOL": protocol,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
        }
        with subprocess.Popen(["git", "http-backend"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as backend:
            threading.Thread(target=lambda: (backend.stdin.write(body), backend.stdin.close()), daemon=True).start()
            status, headers = 200, []
            while line := backend.stdout.readline().strip():
                name, _, value = line.decode().partition(": ")
                if name == "Status":
                    status = int(value.split()[0])
                else:
                    headers.append((name, value))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            sent = 0
            while chunk := backend.stdout.read1(65536):
                if breaks and sent + len(chunk) > 3000:
                    self.wfile.write(b"%x\r\n%s" % (len(chunk), chunk[: len(chunk) // 2]))
                    self.close_connection = True
                    self.note("broken", sent, user)
                    backend.kill()
                    return None
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                sent += len(chunk)
            self.wfile.write(b"0\r\n\r\n")
        self.note(status, sent, user)
        return None


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
