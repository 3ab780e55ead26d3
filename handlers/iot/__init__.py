"""The iot variant: uploaded sensor readings, thresholds, alerts."""
