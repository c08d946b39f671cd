"""The side that clients see: WebSocket sessions and HTTP on one port."""
