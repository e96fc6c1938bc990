"""The OpenTelemetry backend."""
