"""A server that forks a worker and reloads at SIGHUP, as gunicorn does: a new worker from what `app` names then."""

import json
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

ROOT = os.path.abspath("../..")
with open("behaviour.json") as file:
    first = json.load(file)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.server.behaviour.get("status", 200))
        self.end_headers()
        told = {"version": self.server.behaviour["version"], "pid": os.getpid(), "main": os.getppid()}
        self.wfile.write(json.dumps(told).encode())

    def address_string(self):
        return "-"

    def log_message(self, *_):
        pass


def work():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with open("behaviour.json") as file:
        behaviour = json.load(file)
    if "exit" in behaviour:
        os._exit(behaviour["exit"])
    server = HTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)
    server.behaviour = behaviour
    server.serve_forever()


def spawn():
    pid = os.fork()
    if pid == 0:
        work()
    return pid


signals = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
signal.signal(signal.SIGCHLD, lambda *_: None)
worker = spawn()
while True:
    number = signal.sigwait(signals)
    if number == signal.SIGTERM:
        os.kill(worker, signal.SIGTERM)
        os._exit(0)
    if number == signal.SIGHUP and not first.get("is_deaf"):
        if not first.get("stays"):
            os.chdir(f"{ROOT}/app")
        former, worker = worker, spawn()
        os.kill(former, signal.SIGTERM)
    while (ended := os.waitpid(-1, os.WNOHANG if worker else 0))[0]:
        if ended[0] == worker:
            os._exit(3)
