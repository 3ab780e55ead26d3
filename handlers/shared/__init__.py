"""What two or more rooms use: settings, log, metrics, and the edges to AWS."""
