"""The limits of a server (protocol §8); all can be set under ``[limits]`` in the TOML file."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds, bytes and counts; the defaults are those of the protocol."""

    #: Messages of one session that are not acknowledged yet.
    inflight: int = 64
    #: Messages a second that one user may send; 0 means no limit.
    rate: float = 20
    #: Messages a user may send at once before ``rate`` holds.
    burst: int = 100
    #: Other frames a second of one connection; 0 means no limit.
    other_rate: float = 50
    #: Other frames a connection may send at once before ``other_rate`` holds.
    other_burst: int = 200
    #: Seconds a client may be held back for its rate before it is closed 4006.
    rate_held_seconds: float = 30
    #: Seconds from the opening of a connection to its ``hello``, else 4004.
    hello_seconds: float = 10
    #: Seconds without a frame of the client, else 4003.
    silence_seconds: float = 75
    #: Seconds after which a client that sent nothing has to ping.
    heartbeat_seconds: int = 30
    #: Seconds a client may leave unread what was sent, else 4002.
    paused_seconds: float = 30
    #: Bytes of one incoming message after, and before, the login.
    frame_bytes: int = 65536
    hello_bytes: int = 4096
    #: Bytes of UTF-8 of one text.
    text_bytes: int = 16384
    #: Bytes of one file; bytes, and files, that one user may upload in a day.
    file_bytes: int = 104857600
    file_bytes_per_day: int = 1073741824
    files_per_day: int = 1000
    #: Bytes of all files together; 0 means no limit but the disk.
    file_total_bytes: int = 0
    #: Bytes that files leave free on their disk, for the database.
    file_reserve_bytes: int = 268435456
    #: Uploads, and downloads, of this process and of one user at once.
    uploads: int = 64
    uploads_per_user: int = 8
    downloads: int = 256
    downloads_per_user: int = 32
    #: Seconds for which a link to a file works.
    link_seconds: int = 600
    #: Messages, and bytes, in one answer to ``fetch``.
    fetch_items: int = 200
    fetch_bytes: int = 196608
    #: Requests (fetch, sync, call) of one session at work at once.
    fetches: int = 8
    #: Logins by token of this process at work at once; further ones wait, a few seconds at most.
    logins: int = 16
    #: Reads of storage for syncs, of all sessions of this process, at once.
    syncs: int = 8
    #: The malformed frame of a session that closes it 4500.
    bad_frames: int = 10
    #: Messages, and bytes of bodies, in one commit of a lane.
    lane_batch: int = 256
    lane_bytes: int = 524288
    #: Messages of this process that wait for their commit before reading stops.
    pending: int = 2000
    #: Seconds for which a commit is tried again before its sessions are closed 4001.
    commit_seconds: float = 10
    #: Devices of one user.
    devices: int = 10
    #: Logins by password a minute, and new accounts an hour, from one address.
    logins_per_minute: int = 30
    registrations_per_hour: int = 60
    #: Friend requests an hour, and look-ups of users a minute, by one user.
    friend_requests_per_hour: int = 100
    finds_per_minute: int = 60
    #: Connections from one address (one /64 for IPv6), and of this process.
    connections_per_address: int = 256
    connections: int = 20000
    #: Networks that may share an address (proxies, bots on this host): no limit for each.
    trusted_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
