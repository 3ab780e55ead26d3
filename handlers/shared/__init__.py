"""Code that several rooms use: settings, log, metrics, and the edges to AWS."""
