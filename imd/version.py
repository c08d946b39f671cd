"""The version of imd, apart from everything that needs its dependencies."""

__version__ = "0.1.0"
