"""The logger of all functions: one JSON object a line, `service` and level from the environment (Powertools)."""

import json
from functools import partial

from aws_lambda_powertools import Logger

# ASCII only. Powertools' own serializer writes half surrogate pairs, which no stream accepts, and control characters,
# which change a terminal or break lines.
logger = Logger(json_serializer=partial(json.dumps, default=str, separators=(",", ":")))
