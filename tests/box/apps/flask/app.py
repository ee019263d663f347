"""A Flask app, as ill as behaviour.json says. gunicorn serves it, as contrib/apps/gunicorn has it."""

import json
import os
import threading
import time
from pathlib import Path

from flask import Flask, jsonify

behaviour = json.loads(Path("behaviour.json").read_text())
print(f"booting {behaviour['version']}", flush=True)
if "needs" in behaviour:
    os.environ[behaviour["needs"]]
time.sleep(behaviour.get("boot_s", 0))
if "crash_after_s" in behaviour:
    threading.Timer(behaviour["crash_after_s"], os.kill, (os.getppid(), 9)).start()
app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(version=behaviour["version"], pid=os.getpid(), cwd=os.getcwd())


@app.get("/health")
def health():
    if "column" in behaviour:
        raise LookupError(f"no such column: {behaviour['column']}")
    return "fine\n"


@app.get("/slow")
def slow():
    time.sleep(behaviour.get("slow_s", 1.5))
    return os.getcwd()


print("listening", flush=True)
