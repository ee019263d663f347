"""The app that the tests deploy: a real web server on the socket it is given, as ill as ``behaviour.json`` says."""

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open("behaviour.json") as file:
    behaviour = json.load(file)
print(f"booting {behaviour['version']}", flush=True)
if "exit" in behaviour:
    print("cannot go on: DATABASE_URL is not set", flush=True)
    sys.exit(behaviour["exit"])
time.sleep(behaviour.get("boot_s", 0))
if "crash_after_s" in behaviour:
    threading.Timer(behaviour["crash_after_s"], os._exit, (3,)).start()
answered = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health" and "health" in behaviour:
            with contextlib.suppress(OSError):
                self.answer_oddly(behaviour["health"])
            return
        ill = behaviour.get("ill_after", 1 << 30) < next(answered)
        self.send_response(500 if ill else behaviour.get("status", 200))
        self.end_headers()
        self.wfile.write(json.dumps({"version": behaviour["version"], "pid": os.getpid(), "cwd": os.getcwd()}).encode())

    def answer_oddly(self, how):
        if how == "never":
            time.sleep(3600)
        if how == "redirects":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
        if how == "drips":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drips: ")
            while True:
                self.wfile.write(b".")
                time.sleep(0.05)
        if how == "10 GB":
            self.send_response(200)
            self.send_header("Content-Length", str(10 << 30))
            self.end_headers()
            while True:
                self.wfile.write(bytes(1 << 20))

    def address_string(self):
        return "-"

    def log_message(self, *_):
        pass


assert os.environ["LISTEN_FDS"] == "1"
assert os.environ["LISTEN_PID"] == str(os.getpid())
server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.daemon_threads = True
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server.serve_forever()
