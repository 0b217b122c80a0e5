"""`auditlens serve` and `auditlens sink …`: the webhook sink, its credentials, and a test of the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditlens.cli import say
from auditlens.cli.options import LAKE, Commands, LakePath, lacking
from auditlens.errors import ExitCode, UsageError

sink_app = typer.Typer(
    cls=Commands, help="Set up and test the webhook sink: init, check.", no_args_is_help=True, rich_markup_mode=None
)

_File = Path | None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.add_typer(sink_app, name="sink")


def _need_extra() -> None:
    from importlib.util import find_spec

    missing = [m for m in ("uvicorn", "httptools", "prometheus_client", "cryptography") if find_spec(m) is None]
    if missing:
        raise UsageError(lacking(f"the sink needs {', '.join(missing)}", "sink"))


def serve(
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:9443",
    lake: LakePath = LAKE,
    wal: Annotated[
        _File, typer.Option(help="Where bodies are kept until they are in the lake; default: beside the lake.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Begins the sink's name in the rows' source; default: the host's name.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="For posts to /audit whose credential names no cluster.")] = "default",
    tls_cert: Annotated[_File, typer.Option(help="PEM file; a changed file counts for new connections.")] = None,
    tls_key: Annotated[_File, typer.Option(help="PEM file.")] = None,
    client_ca: Annotated[_File, typer.Option(help="PEM file; posts then need a client certificate it signed.")] = None,
    client_names: Annotated[_File, typer.Option(help="File of certificate names and the clusters each may write.")] = None,
    token_file: Annotated[_File, typer.Option(help="File of bearer tokens and the clusters each may write.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without TLS or without credentials.")
    ] = False,
    status_listen: Annotated[str | None, typer.Option(help="HOST:PORT for /healthz, /readyz and /metrics in plain HTTP.")] = None,
    redact: Annotated[str, typer.Option(help="secrets: keyed hashes for Secret values and tokens; none: keep them.")] = "secrets",
    redact_key: Annotated[_File, typer.Option(help="File with the redaction key; default: one of your own.")] = None,
    wal_limit: Annotated[str, typer.Option(help="Size of the WAL above which nothing is accepted.")] = "4GiB",
) -> int:
    """Receive audit events from kube-apiserver's webhook; acknowledge only what is on disk."""
    _need_extra()
    from auditlens.cli.importing import size
    from auditlens.sink.server import Limits
    from auditlens.sink.server import serve as run

    if redact not in ("secrets", "none"):
        raise UsageError("--redact takes secrets or none")
    run(
        listen,
        lake,
        wal_dir=wal,
        name=name,
        cluster=cluster,
        tls_cert=tls_cert,
        tls_key=tls_key,
        client_ca=client_ca,
        client_names=client_names,
        token_file=token_file,
        insecure=insecure,
        status_listen=status_listen,
        redact=redact != "none",
        redact_key=redact_key,
        limits=Limits(wal_limit=size(wal_limit)),
        say=say,
    )
    return ExitCode.OK


@sink_app.command()
def init(
    url: Annotated[str, typer.Option(help="Where the apiserver posts: https://HOST[:PORT]/audit/CLUSTER.")],
    out: Annotated[Path, typer.Option(help="Directory for the files; nothing in it is overwritten.")] = Path("sink"),
    token: Annotated[bool, typer.Option("--token", help="Make a bearer token as well as the client certificate.")] = False,
    name: Annotated[list[str] | None, typer.Option(help="A further host name or address of the sink; may be repeated.")] = None,
    apiserver_dir: Annotated[
        str, typer.Option(help="Where the client's files will lie on the control-plane node.")
    ] = "/etc/kubernetes/audit-webhook",
    keep_policy: Annotated[
        bool, typer.Option("--keep-policy", help="The apiserver has an audit policy: make none, and name none.")
    ] = False,
) -> int:
    """Make certificates, the webhook's kubeconfig and a patch for the apiserver."""
    _need_extra()
    from auditlens.sink.init import sink_init

    made = sink_init(url, out, token=token, names=tuple(name or ()), apiserver_dir=apiserver_dir, keep_policy=keep_policy)
    print(made.advice)
    return ExitCode.OK


@sink_app.command()
def check(
    kubeconfig: Annotated[Path, typer.Argument(help="The webhook kubeconfig that `sink init` made.")],
    lake: LakePath = LAKE,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30.0,
) -> int:
    """Post a marked test event through the whole chain and wait until a question can see it."""
    _need_extra()
    from auditlens.sink.check import sink_check

    done = sink_check(kubeconfig, lake, timeout=timeout)
    print(
        f"audit id {done.audit_id}, stored as {done.source}: acknowledged after {done.acknowledged_s:.2f} s, answerable after {done.answerable_s:.2f} s"
    )
    return ExitCode.OK
