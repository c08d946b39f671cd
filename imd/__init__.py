"""imd: a self-hosted instant-messaging server that loses nothing it has acknowledged."""

from imd.version import __version__

__all__ = ["__version__"]
