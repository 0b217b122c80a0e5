"""Who may look: everybody who reaches the address, or, once secrets.toml has an [auth] section, who logs in and is on the list."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import streamlit as st

from parts import hosts
from parts.show import literal


def allowed() -> bool:
    """Whether the reader may see the dashboard; draws the way in where not."""
    inside = _allowed()
    hosts.let_in(inside)
    return inside


def _allowed() -> bool:
    address = st.get_option("server.address")
    if address and (why := hosts.exposed(address)):  # where Streamlit was started without our server
        st.error(f"Nobody is let in: {why}.", icon=":material/lock:")
        return False
    loaded = st.secrets.load_if_toml_exists()
    if not loaded:
        if any(Path(f).exists() for f in st.get_option("secrets.files")):  # one that cannot be read must not open the door
            st.error("secrets.toml cannot be read, so nobody is let in.", icon=":material/lock:")
            return False
        return True
    if "auth" not in st.secrets:
        return True
    if not st.user.is_logged_in:
        st.title("auditlens", anchor=False)
        st.caption("Whoever is logged in here can read this lake.")
        st.button("Log in", type="primary", icon=":material/login:", on_click=st.login)
        return False
    who = str(st.user.get("email") or "")
    patterns = st.secrets.get("auditlens", {}).get("users", ["*"])
    inside = st.user.get("email_verified") is not False and any(fnmatchcase(who.lower(), str(p).lower()) for p in patterns)
    with st.sidebar:
        st.caption(f"logged in as {literal(who or 'somebody')}")
        st.button("Log out", icon=":material/logout:", on_click=st.logout, type="tertiary")
    if not inside:
        st.error(f"{literal(who or 'This login')} is not on the list of this dashboard.", icon=":material/lock:")
    return inside
