"""The page, mounted into our app: which of Gradio's doors stay shut, and how it hangs up.

Owns every choice that Gradio takes at mounting. Nothing is uploaded, tracked or kept in the
browser's run history, and no page of Gradio's own is linked.
"""

# pyright: reportUnknownMemberType=false
# Gradio's signatures are typed in part only.

from __future__ import annotations

from collections.abc import Callable

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App
from starlette.routing import Mount

from services.webui.theme import looks

_MAX_SESSIONS = 1000


def mount_page(app: FastAPI, page: gr.Blocks) -> Callable[[], None]:
    """Serve `page` at `/` of `app`, behind the routes that `app` has already.

    Returns a function that ends the connection which every open page keeps to its server;
    without it a server that stops waits for the pages to be closed.
    """
    page.state_session_capacity = _MAX_SESSIONS
    page_looks = looks()
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        theme=page_looks.theme,
        head=page_looks.head,
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount)
    assert isinstance(mounted.app, App)
    return mounted.app.stop_event.set
