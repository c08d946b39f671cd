"""Running as a daemon."""
