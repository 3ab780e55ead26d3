"""The logger of all functions: one JSON object a line, `service` and level from the environment (Powertools)."""

import json
from functools import partial

from aws_lambda_powertools import Logger

# ASCII only: Powertools' own writes half a surrogate pair, which no stream takes, and characters that a terminal obeys
# or that some readers end a line at, as they are.
logger = Logger(json_serializer=partial(json.dumps, default=str, separators=(",", ":")))
