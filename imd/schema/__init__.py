"""The AsyncAPI and OpenAPI documents, made from the structs that the server itself uses."""

from imd.schema.main import main

__all__ = ("main",)
