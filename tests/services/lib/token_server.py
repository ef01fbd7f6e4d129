#!/usr/bin/env python3
"""token_server.py DIRECTORY PORT SECONDS SAYS: a token server (distribution "Token Authentication Specification").

Tokens are JWT, RS256, with the certificate of DIRECTORY/token.crt in x5c; they are accepted for SECONDS and said to be valid for SAYS.
It speaks TLS with DIRECTORY/server.crt. Who shows user:password gets what is asked for, everybody else the right to pull. Each request is a line of DIRECTORY/tokens.log.
"""
import base64
import http.server
import json
import ssl
import subprocess
import sys
import time
import urllib.parse

directory, port, seconds, says = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
# docker-registry accepts a token for a minute longer than it says.
LEEWAY = 60
PASSWORD = "Basic " + base64.b64encode(b"user:canary-password").decode()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


with open(f"{directory}/token.crt") as file:
    lines = file.read().split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0]
certificate = "".join(lines.split())


def token(service, scopes, may_push):
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":")
        granted = [action for action in actions.split(",") if may_push or action == "pull"]
        access.append({"type": kind, "name": name, "actions": granted})
    now = int(time.time())
    claims = {"iss": "longshore-test", "sub": "user", "aud": service, "nbf": now - 300, "iat": now - 300,
              "exp": now + seconds - LEEWAY, "jti": str(time.time()), "access": access}
    header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
    text = encode(json.dumps(header).encode()) + "." + encode(json.dumps(claims).encode())
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", f"{directory}/token.key"],
                            input=text.encode(), stdout=subprocess.PIPE, check=True)
    return text + "." + encode(signed.stdout)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        given = self.headers.get("Authorization")
        status, answer = 200, {}
        if given not in (None, PASSWORD):
            status, answer = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}
        else:
            answer = {"token": token(query["service"][0], query.get("scope", []), given == PASSWORD), "expires_in": says}
        with open(f"{directory}/tokens.log", "a") as log:
            log.write(f"{status} {query.get('scope')}\n")
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{directory}/server.crt", f"{directory}/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
