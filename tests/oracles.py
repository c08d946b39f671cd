"""What has to be true of a ``World``, whatever happened in it.

The numbers are those of the guarantees in ``docs/design.rst``.  ``always`` may be asked at
any moment, ``finally_`` after ``World.settle``.  Each raises AssertionError that says what
is wrong.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from imd import wire
from tests.world import Device, World


def always(world: World) -> None:
    """Safety: 1 to 7 and 9 to 12."""
    log = world.log()
    stored_under_one_seq(world, log)
    logs_are_contiguous(log)
    for device in world.devices:
        acks_are_stored(device, log)
        store_agrees(world, device, log)
        order_is_kept(world, device, log)
        shown_receipts_are_true(world, device)
    cursors_are_honest(world)
    nobody_else_knows(world)


def finally_(world: World) -> None:
    """Liveness: 16 and 17, for every device that is still allowed in."""
    log = world.log()
    last = len(log)
    for device in world.devices:
        assert not device.disk.outbox, f"16: outbox of {device.user} not empty"
        mine = device.disk.conversations[world.conversation]
        assert mine.have == last, f"16: {device.user} has {mine.have} of {last}"
    for device in world.devices:
        receipts_converged(world, device)


def acks_are_stored(device: Device, log: list[Any]) -> None:
    """1: each ack has exactly that row; 11: what was refused is nowhere."""
    rows = {row.seq: row for row in log}
    for id, seq in device.acked.items():
        assert seq in rows, f"1: acked {seq} is not stored"
        assert wire.uuid_text(rows[seq].id) == id, f"1: another message is stored as {seq}"
    ids = {wire.uuid_text(row.id) for row in log}
    assert not ids & device.refused.keys(), "11: a refused message was stored"


def stored_under_one_seq(world: World, log: list[Any]) -> None:
    """2: at most one row for each id, with the body that was sent first."""
    ids = [(row.sender, row.id) for row in log]
    assert len(ids) == len(set(ids)), "2: stored twice"
    sent = {id: body for device in world.devices for id, _, body, _ in device.sent}
    for row in log:
        assert sent.get(wire.uuid_text(row.id)) == row.body, "2: a body that nobody sent"


def logs_are_contiguous(log: list[Any]) -> None:
    """3: seqs are 1, 2, 3 …"""
    seqs = [row.seq for row in log]
    assert seqs == list(range(1, len(seqs) + 1)), f"3: {seqs}"


def store_agrees(world: World, device: Device, log: list[Any]) -> None:
    """4 and 5: a device holds what the log holds, once, in order, from its base on."""
    rows = device.disk.messages.get(world.conversation, {})
    for seq, message in rows.items():
        row = log[seq - 1]
        same = (message.id, message.sender, message.body)
        assert same == (wire.uuid_text(row.id), row.sender, row.body), f"4: differs at {seq}"
    seqs = list(rows)
    assert seqs == list(range(1, len(seqs) + 1)), f"5: applied in the order {seqs}"
    shown = device.displayed.get(world.conversation, [])
    # A program that died before it could say "handled" is told again; never out of order.
    assert all(b <= a + 1 for a, b in pairwise(shown)), f"5: shown {shown}"


def order_is_kept(world: World, device: Device, log: list[Any]) -> None:
    """6: a device's messages in the order it sent them; 7: answers after what they answer."""
    seqs = {wire.uuid_text(row.id): row.seq for row in log}
    mine = [seqs[id] for id, _, _, _ in device.sent if id in seqs]
    assert mine == sorted(mine), f"6: {mine}"
    for id, _, _, have in device.sent:
        assert seqs.get(id, have + 1) > have, f"7: {id} stands before what it answers"


def cursors_are_honest(world: World) -> None:
    """9: 0 ≤ read ≤ delivered ≤ last; 10: delivered only what some device has stored."""
    for user in (1, 2):
        head = world.head(user)
        assert 0 <= head.read <= head.delivered <= head.last, f"9: {head}"
        have = max(
            device.disk.conversations[world.conversation].have
            if world.conversation in device.disk.conversations
            else 0
            for device in world.devices
            if device.user == user
        )
        assert head.delivered <= have, f"10: delivered {head.delivered}, stored {have}"


def shown_receipts_are_true(world: World, device: Device) -> None:
    """11: no device shows more than the database says."""
    truth = {peer.user: peer for user in (1, 2) for peer in world.head(user).peers}
    conversation = device.rules.conversations.get(world.conversation)
    for peer in conversation.peers if conversation is not None else ():
        assert peer.delivered <= truth[peer.user].delivered, "11: delivered shown too early"
        assert peer.read <= truth[peer.user].read, "11: read shown too early"


def nobody_else_knows(world: World) -> None:
    """12: who is no member neither receives nor stores anything."""
    assert not world.mallory.disk.messages, "12: a stranger has messages"
    assert not world.mallory.rules.conversations, "12: a stranger knows the conversation"


def receipts_converged(world: World, device: Device) -> None:
    """17: every view of a cursor equals the stored one, and everybody has got everything."""
    head = world.head(device.user)
    mine = device.rules.conversations[world.conversation]
    assert [(p.user, p.delivered, p.read) for p in mine.peers] == [
        (p.user, p.delivered, p.read) for p in head.peers
    ], "17: receipts differ"
    log = world.log()
    others = [row.seq for row in log if row.sender != device.user]
    assert head.delivered >= max(others, default=0), "17: not delivered"
