"""What Lambda sets for every function, before any of our modules is imported."""

import os

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "test")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "DataPipeline")
