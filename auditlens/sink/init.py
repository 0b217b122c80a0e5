"""`auditlens sink init`: everything a kube-apiserver and a sink need to trust each other, in one directory, ready to copy."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from auditlens import bundled
from auditlens.errors import UsageError
from auditlens.sink.access import CLUSTER

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_YEARS = 10
_PATCH = "patches/kube-apiserver+json.yaml"  # a name that kubeadm takes, in a directory for its --patches
_VOLUME = "audit-webhook"
_POLICY = "forensic"  # everything this tool can use; the sink takes bodies of any size
# Not where docs/audit-logging.md mounts its policy: a pod with two volumes at one place is refused, and the apiserver gone.
APISERVER_DIR = "/etc/kubernetes/audit-webhook"


@dataclass(frozen=True, slots=True)
class Made:
    """The files that were made, and the text that says what to do with them."""

    directory: Path
    kubeconfig: Path
    ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    client_names: Path | None
    token_file: Path | None
    policy: Path | None
    patch: Path
    advice: str


def sink_init(
    url: str,
    out: str | Path = "sink",
    *,
    token: bool = False,
    names: tuple[str, ...] = (),
    apiserver_dir: str = APISERVER_DIR,
    keep_policy: bool = False,
) -> Made:
    """Make a CA, the server's and a client's certificate (or a token), the webhook's kubeconfig, an audit policy and a patch.

    The patch (RFC 6902) adds to a kube-apiserver's static pod what it needs to use the others.

    Args:
        url: where the apiserver posts: https://HOST[:PORT]/audit/CLUSTER (http only for a sink on loopback).
        out: directory for the files, made for its owner only; nothing in it is overwritten.
        token: make a bearer token as well as the client certificate.
        names: further host names and addresses of the sink.
        apiserver_dir: where the client's files will lie on the control-plane node.
        keep_policy: the apiserver has an audit policy; make none, and name none.

    Raises:
        UsageError: the URL cannot work, or a file is there already.
    """
    address = _address(url)
    directory = Path(out)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = [(flag, note) for flag, note in _flags(apiserver_dir) if not keep_policy or not flag.startswith("--audit-policy")]
    files = _files(address, names, token, apiserver_dir)
    if not keep_policy:
        files["policy.yaml"] = (bundled.directory("policies") / f"{_POLICY}.yaml").read_bytes()
    files[_PATCH] = _patch(apiserver_dir, [flag for flag, _ in flags]).encode()
    for name in files:
        if (directory / name).exists():
            raise UsageError(f"{directory / name}: exists; remove it or give another --out")
    for name, content in files.items():
        _write(directory / name, content)
    got = {name: directory / name for name in files}.get
    return Made(
        directory, directory / "webhook.kubeconfig", got("ca.crt"), got("server.crt"), got("server.key"), got("client-names"),
        got("tokens"), got("policy.yaml"), directory / _PATCH, _advice(directory, files, apiserver_dir, address.port, flags),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Address:
    """Where the apiserver posts."""

    server: str  # the URL
    tls: bool
    host: str
    port: int
    cluster: str  # empty when the path names none


def _address(url: str) -> _Address:
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    cluster = path.removeprefix("/audit").removeprefix("/")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--url {url}: use https://HOST:PORT/audit/CLUSTER")
    if parts.query or parts.fragment:
        raise UsageError(f"--url {url}: kube-apiserver drops the query; name the cluster in the path: /audit/CLUSTER")
    if not path.startswith("/audit") or (cluster and not CLUSTER.fullmatch(cluster)):
        raise UsageError(f"--url {url}: the path must be /audit/CLUSTER, with a cluster name of a-z, 0-9, '.' and '-'")
    server = f"{parts.scheme}://{parts.netloc}{path}"
    return _Address(
        server, parts.scheme == "https", parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), cluster
    )


def _files(address: _Address, names: tuple[str, ...], token: bool, apiserver_dir: str) -> dict[str, bytes]:
    """The files to make, by name."""
    files: dict[str, bytes] = {}
    secret = secrets.token_hex(32) if token or not address.tls else None
    if address.tls:
        client = f"kube-apiserver-{address.cluster or 'default'}"
        files |= _certificates([address.host, *names], client)
        files["client-names"] = f"{client}  {address.cluster or '*'}\n".encode()
    if secret:
        files["tokens"] = f"{secret}  {address.cluster or '*'}\n".encode()
    files["webhook.kubeconfig"] = _kubeconfig(address.server, apiserver_dir, address.tls, secret).encode()
    return files


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as f:
        f.write(content)


def _kubeconfig(server: str, directory: str, tls: bool, token: str | None) -> str:
    cluster = {"server": server} | ({"certificate-authority": f"{directory}/ca.crt"} if tls else {})
    user: dict[str, str] = {}
    if tls:
        user |= {"client-certificate": f"{directory}/client.crt", "client-key": f"{directory}/client.key"}
    if token:
        user["token"] = token
    config = {
        "apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [{"name": "auditlens", "cluster": cluster}],
        "users": [{"name": "kube-apiserver", "user": user}],
        "contexts": [{"name": "audit", "context": {"cluster": "auditlens", "user": "kube-apiserver"}}],
        "current-context": "audit",
    }  # fmt: skip
    return yaml.safe_dump(config, sort_keys=False)


def _certificates(names: list[str], client: str) -> dict[str, bytes]:
    """A CA and what it signs, as PEM files. The CA's key is made here and kept, for the next certificates."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _sign("auditlens sink CA", ca_key, None, ca_key, [x509.BasicConstraints(ca=True, path_length=0)])
    server_key, client_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    server = _sign(
        names[0], server_key, ca, ca_key,
        [x509.SubjectAlternativeName([_name(n) for n in names]), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])],
    )  # fmt: skip
    signed = _sign(client, client_key, ca, ca_key, [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])])
    return {
        "ca.crt": _pem(ca), "ca.key": _pem_key(ca_key), "server.crt": _pem(server), "server.key": _pem_key(server_key),
        "client.crt": _pem(signed), "client.key": _pem_key(client_key),
    }  # fmt: skip


def _name(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _sign(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: list[x509.ExtensionType],
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    now = dt.datetime.now(dt.UTC)
    is_ca = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )  # fmt: skip
    if not is_ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _flags(directory: str) -> list[tuple[str, str]]:
    """What kube-apiserver is started with, and why."""
    return [
        (f"--audit-policy-file={directory}/policy.yaml", f"`{_POLICY}`; with a policy there already: --keep-policy"),
        (f"--audit-webhook-config-file={directory}/webhook.kubeconfig", ""),
        ("--audit-webhook-mode=batch", "requests never wait for the sink"),
        ("--audit-webhook-batch-max-wait=5s", "30 s by default: what an apiserver loses at worst when it dies"),
        ("--audit-webhook-batch-max-size=400", "the default; larger batches only make each retry larger"),
        ("--audit-webhook-batch-buffer-size=50000", "10,000 by default: what is held while the sink is away; beyond it events are lost"),
        ("--audit-webhook-batch-throttle-qps=50", "10 by default: 4,000 events/s at most, too few to catch up after an outage"),
        ("--audit-webhook-initial-backoff=10s", "the default: five attempts over some 80 s, then a batch is dropped"),
    ]  # fmt: skip


def _patch(directory: str, flags: list[str]) -> str:
    """A JSON patch of the static pod as kubeadm writes it; `kubectl patch --local` and `kubeadm --patches` take it."""
    mount = {"name": _VOLUME, "mountPath": directory, "readOnly": True}
    volume = {"name": _VOLUME, "hostPath": {"path": directory, "type": "Directory"}}
    added = [("/spec/containers/0/command/-", flag) for flag in flags]
    steps = [*added, ("/spec/containers/0/volumeMounts/-", mount), ("/spec/volumes/-", volume)]
    return yaml.safe_dump([{"op": "add", "path": path, "value": value} for path, value in steps], sort_keys=False, width=200)


def _advice(directory: Path, files: dict[str, bytes], apiserver_dir: str, port: int, flags: list[tuple[str, str]]) -> str:
    client = [n for n in ("policy.yaml", "webhook.kubeconfig", "ca.crt", "client.crt", "client.key") if n in files]
    options = [f"--listen 0.0.0.0:{port}"]
    if "server.crt" in files:
        options += [f"--tls-cert {directory}/server.crt", f"--tls-key {directory}/server.key", f"--client-ca {directory}/ca.crt"]
        options += [f"--client-names {directory}/client-names"]
    if "tokens" in files:
        options.append(f"--token-file {directory}/tokens")
    told = "\n".join(f"    {flag:<42}  # {note}" if note else f"    {flag}" for flag, note in flags)
    return f"""\
1. Start the sink:

  auditlens serve --lake LAKE {" ".join(options)}

2. Copy {", ".join(client)}, {Path(_PATCH).parent} from {directory} to {apiserver_dir} on every control-plane node (mode 0600).

3. Tell kube-apiserver. On a node that kubeadm made:

  kubectl patch --local -f /etc/kubernetes/manifests/kube-apiserver.yaml --type json \\
    --patch-file {apiserver_dir}/{_PATCH} -o yaml > new.yaml

   Look at what it changed, then move new.yaml over the manifest. `kubeadm upgrade apply --patches {apiserver_dir}/{Path(_PATCH).parent}`
   keeps it. It adds the directory as a volume, and these flags; for k3s, RKE2 and kind see docs/sink.md:

{told}

   Not --audit-webhook-truncate-enabled: the sink takes bodies up to 64 MiB, and a truncated event has lost its objects.
   Keep --audit-log-path as well: the webhook loses the last events of a shutdown, the file does not.

4. Check the whole chain:

  auditlens sink check {directory}/webhook.kubeconfig --lake LAKE
"""
