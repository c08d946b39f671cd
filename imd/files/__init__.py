"""Stores for the bytes of files, behind ``imd.interfaces.Blobs``."""
