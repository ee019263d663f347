"""The app that the tests deploy: a real web server on the socket it is given, as ill as ``behaviour.json`` says."""

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
        ill = behaviour.get("ill_after", 1 << 30) < next(answered)
        self.send_response(500 if ill else behaviour.get("status", 200))
        self.end_headers()
        self.wfile.write(json.dumps({"version": behaviour["version"], "pid": os.getpid(), "cwd": os.getcwd()}).encode())

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
