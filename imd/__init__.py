"""imd: a self-hosted instant-messaging server that loses nothing it has acknowledged."""

__version__ = "0.1.0"
