"""Asks the node of this container whether it is alive: `health.py HOME`; exit code 0 if so.

Reads the port from the home's node file. Uses the standard library only, so that it is quick.
"""

import http.client
import sys
import tomllib
from pathlib import Path

TIMEOUT_S = 2.0


def main(home: Path) -> int:
    listen = tomllib.loads((home / "node.toml").read_text(encoding="utf-8"))["listen"]
    port = int(listen["api"].rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as error:
        sys.stderr.write(f"port {port}: {error}\n")
        return 1
    finally:
        connection.close()
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
