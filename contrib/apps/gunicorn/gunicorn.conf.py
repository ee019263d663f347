"""gunicorn under dropdeploy's units: ready when a worker is; a reload (SIGHUP) takes the release that is live then.

gunicorn runs this at its start and again at each reload, in the process that outlives its workers. It takes the socket
that systemd passed by itself.
"""

import os
import socket
import sys

# Not the link but the release behind it, so that a worker's later imports come from the release it was started with.
# PWD is what the unit says, and where gunicorn itself goes first at each reload.
chdir = os.path.realpath(os.environ["PWD"])
_releases = os.path.dirname(chdir)
sys.path[:] = [chdir, f"{chdir}/vendor", *(path for path in sys.path if not path.startswith(f"{_releases}/"))]

# It would be made in the app's home, where the app may not write; systemctl controls this service.
control_socket_disable = True

worker_class = "gthread"
threads = 8
graceful_timeout = int(os.environ.get("DRAIN_SEC", "25"))

# gunicorn says READY=1 before it has loaded the app. Without this variable it says nothing; a worker does, once.
_notify_socket = os.environ.pop("NOTIFY_SOCKET", "")


def post_worker_init(worker):
    """The app is loaded: sd_notify(3)."""
    if _notify_socket:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"READY=1", _notify_socket.replace("@", "\0", 1))
