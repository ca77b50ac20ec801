"""How the page looks and behaves beyond its components: theme, style sheet, script.

Owns colours and fonts. Everything is served from this machine; no font, script or picture
comes from elsewhere.
"""

# pyright: reportUnknownMemberType=false
# Gradio's signatures are typed in part only.

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from gradio.themes import Base

_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


@dataclass(frozen=True, slots=True)
class Looks:
    """What is given to Gradio when the page is mounted."""

    theme: Base
    head: str


def looks() -> Looks:
    """Read the assets and return the page's looks."""
    assets = files("services.webui") / "assets"
    style = (assets / "chat.css").read_text(encoding="utf-8")
    script = (assets / "chat.js").read_text(encoding="utf-8")
    return Looks(
        theme=Base(
            primary_hue="teal",
            neutral_hue="stone",
            font=_SANS,
            font_mono=_MONO,
        ).set(
            body_background_fill_dark="*neutral_900",
            input_background_fill="white",
            input_background_fill_dark="*neutral_800",
        ),
        # Given as `css`, Gradio would put its own prefix before every selector.
        head=f"<style>{style}</style><script>{script}</script>",
    )
