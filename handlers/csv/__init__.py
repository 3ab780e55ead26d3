"""CSV files: typed columns, streaming, exact accounting. Knows neither S3 nor Lambda; also run on files on a disk."""
