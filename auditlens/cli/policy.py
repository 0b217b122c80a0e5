"""`auditlens policy …`: audit policies explained, checked, tried on the lake's traffic, recommended, applied, inferred.

POLICY is a file, `-` for standard input, or the name of a preset.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlens.cli import say
from auditlens.cli.asking import tell
from auditlens.cli.options import LAKE, Commands, LakePath, Output, existing
from auditlens.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from auditlens.lake import Lake
    from auditlens.policy import Policy, Request

policy_app = typer.Typer(
    cls=Commands,
    help="Audit policies: explain, lint, convert, simulate, coverage, recommend, apply, infer.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Policy = Annotated[str, typer.Argument(metavar="POLICY", help="File, - for standard input, or preset.")]
_Version = Annotated[str, typer.Option("--kubernetes-version", help="Release of the kube-apiserver.")]
_Since = Annotated[str | None, typer.Option(help="From this time on: RFC 3339, a date, or 2h, 7d, end-2h.")]
_Until = Annotated[str | None, typer.Option(help="Up to this time.")]
_Cluster = Annotated[str | None, typer.Option(help="Only this cluster.")]
_Against = Annotated[str | None, typer.Option(metavar="POLICY", help="Compare with this policy instead of the log.")]
_Text = Annotated[str | None, typer.Option("--output", "-o", help="text, which is the default, or what `ask` takes.")]
_NEWEST = "1.36"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(policy_app, name="policy")


@policy_app.command()
def explain(
    policy: _Policy,
    user: Annotated[str | None, typer.Option(help="User name; without one, a request that failed to authenticate.")] = None,
    groups: Annotated[str, typer.Option(help="The user's groups, separated by commas.")] = "system:authenticated",
    verb: Annotated[str | None, typer.Option(help="Kubernetes verb, such as get or deletecollection.")] = None,
    resource: Annotated[str | None, typer.Option(help="Resource: pods, pods/exec, deployments.apps/scale.")] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace; none for cluster-wide requests.")] = "",
    name: Annotated[str, typer.Option(help="Name of the object.")] = "",
    uri: Annotated[str | None, typer.Option(help='Method and URL instead of verb and resource: "GET /api/v1/pods".')] = None,
    audit_id: Annotated[str | None, typer.Option(help="A request of the lake instead.")] = None,
    lake: LakePath = LAKE,
    output: _Text = None,
    kubernetes_version: _Version = _NEWEST,
) -> int:
    """Say which rule decides about a request, and why the earlier ones do not."""
    from auditlens import face

    read = load_policy(policy, kubernetes_version)
    return tell(face.explain(read, *_requests(user, groups, verb, resource, namespace, name, uri, audit_id, lake)), output)


@policy_app.command()
def lint(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Policies; - for standard input.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="text, sarif, table, records, csv, json, jsonl, md or parquet.")
    ] = "text",
    kubernetes_version: _Version = _NEWEST,
) -> int:
    """Find what kube-apiserver refuses, and what it accepts and is wrong; exits 4 when something is found."""
    from auditlens import face
    from auditlens.policy import Finding, as_sarif

    answer = face.lint(*(_stdin() if file == "-" else file for file in files), kubernetes_version=kubernetes_version)
    if output == "sarif":
        typer.echo(as_sarif([Finding(**row) for row in answer.tree]), nl=False)
    else:
        tell(answer, None if output == "text" else output)
    return ExitCode.FINDINGS if answer.total else ExitCode.OK


@policy_app.command()
def convert(policy: _Policy) -> int:
    """Bring a v1alpha1 or v1beta1 policy to audit.k8s.io/v1, comments and layout kept."""
    from auditlens.policy import convert as run
    from auditlens.policy.requirements.presets import text_of

    typer.echo(run(text_of(_named(policy))[0], policy), nl=False)
    return ExitCode.OK


@policy_app.command()
def simulate(
    policy: _Policy,
    lake: LakePath = LAKE,
    against: _Against = None,
    since: _Since = None,
    until: _Until = None,
    cluster: _Cluster = None,
    show: Annotated[str, typer.Option(help="rules, contributors or changes.")] = "rules",
    top: Annotated[int, typer.Option(help="Contributors shown of each rule.")] = 5,
    output: Output = None,
    kubernetes_version: _Version = _NEWEST,
) -> int:
    """Try a policy on the lake's requests: events and bytes a day by rule and stage, what is lost and gained, dead rules."""
    from auditlens import face
    from auditlens.policy.requirements.report import size

    answer = face.simulate(
        str(lake), _named(policy), against=against and _named(against), show=show, top=top, since=since, until=until, cluster=cluster,
        kubernetes_version=kubernetes_version,
    )  # fmt: skip
    done, day = answer.tree, answer.tree["per_day"]
    before = done["against"] or done["now"]
    said = [
        f"{size(done['then']['bytes'] * day)} a day in {round(done['then']['events'] * day):,} events; "
        f"{'the other policy' if done['against'] else 'the log now'}: {size(before['bytes'] * day)} in "
        f"{round(before['events'] * day):,}"
    ]
    if done["unmatched"]["events"]:
        said.append(
            f"no rule matches {done['unmatched']['events']:,} events of the log ({size(done['unmatched']['bytes'])}): "
            "they would not be written"
        )
    if done["dead"]:
        said.append("rules that matched nothing: " + ", ".join(f"rules[{i}]" for i in done["dead"]))
    return tell(answer, output, "\n".join(said))


@policy_app.command()
def coverage(
    policy: _Policy,
    keep: Annotated[list[str] | None, typer.Argument(metavar="[QUESTION|GROUP]...", help="Default: all.")] = None,
    output: Output = None,
    kubernetes_version: _Version = _NEWEST,
) -> int:
    """Say which questions a log written under the policy can answer, which not, and which rules would be needed."""
    from auditlens import face

    answer = face.coverage(_named(policy), keep or ("all",), kubernetes_version=kubernetes_version)
    if output is None and answer.total == 1:
        _in_full(answer.tree[0])
        return ExitCode.OK
    return tell(answer, output, f"of which requests, and what rules would be needed: auditlens policy coverage {policy} QUESTION")


def _in_full(found: dict[str, Any]) -> None:
    """One question with all that it would not see."""
    from auditlens.output import plain

    typer.echo(f"{found['question']}: {found['answerable']}")
    for head, losses in (("withheld:", found["withheld"]), ("withheld, as it should be:", found["by_choice"])):
        if losses:
            typer.echo("\n  ".join((head, *map(plain, losses))))
    if found["rules_needed"]:
        typer.echo("rules that would answer it in full, to stand first:")
        typer.echo(found["rules_needed"], nl=False)


@policy_app.command()
def recommend(
    lake: LakePath = LAKE,
    keep: Annotated[list[str] | None, typer.Option(help="Question or group that must stay answerable; default: all.")] = None,
    budget: Annotated[str | None, typer.Option(help="2GB/day, or 20% of the log now.")] = None,
    base: Annotated[str | None, typer.Option(metavar="POLICY", help="Also try to drop what this policy drops.")] = None,
    since: _Since = None,
    until: _Until = None,
    cluster: _Cluster = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="text: the policy itself; json: and its figures.")] = None,
    kubernetes_version: _Version = _NEWEST,
) -> int:
    """Write the smallest policy that keeps questions answerable, as YAML; exits 4 when it does not fit the budget."""
    from auditlens import face
    from auditlens.policy.requirements.report import size

    answer = face.recommend(
        str(lake), keep or ("all",), budget=budget, base=base and _named(base), since=since, until=until, cluster=cluster,
        kubernetes_version=kubernetes_version,
    )  # fmt: skip
    done = answer.tree
    tell(answer, output)
    if output in (None, "text"):
        for limit in answer.limits:
            if not limit.startswith("given up"):  # which the policy's own comment says
                say(limit)
    if done["fits"]:
        return ExitCode.OK
    say(f"the requirements need {size(done['bytes_per_day'])} a day, the budget is {size(done['budget'])}; a day costs")
    for cost in done["costs"]:
        say(f"  {cost['requirement']}: {size(cost['saved'])} less without it, {size(cost['alone'])} if it were alone")
    return ExitCode.FINDINGS


@policy_app.command()
def apply(
    policy: _Policy,
    inputs: Annotated[list[str], typer.Option("--in", help="Files, directories, globs, - for standard input.")],
    out: Annotated[str, typer.Option("--out", help="File for the JSON lines, .gz to compress; - for standard output.")] = "-",
    kubernetes_version: _Version = _NEWEST,
) -> int:
    """Leave of collected logs what the policy would have written; any source in, JSON lines out."""
    from auditlens.policy import apply as run
    from auditlens.policy.requirements.report import size

    done = run(load_policy(policy, kubernetes_version), inputs, out)
    say(
        f"{done.records:,} records: {done.kept:,} kept as they are, {done.reduced:,} at a lower level, {done.dropped:,} dropped, "
        f"{done.rejects:,} unreadable and {done.others:,} of other logs left out; {size(done.bytes_in)} became {size(done.bytes_out)}"
    )
    return ExitCode.OK


@policy_app.command()
def infer(
    lake: LakePath = LAKE,
    against: Annotated[
        str | None, typer.Option(metavar="POLICY", help="Show where this policy would have written otherwise.")
    ] = None,
    since: _Since = None,
    until: _Until = None,
    cluster: _Cluster = None,
    show: Annotated[str, typer.Option(help="policy, recorded or differences; default with --against: differences.")] = "",
    output: Output = None,
    kubernetes_version: _Version = _NEWEST,
) -> int:
    """Infer from the log the policy that it was written under."""
    from auditlens import face

    answer = face.infer(
        str(lake), against=against and _named(against), show=show, since=since, until=until, cluster=cluster,
        kubernetes_version=kubernetes_version,
    )  # fmt: skip
    tell(answer, output)
    if answer.text and output in (None, "text"):
        for note in answer.notes:
            say(note)
    return ExitCode.OK


def _stdin() -> str:
    """The policy on standard input; its end makes it a text to whoever takes names as well."""
    text = sys.stdin.read()
    return text if "\n" in text else text + "\n"


def _named(source: str) -> str:
    return _stdin() if source == "-" else source


def load_policy(source: str, version: str = _NEWEST) -> Policy:
    """The policy of a file, a preset, or standard input (`-`)."""
    from auditlens.policy import load
    from auditlens.policy.requirements.presets import text_of

    text, file = text_of(_named(source))
    return load(text, version, file or source)


def _requests(
    user: str | None,
    groups: str,
    verb: str | None,
    resource: str | None,
    namespace: str,
    name: str,
    uri: str | None,
    audit_id: str | None,
    lake: Path,
) -> list[Request]:
    """The requests that the flags of `explain` name."""
    from auditlens.policy import Request

    members = () if user is None else tuple(g for g in groups.split(",") if g)
    if audit_id is not None:
        return _recorded(existing(lake), audit_id)
    if uri is not None:
        from auditlens.requestinfo import resolve

        method, _, url = uri.strip().rpartition(" ")
        info = resolve(method.strip().upper() or "GET", url)
        if info.error:
            raise UsageError(f"{uri!r}: the apiserver turns this away before it asks the policy: {info.error}")
        return [
            Request(
                user, members, info.verb, info.is_resource_request, info.namespace, info.api_group, info.resource, info.subresource,
                info.name, info.path,
            )
        ]  # fmt: skip
    if verb is None or resource is None:
        raise UsageError("name the request: --verb and --resource, or --uri, or --audit-id")
    thing, _, subresource = resource.partition("/")
    group, plural = _served(thing, lake)
    if verb != verb.lower():
        raise UsageError(f"{verb!r} is no verb of a request; verbs are written small: {verb.lower()}")
    return [Request(user, members, verb, True, namespace, group, plural, subresource, name)]


def _served(thing: str, lake: Path) -> tuple[str, str]:
    """The API group and plural of what a person calls a resource: built in, or a custom kind that the lake knows."""
    from auditlens import engine
    from auditlens.answers.address import address
    from auditlens.lake import Lake
    from auditlens.policy.apiserver.served import groups_serving

    plural, dot, group = thing.partition(".")
    of = address(None, thing)
    if not of.known and Lake(lake).exists():
        of = engine.with_snapshot(Lake(lake), lambda con: address(con, thing))
    if of.known and of.resource and plural != of.resource:  # a rule names plurals only: secret is not secrets
        say(f"{thing} is taken for {of.resource}")
    if not of.known or not of.resource:
        return group if dot else next(iter(groups_serving(plural)), ""), plural
    return of.group if of.group is not None else group if dot else next(iter(groups_serving(of.resource)), ""), of.resource


def _recorded(lake: Lake, audit_id: str) -> list[Request]:
    """The requests of an audit id, once each: clients may choose an id, so there can be several."""
    from auditlens import engine
    from auditlens.policy import Request

    rows = (
        engine.connect(lake)
        .execute(
            "select distinct username, user_groups, verb, resource is not null, namespace, api_group, resource, subresource, "
            "case when verb = 'create' and subresource is null then null else name end, split_part(request_uri, '?', 1) "
            "from audit where audit_id = ? order by all",
            [audit_id],
        )
        .fetchall()
    )
    if not rows:
        raise UsageError(f"the lake holds no request with audit id {audit_id!r}")
    return [Request(row[0], tuple(row[1] or ()), row[2] or "", row[3], *(text or "" for text in row[4:])) for row in rows]
