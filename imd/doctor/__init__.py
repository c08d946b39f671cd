"""``imd doctor``: looks at everything a daemon depends on, and changes nothing."""
