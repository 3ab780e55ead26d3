"""Your own functions: `process(event) -> result`, pure of AWS. A stack names one in `worker.processor`."""
