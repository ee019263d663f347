"""The app that the clients' builds make: it looks at the release it was started in, and tells what it saw.

It is well even if the release is not: a broken one has to be seen live, not to be rolled back.
"""

from __future__ import annotations

import json
import socket
import sys

from tests.box.clients.whole import examine


def main(port: int) -> None:
    build, flaws = examine(".")
    print(f"booting {build}, flaws: {flaws}", flush=True)
    body = json.dumps({"build": build, "flaws": flaws}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(65536)
                    connection.sendall(answer)
                except OSError:
                    continue  # whoever asked has gone


if __name__ == "__main__":
    main(int(sys.argv[1]))
