"""Stores for the bytes of files, behind ``imd.interfaces.files.Blobs``."""
