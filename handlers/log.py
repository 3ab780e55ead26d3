"""The logger of both functions: one JSON object a line, `service` and level from the environment (Powertools)."""

from aws_lambda_powertools import Logger

logger = Logger()
