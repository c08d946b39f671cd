"""The durable state behind the port ``imd.interfaces.storage.Storage``."""
