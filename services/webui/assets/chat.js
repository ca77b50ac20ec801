// What Gradio's components lack: Esc stops, Send and Stop have names, focus goes back to the
// message box, a request's id is copied. Sends nothing anywhere.
(() => {
  const names = {
    "#message .submit-button": "Send",
    "#message .stop-button": "Stop (Esc)",
    "#settings .toggle-button": "Settings",
  };

  const nameButtons = () => {
    for (const [selector, name] of Object.entries(names)) {
      const button = document.querySelector(selector);
      if (button && button.getAttribute("aria-label") !== name) {
        button.setAttribute("aria-label", name);
        button.title = name;
      }
    }
  };

  const announce = () => {
    const place = document.querySelector("#announcement");
    place?.setAttribute("aria-live", "polite");
  };

  let wasStreaming = false;
  const followStream = () => {
    const streaming = document.querySelector("#message .stop-button") !== null;
    if (wasStreaming && !streaming && document.activeElement === document.body) {
      document.querySelector("#message textarea")?.focus();
    }
    wasStreaming = streaming;
  };

  document.addEventListener("keydown", (event) => {
    const stop = document.querySelector("#message .stop-button");
    if (event.key === "Escape" && !event.isComposing && stop) {
      event.preventDefault();
      stop.click();
    }
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.(".notice .copy");
    const code = button?.parentElement.querySelector("code");
    if (!code) return;
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // Not on a page without TLS: what is selected there, Ctrl+C takes.
    }
  });

  let waiting = false;
  const changed = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      nameButtons();
      announce();
      followStream();
    });
  };
  new MutationObserver(changed).observe(document.documentElement, { childList: true, subtree: true });
})();
