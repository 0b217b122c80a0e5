"""The dashboard as an ASGI application: Streamlit's, behind a check of who asks for it by which name."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st
from parts.hosts import KnownHosts, exposed
from starlette.middleware import Middleware

from auditlens.floods import Floods, Handler

if why := exposed(st.get_option("server.address")):
    sys.exit(f"auditlens: error: {why}")

# uvicorn sets its loggers up before it loads this module
Handler(Floods(lambda text: print(text, file=sys.stderr, flush=True)), ("uvicorn", "uvicorn.error", "asyncio"))

app = st.App(Path(__file__).with_name("app.py"), middleware=[Middleware(KnownHosts)])
