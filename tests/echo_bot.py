"""Answers every message with its own text, and every request with friendship."""

import sys

from imd.client import Client, run

url, password = sys.argv[1:]
client = Client(url, "echo", password, store="echo.db", register=True)


@client.on_message
async def echo(message):
    await client.reply(message, message.text)


@client.on_event
@client.on_state
async def befriend(*_):
    for friend in await client.friends.list():
        if friend["state"] == "pending":
            await client.friends.accept(friend["name"])


run(client)
