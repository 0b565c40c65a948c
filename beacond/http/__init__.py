"""HTTP: the native API, the event stream, health of the agent itself, and metrics.

`server.py` is the door; `render.py` has the shapes; README.md says where what is.
"""
