"""The durable state behind the ports ``Storage`` of ``imd.interfaces``."""
