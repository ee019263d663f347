"""``python3 -m dropdeploy.cli.check DIRECTORY APP…``: what is tried in the agent's place, told as JSON.

``dropdeploy check`` has systemd run this with all that the agent's unit allows and forbids.
"""

import json
import sys
from pathlib import Path

from dropdeploy.cli.check.inside import main

found = main(Path(sys.argv[1]), sys.argv[2:])
sys.stdout.write(json.dumps([finding.as_json() for finding in found]))
