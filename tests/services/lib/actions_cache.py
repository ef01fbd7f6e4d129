"""GitHub's cache service, version 2, as far as it is documented: names that are kept once, blobs by signed URLs of Azure.

    actions_cache.py PORT_FILE    listens on a free port of loopback and writes it there
"""
import http.server, json, os, re, sys, threading, urllib.parse

kept, lock, blocks = [], threading.Lock(), {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b""):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def url(self, number):
        return f"http://{self.headers['Host']}/blobs/{number}?sig=signed"

    def do_POST(self):
        asked, method = json.loads(self.body()), self.path.rsplit("/", 1)[1]
        if not self.headers.get("Authorization", "").startswith("Bearer "):
            return self.reply(401, {"code": "unauthenticated", "msg": ""})
        with lock:
            if method == "CreateCacheEntry":
                if any(one["key"] == asked["key"] for one in kept):
                    return self.reply(409, {"code": "already_exists", "msg": ""})
                kept.append({"key": asked["key"], "version": asked["version"], "content": b"", "whole": False})
                return self.reply(200, {"ok": True, "signed_upload_url": self.url(len(kept) - 1)})
            if method == "FinalizeCacheEntryUpload":
                one = next(one for one in kept if one["key"] == asked["key"])
                one["whole"] = len(one["content"]) == int(asked["size_bytes"])
                return self.reply(200, {"ok": one["whole"], "entry_id": "1"})
            if method == "GetCacheEntryDownloadURL":
                found = [(number, one) for number, one in enumerate(kept) if one["whole"] and one["version"] == asked["version"]]
                exact = [one for one in found if one[1]["key"] == asked["key"]]
                newest = [one for one in found if any(one[1]["key"].startswith(beginning) for beginning in asked["restore_keys"])]
                if not exact + newest:
                    return self.reply(200, {"ok": False})
                number, one = (exact or newest)[-1]
                return self.reply(200, {"ok": True, "signed_download_url": self.url(number), "matched_key": one["key"]})
        self.reply(404, {"code": "bad_route", "msg": ""})

    def do_PUT(self):
        content, query = self.body(), urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        number, what = int(re.search(r"/blobs/(\d+)", self.path)[1]), query.get("comp", [""])[0]
        with lock:
            if what == "block":
                blocks[number, query["blockid"][0]] = content
            elif what == "blocklist":
                kept[number]["content"] = b"".join(blocks[number, name] for name in re.findall(r"<Latest>(.*?)<", content.decode()))
            else:
                kept[number]["content"] = content
        self.reply(201)

    def do_GET(self):
        content = kept[int(re.search(r"/blobs/(\d+)", self.path)[1])]["content"]
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.reply(206 if asked else 200, content[int(asked[1]) if asked else 0:])


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
