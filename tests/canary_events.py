"""Events with a value where an attacker, or a careless person, would put one: reviews, patches, custom resources, commands, files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

from canary_forms import b64, jwt

J = json.dumps
REF = {"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"}
LAST = "kubectl.kubernetes.io/last-applied-configuration"


def pod(**container: Any) -> dict[str, Any]:
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", **container}]}}


def command(words: list[str], coder: Callable[[str], str] = quote_plus) -> str:
    return "/api/v1/namespaces/shop/pods/p/exec?container=a&" + "&".join(f"command={coder(w)}" for w in words)


def _cm(**data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": data}


def _secret(c: str) -> dict[str, Any]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"p": b64(c)}}


MORE_EVENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "SAR extra": lambda c: {
        "objectRef": {"resource": "subjectaccessreviews", "apiGroup": "authorization.k8s.io"},
        "verb": "create",
        "requestObject": {
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"user": "x", "extra": {"x.example/access-token": [c]}},
        },
    },
    "SAR extra token": lambda c: {
        "requestObject": {"kind": "SubjectAccessReview", "spec": {"extra": {"authorization": [f"Bearer {c}"]}}}
    },
    "TokenReview status": lambda c: {
        "objectRef": {"resource": "tokenreviews", "apiGroup": "authentication.k8s.io"},
        "responseObject": {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"token": c},
            "status": {"error": f"token {c} is invalid", "user": {"extra": {"t": [c]}}},
        },
    },
    "TokenReview v1beta1": lambda c: {
        "objectRef": {"resource": "tokenreviews", "apiGroup": "authentication.k8s.io", "apiVersion": "v1beta1"},
        "requestObject": {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1beta1", "spec": {"token": c}},
    },
    "TokenRequest bound": lambda c: {
        "objectRef": {"resource": "serviceaccounts", "subresource": "token"},
        "responseObject": {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "status": {"token": c, "expirationTimestamp": "x"},
        },
    },
    "TokenRequest in storage": lambda c: {
        "responseObject": {"kind": "TokenRequest", "apiVersion": "storage.k8s.io/v1", "status": {"token": c}}
    },
    "CSIDriver volume": lambda c: {
        "requestObject": {"kind": "X", "csi.storage.k8s.io/serviceAccount.tokens": J({"vault": {"token": c}})}
    },
    "CSIDriver tokens": lambda c: {
        "requestObject": {
            "attributes": {"csi.storage.k8s.io/serviceAccount.tokens": J({"": {"token": c, "expirationTimestamp": "x"}})}
        }
    },
    "kubeconfig CM": lambda c: {
        "requestObject": _cm(config=f"apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user:\n    token: {c}\n")
    },
    "kubeconfig CM exec env": lambda c: {
        "requestObject": _cm(config=f"users:\n- user:\n    exec:\n      env:\n      - name: VAULT_TOKEN\n        value: {c}\n")
    },
    "kubeconfig CM auth-provider": lambda c: {
        "requestObject": _cm(
            config=f"users:\n- user:\n    auth-provider:\n      config:\n        id-token: {c}\n        refresh-token: {c}\n        client-secret: {c}\n"
        )
    },
    "dockerconfigjson CM": lambda c: {
        "requestObject": _cm(**{".dockerconfigjson": J({"auths": {"r": {"auth": b64("u:" + c)}}})})
    },
    "dockerconfigjson b64 CM": lambda c: {"requestObject": _cm(x=b64(J({"auths": {"r": {"username": "u", "password": c}}})))},
    "last-applied of Secret on CM": lambda c: {
        "requestObject": {"kind": "ConfigMap", "metadata": {"annotations": {LAST: J(_secret(c))}}}
    },
    "json patch deep": lambda c: {
        "objectRef": REF,
        "verb": "patch",
        "requestObject": [{"op": "add", "path": "/data", "value": {"a": b64(c)}}],
    },
    "json patch test": lambda c: {
        "objectRef": REF,
        "verb": "patch",
        "requestObject": [{"op": "test", "path": "/data/p", "value": b64(c)}],
    },
    "json patch as string": lambda c: {
        "objectRef": REF,
        "verb": "patch",
        "requestObject": J([{"op": "add", "path": "/data/p", "value": b64(c)}]),
    },
    "json patch caps": lambda c: {
        "objectRef": REF,
        "verb": "patch",
        "requestObject": [{"OP": "add", "Path": "/data/p", "Value": b64(c)}],
    },
    "strategic env": lambda c: {
        "verb": "patch",
        "requestObject": {
            "spec": {
                "template": {
                    "spec": {
                        "$setElementOrder/containers": [{"name": "a"}],
                        "containers": [{"name": "a", "env": [{"name": "DB_PASSWORD", "value": c}]}],
                    }
                }
            }
        },
    },
    "managedFields": lambda c: {
        "objectRef": REF,
        "responseObject": {
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"managedFields": [{"fieldsV1": {"f:data": {"f:x": {}}}}]},
            "data": {"x": b64(c)},
        },
    },
    "nested List": lambda c: {
        "objectRef": None,
        "requestObject": {
            "kind": "List",
            "apiVersion": "v1",
            "items": [{"kind": "List", "items": [{"kind": "List", "items": [_secret(c)]}]}],
        },
    },
    "Template": lambda c: {
        "requestObject": {
            "kind": "Template",
            "apiVersion": "template.openshift.io/v1",
            "objects": [_secret(c)],
            "parameters": [{"name": "DB_PASSWORD", "value": c}],
        }
    },
    "Template gen": lambda c: {
        "requestObject": {
            "kind": "Template",
            "parameters": [{"name": "ADMIN_PASSWORD", "displayName": "x", "generate": "expression", "value": c}],
        }
    },
    "SealedSecret template": lambda c: {
        "requestObject": {
            "kind": "SealedSecret",
            "apiVersion": "bitnami.com/v1alpha1",
            "spec": {"template": {"data": {"p": c}, "stringData": {"q": c}}},
        }
    },
    "ExternalSecret template": lambda c: {
        "requestObject": {"kind": "ExternalSecret", "spec": {"target": {"template": {"data": {"password": c}}}}}
    },
    "Password generator": lambda c: {
        "requestObject": {
            "kind": "Fake",
            "apiVersion": "generators.external-secrets.io/v1alpha1",
            "spec": {"data": {"password": c}},
        }
    },
    "Argo repo secret": lambda c: {
        "objectRef": REF,
        "requestObject": {"kind": "Secret", "stringData": {"url": "git@x", "sshPrivateKey": c, "githubAppPrivateKey": c}},
    },
    "Argo Application params": lambda c: {
        "requestObject": {
            "kind": "Application",
            "spec": {
                "source": {
                    "helm": {
                        "parameters": [{"name": "auth.password", "value": c}],
                        "values": f"auth:\n  password: {c}\n",
                        "valuesObject": {"auth": {"password": c}},
                    }
                }
            },
        }
    },
    "Argo App url": lambda c: {
        "requestObject": {"kind": "Application", "spec": {"source": {"repoURL": f"https://user:{c}@github.com/x/y"}}}
    },
    "Flux HelmRelease": lambda c: {
        "requestObject": {
            "kind": "HelmRelease",
            "spec": {"values": {"postgres": {"auth": {"postgresPassword": c, "replicationPassword": c}}}},
        }
    },
    "Crossplane": lambda c: {"requestObject": {"kind": "RDSInstance", "spec": {"forProvider": {"masterUserPassword": c}}}},
    "Certificate keystore": lambda c: {
        "requestObject": {"kind": "Certificate", "spec": {"keystores": {"jks": {"create": True, "password": c}}}}
    },
    "Issuer acme": lambda c: {
        "requestObject": {
            "kind": "Issuer",
            "spec": {
                "acme": {
                    "solvers": [{"dns01": {"cloudflare": {"apiToken": c, "apiKey": c}}}],
                    "externalAccountBinding": {"keySecret": c, "hmacKey": c},
                }
            },
        }
    },
    "Grafana CR": lambda c: {"requestObject": {"kind": "Grafana", "spec": {"config": {"security": {"admin_password": c}}}}},
    "Kafka user": lambda c: {"requestObject": {"kind": "KafkaUser", "spec": {"authentication": {"password": {"value": c}}}}},
    "Prometheus remote": lambda c: {
        "requestObject": {
            "kind": "Prometheus",
            "spec": {
                "remoteWrite": [
                    {
                        "url": f"https://u:{c}@x",
                        "bearerToken": c,
                        "headers": {"X-Api-Key": c, "Authorization": f"Basic {b64('u:' + c)}"},
                    }
                ]
            },
        }
    },
    "webhook caBundle": lambda c: {
        "requestObject": {
            "kind": "ValidatingWebhookConfiguration",
            "webhooks": [{"clientConfig": {"url": f"https://u:{c}@x/y?token={c}"}}],
        }
    },
    "CSR": lambda c: {
        "requestObject": {
            "kind": "CertificateSigningRequest",
            "spec": {"request": b64(f"-----BEGIN PRIVATE KEY-----\n{c}\n-----END PRIVATE KEY-----\n")},
        }
    },
    "APIService": lambda c: {"requestURI": f"/apis/x/v1/y?token={c}&watch=true"},
    "exec sh -c": lambda c: {"requestURI": command(["sh", "-c", f"export A=1; mysql -u root -p'{c}' -e 'x'"])},
    "exec base64 -d": lambda c: {"requestURI": command(["sh", "-c", f"echo {b64('password=' + c)} | base64 -d"])},
    "exec env": lambda c: {"requestURI": command(["env", f"PGPASSWORD={c}", "psql"])},
    "exec psql": lambda c: {"requestURI": command(["psql", f"host=h user=u password={c}"])},
    "exec psql url": lambda c: {"requestURI": command(["psql", f"postgresql://u:{c}@h/db"])},
    "exec sql": lambda c: {"requestURI": command(["psql", "-c", f"ALTER USER app PASSWORD '{c}'"])},
    "exec redis": lambda c: {"requestURI": command(["redis-cli", "-a", c, "ping"])},
    "exec redis auth": lambda c: {"requestURI": command(["redis-cli", "AUTH", c])},
    "exec redis auth2": lambda c: {"requestURI": command(["redis-cli", "--user", "x", "--pass", c])},
    "exec redis config set": lambda c: {"requestURI": command(["redis-cli", "CONFIG", "SET", "requirepass", c])},
    "exec mongo": lambda c: {"requestURI": command(["mongosh", "-u", "root", "-p", c, "--eval", "x"])},
    "exec mongo eval": lambda c: {"requestURI": command(["mongosh", "--eval", f"db.auth('root','{c}')"])},
    "exec kubectl": lambda c: {"requestURI": command(["kubectl", "create", "secret", "generic", "x", f"--from-literal=a={c}"])},
    "exec kubectl2": lambda c: {
        "requestURI": command(["kubectl", "create", "secret", "generic", "x", "--from-literal", f"a={c}"])
    },
    "exec vault": lambda c: {"requestURI": command(["vault", "write", "auth/userpass/login/x", f"password={c}"])},
    "exec vault kv": lambda c: {"requestURI": command(["vault", "kv", "put", "secret/x", f"value={c}"])},
    "exec vault login": lambda c: {"requestURI": command(["vault", "login", f"hvs.{c}"])},
    "exec vault unseal": lambda c: {"requestURI": command(["vault", "operator", "unseal", c + "AbCdEfGhIjKlMnOpQrSt="])},
    "exec etcdctl": lambda c: {"requestURI": command(["etcdctl", "--user", f"root:{c}", "get", "/"])},
    "exec aws": lambda c: {"requestURI": command(["aws", "configure", "set", "aws_secret_access_key", c])},
    "exec curl header": lambda c: {"requestURI": command(["curl", "-H", f"X-Vault-Token: {c}", "u"])},
    "exec curl -u": lambda c: {"requestURI": command(["curl", "-u", f"a:{c}", "u"])},
    "exec curl -d": lambda c: {"requestURI": command(["curl", "-d", J({"username": "a", "password": c}), "u"])},
    "exec curl --data-raw": lambda c: {"requestURI": command(["curl", "--data-urlencode", f"password={c}", "u"])},
    "exec grafana": lambda c: {"requestURI": command(["grafana-cli", "admin", "reset-admin-password", c])},
    "exec gitlab": lambda c: {"requestURI": command(["gitlab-rails", "runner", f"u.password='{c}'; u.save!"])},
    "exec keycloak": lambda c: {"requestURI": command(["kcadm.sh", "config", "credentials", "--user", "admin", "--password", c])},
    "exec kcadm set": lambda c: {"requestURI": command(["kcadm.sh", "set-password", "--username", "x", "--new-password", c])},
    "exec passwd stdin": lambda c: {"requestURI": command(["sh", "-c", f"echo -e '{c}\\n{c}' | passwd root"])},
    "exec useradd": lambda c: {"requestURI": command(["useradd", "-p", c, "x"])},
    "exec kinit": lambda c: {"requestURI": command(["sh", "-c", f"echo {c} | kinit admin"])},
    "exec rabbit": lambda c: {"requestURI": command(["rabbitmqctl", "add_user", "x", c])},
    "exec minio": lambda c: {"requestURI": command(["mc", "alias", "set", "x", "http://h", "AKIAX", c])},
    "exec openssl": lambda c: {"requestURI": command(["openssl", "enc", "-k", c])},
    "exec smb": lambda c: {"requestURI": command(["smbclient", "//h/s", "-U", f"u%{c}"])},
    "exec ldap": lambda c: {"requestURI": command(["ldapsearch", "-w", c])},
    "exec sshpass": lambda c: {"requestURI": command(["sshpass", "-p", c, "ssh", "h"])},
    "exec htpasswd": lambda c: {"requestURI": command(["htpasswd", "-nbB", "u", c])},
    "exec mysql -p": lambda c: {"requestURI": command(["mysql", "-uroot", f"-p{c}"])},
    "exec mysqladmin": lambda c: {"requestURI": command(["mysqladmin", "-u", "root", "password", c])},
    "exec proxy": lambda c: {"requestURI": f"/api/v1/namespaces/a/services/b:80/proxy/login?user=a&pass={c}"},
    "exec proxy path": lambda c: {"requestURI": f"/api/v1/namespaces/a/services/b/proxy/v1/token/{jwt(c)}"},
    "portforward": lambda c: {"requestURI": f"/api/v1/namespaces/a/pods/b/portforward?ports=80&access_token={c}"},
    "websocket": lambda c: {"userAgent": f"x Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{b64(c).rstrip('=')}"},
    "uid": lambda c: {"user": {"username": "x", "uid": jwt(c)}},
    "groups": lambda c: {"user": {"username": "x", "groups": [f"token={c}"]}},
    "username": lambda c: {"user": {"username": f"https://u:{c}@idp", "groups": []}},
    "username jwt": lambda c: {"user": {"username": jwt(c), "groups": []}},
    "authmeta": lambda c: {"authenticationMetadata": {"impersonationConstraint": f"Bearer {c}"}},
    "sourceIPs": lambda c: {"sourceIPs": [f"Bearer {c}"]},
    "Event msg": lambda c: {
        "requestObject": {"kind": "Event", "message": f"Error: failed to pull: https://u:{c}@reg/x", "note": f"password={c}"}
    },
    "pod log msg": lambda c: {
        "requestObject": {
            "kind": "Pod",
            "status": {"containerStatuses": [{"state": {"terminated": {"message": f"FATAL: password={c}\n"}}}]},
        }
    },
    "Status causes": lambda c: {
        "objectRef": REF,
        "requestObject": _secret(c),
        "responseObject": {"kind": "Status", "details": {"causes": [{"message": f'Invalid value: "{c}"', "field": "data"}]}},
    },
    "Status causes CM": lambda c: {
        "responseObject": {
            "kind": "Status",
            "message": f'X is invalid: spec.password: Invalid value: "{c}": bad',
            "details": {
                "causes": [{"reason": "FieldValueInvalid", "message": f'Invalid value: "{c}": bad', "field": "spec.password"}]
            },
        }
    },
    "responseStatus details": lambda c: {
        "responseStatus": {
            "code": 422,
            "message": f'X is invalid: spec.password: Invalid value: "{c}": bad',
            "details": {"causes": [{"message": f'Invalid value: "{c}": bad', "field": "spec.password"}]},
        }
    },
    "BasicAuth secret CRD": lambda c: {
        "requestObject": {"kind": "Middleware", "spec": {"basicAuth": {"users": [f"admin:$apr1$H6uskkkW${c}"]}}}
    },
    "Cloud-init": lambda c: {
        "requestObject": {
            "kind": "VirtualMachine",
            "spec": {"cloudInitNoCloud": {"userData": f"#cloud-config\npassword: {c}\nchpasswd: {{ expire: False }}\n"}},
        }
    },
    "Cloud-init b64": lambda c: {
        "requestObject": {
            "kind": "VirtualMachine",
            "spec": {"cloudInitNoCloud": {"userDataBase64": b64(f"#cloud-config\npassword: {c}\n")}},
        }
    },
    "cloud-init chpasswd": lambda c: {"requestObject": {"x": f"#cloud-config\nchpasswd:\n  list: |\n    root:{c}\n"}},
    "Machine ignition": lambda c: {
        "requestObject": {
            "kind": "MachineConfig",
            "spec": {"config": {"passwd": {"users": [{"name": "core", "passwordHash": f"$6$x${c}{c}"}]}}},
        }
    },
    "ignition data url": lambda c: {"requestObject": {"x": "data:text/plain;charset=utf-8;base64," + b64(f"PASSWORD={c}\n")}},
    "ignition data url enc": lambda c: {"requestObject": {"x": "data:," + quote(f"PASSWORD={c}\n")}},
    "initContainers": lambda c: {"requestObject": pod(command=["sh", "-c", f"mysqldump -u root -p{c} db"])},
    "args list": lambda c: {"requestObject": pod(args=["--db-user", "x", "--db-password", c])},
    "args psk": lambda c: {"requestObject": pod(args=["--psk", c])},
    "args psk=": lambda c: {"requestObject": pod(args=[f"--tls-psk={c}"])},
    "args -P": lambda c: {"requestObject": pod(args=["sqlcmd", "-S", "h", "-U", "sa", "-P", c])},
    "env pwd": lambda c: {"requestObject": pod(env=[{"name": "MSSQL_SA_PWD", "value": c}])},
    "env pw": lambda c: {"requestObject": pod(env=[{"name": "LDAP_BIND_PW", "value": c}])},
    "env cred": lambda c: {"requestObject": pod(env=[{"name": "SERVICE_CREDENTIALS", "value": c}])},
    "env secret": lambda c: {"requestObject": pod(env=[{"name": "OAUTH_SECRET", "value": c}])},
    "env secret2": lambda c: {"requestObject": pod(env=[{"name": "SECRET", "value": c}])},
    "env key": lambda c: {
        "requestObject": pod(
            env=[{"name": "ENCRYPTION_KEY", "value": c}, {"name": "API_KEY", "value": c}, {"name": "DD_API_KEY", "value": c}]
        )
    },
    "env apikey list": lambda c: {"requestObject": pod(env=[{"name": "KEYS", "value": f"api_keys: [{c}]"}])},
    "env url": lambda c: {"requestObject": pod(env=[{"name": "DATABASE_URL", "value": f"postgres://a:{c}@h/d"}])},
    "env conn": lambda c: {
        "requestObject": pod(env=[{"name": "ConnectionStrings__Default", "value": f"Server=h;User Id=sa;Password={c};"}])
    },
    "env conn amqp": lambda c: {"requestObject": pod(env=[{"name": "BROKER", "value": f"amqps://u:{c}@h:5671/v"}])},
    "env json": lambda c: {"requestObject": pod(env=[{"name": "X", "value": J({"db": {"password": c}})}])},
    "pull secret inline": lambda c: {"requestObject": {"spec": {"pullSecret": J({"auths": {"r": {"auth": b64("u:" + c)}}})}}},
    "annot vault token": lambda c: {
        "requestObject": {"metadata": {"annotations": {"vault.security.banzaicloud.io/vault-token": c}}}
    },
    "annot auth": lambda c: {
        "requestObject": {
            "metadata": {
                "annotations": {
                    "nginx.ingress.kubernetes.io/configuration-snippet": f'proxy_set_header Authorization "Basic {b64("u:" + c)}";'
                }
            }
        }
    },
    "annot snippet": lambda c: {
        "requestObject": {
            "metadata": {
                "annotations": {"nginx.ingress.kubernetes.io/configuration-snippet": f'proxy_set_header X-Api-Key "{c}";'}
            }
        }
    },
    "nginx header": lambda c: {"requestObject": _cm(**{"nginx.conf": f"proxy_set_header Authorization 'Bearer {c}';\n"})},
    "haproxy": lambda c: {
        "requestObject": _cm(x=f"userlist x\n  user admin insecure-password {c}\n  user b password $5$x${c}{c}\n")
    },
    "pgbouncer scram": lambda c: {"requestObject": _cm(**{"userlist.txt": f'"admin" "SCRAM-SHA-256$4096:{b64(c)}$x:y"\n'})},
    "redis.conf": lambda c: {"requestObject": _cm(x=f"requirepass {c}\nmasterauth {c}\nuser default on >{c} ~* +@all\n")},
    "users.acl": lambda c: {"requestObject": _cm(x=f"user alice on >{c} ~* &* +@all\n")},
    "mosquitto": lambda c: {"requestObject": _cm(x=f"admin:$7$101$salt${c}{c}\n")},
    "sudoers": lambda c: {"requestObject": pod(command=["sh", "-c", f"echo {c} | sudo -S apt install x"])},
    "sudo <<<": lambda c: {"requestObject": pod(command=["sh", "-c", f"sudo -S apt install x <<< {c}"])},
    "wpa": lambda c: {"requestObject": _cm(x=f'network={{\n ssid="a"\n psk="{c}"\n}}\n')},
    "strongswan": lambda c: {"requestObject": _cm(x=f'secrets {{\n ike-1 {{\n  secret = "{c}"\n }}\n}}\n')},
    "ipsec.secrets": lambda c: {"requestObject": _cm(x=f'%any %any : PSK "{c}"\na : XAUTH "{c}"\na : EAP "{c}"\n')},
    "openvpn": lambda c: {"requestObject": _cm(x=f"<auth-user-pass>\nuser\n{c}\n</auth-user-pass>\n")},
    "openvpn tls-auth": lambda c: {
        "requestObject": _cm(
            x=f"<tls-auth>\n-----BEGIN OpenVPN Static key V1-----\n{c.encode().hex()}\n-----END OpenVPN Static key V1-----\n</tls-auth>\n"
        )
    },
    "frp": lambda c: {"requestObject": _cm(x=f"[common]\ntoken = {c}\n")},
    "cockroach": lambda c: {"requestURI": command(["cockroach", "sql", "--url", f"postgresql://root:{c}@h:26257"])},
    "git credential": lambda c: {"requestObject": _cm(x=f"https://bot:{c}@github.com\n")},
    "ssh config ProxyCommand": lambda c: {"requestObject": _cm(x=f"ProxyCommand sshpass -p {c} ssh x\n")},
    "S3 creds": lambda c: {
        "requestObject": _cm(cloud=f"[default]\naws_access_key_id=AKIAIOSFODNN7EXAMPLE\naws_secret_access_key={c}\n")
    },
    "velero s3": lambda c: {
        "requestObject": {"kind": "BackupStorageLocation", "spec": {"config": {"accessKey": "x", "secretKey": c}}}
    },
    "Keycloak CR": lambda c: {"requestObject": {"kind": "KeycloakClient", "spec": {"client": {"secret": c, "clientSecret": c}}}},
    "KeycloakUser": lambda c: {
        "requestObject": {"kind": "KeycloakUser", "spec": {"user": {"credentials": [{"type": "password", "value": c}]}}}
    },
    "oidc yaml": lambda c: {
        "requestObject": _cm(
            **{
                "dex.yaml": f"staticClients:\n- id: x\n  secret: {c}\nconnectors:\n- config:\n    clientSecret: {c}\n    bindPW: {c}\n"
            }
        )
    },
    "dex staticPasswords": lambda c: {
        "requestObject": _cm(**{"dex.yaml": f'staticPasswords:\n- email: a\n  hash: "$2a$10${c}{c}abcde"\n'})
    },
    "JSON in YAML": lambda c: {"requestObject": _cm(x=f"config: '{J({'password': c})}'\n")},
    "toml": lambda c: {
        "requestObject": _cm(
            x=f'[plugins.registry.configs."r".auth]\n  username = "u"\n  password = "{c}"\n  auth = "{b64("u:" + c)}"\n'
        )
    },
    "properties ws": lambda c: {"requestObject": _cm(x=f"db.password \t {c}\n")},
    "properties colon": lambda c: {"requestObject": _cm(x=f"db.password:{c}\n")},
    "properties cont": lambda c: {"requestObject": _cm(x=f"db.password=\\\n    {c}\n")},
    "gradle": lambda c: {"requestObject": _cm(x=f"credentials {{ username 'u'; password '{c}' }}\n")},
    "maven": lambda c: {"requestObject": _cm(x=f"<server><id>x</id><username>u</username><password>{c}</password></server>")},
    "xml cdata": lambda c: {"requestObject": _cm(x=f"<password><![CDATA[{c}]]></password>")},
    "xml ml": lambda c: {"requestObject": _cm(x=f"<password>\n  {c}\n</password>")},
    "xml attr": lambda c: {"requestObject": _cm(x=f'<password encrypted="false">{c}</password>')},
    "plist": lambda c: {"requestObject": _cm(x=f"<key>password</key><string>{c}</string>")},
    "ini ;": lambda c: {"requestObject": _cm(x=f"; password={c}\n# token: {c}\n")},
    "js template": lambda c: {"requestObject": _cm(x=f"password: `{c}`")},
    "shell concat": lambda c: {"requestObject": _cm(x=f"PASSWORD=\"\"'{c}'\n")},
    "shell read": lambda c: {"requestObject": _cm(x=f"read -r PASSWORD <<< '{c}'\n")},
    "powershell": lambda c: {"requestObject": _cm(x=f"$p = ConvertTo-SecureString '{c}' -AsPlainText -Force\n")},
    "powershell net user": lambda c: {"requestObject": _cm(x=f"net user admin {c} /add\n")},
    "cmdkey": lambda c: {"requestObject": _cm(x=f"cmdkey /add:h /user:u /pass:{c}\n")},
    "python": lambda c: {"requestObject": _cm(x=f"client = Client(password=\"{c}\")\nauth=('user', '{c}')\n")},
    "python auth": lambda c: {"requestObject": _cm(x=f"requests.get(u, auth=('user', '{c}'))\n")},
    "go": lambda c: {"requestObject": _cm(x=f'Password: "{c}",\n')},
    "hex": lambda c: {"requestObject": _cm(x=f"password: {c.encode().hex()}\n")},
    "yaml binary": lambda c: {"requestObject": _cm(x=f"password: !!binary |\n  {b64(c)}\n")},
    "utf16": lambda c: {"requestObject": _cm(x=base64.b64encode(f"password={c}".encode("utf-16-le")).decode())},
    "binaryData": lambda c: {"requestObject": {"kind": "ConfigMap", "binaryData": {"x": b64(f"password={c}")}}},
    "rancher token": lambda c: {"requestObject": {"kind": "Token", "apiVersion": "management.cattle.io/v3", "token": c}},
    "openshift": lambda c: {
        "requestObject": {
            "kind": "OAuth",
            "spec": {"identityProviders": [{"openID": {"clientSecret": {"name": "x"}}}]},
            "x": f"oc login --token=sha256~{c}",
        }
    },
    "ServiceBinding": lambda c: {"requestObject": {"kind": "ServiceInstance", "spec": {"parameters": {"password": c}}}},
    "ArgoWorkflow params": lambda c: {
        "requestObject": {"kind": "Workflow", "spec": {"arguments": {"parameters": [{"name": "github-token", "value": c}]}}}
    },
    "Tekton params": lambda c: {
        "requestObject": {"kind": "PipelineRun", "spec": {"params": [{"name": "registryPassword", "value": c}]}}
    },
    "Tekton array": lambda c: {
        "requestObject": {"kind": "PipelineRun", "spec": {"params": [{"name": "args", "value": ["--password", c]}]}}
    },
    "name value default": lambda c: {"requestObject": {"params": [{"name": "password", "default": c}]}},
    "spark conf": lambda c: {"requestObject": {"spec": {"sparkConf": {"spark.hadoop.fs.s3a.secret.key": c}}}},
    "hadoop xml": lambda c: {"requestObject": _cm(x=f"<property><name>fs.s3a.secret.key</name><value>{c}</value></property>")},
    "terraform state": lambda c: {"requestObject": _cm(x=J({"resources": [{"instances": [{"attributes": {"password": c}}]}]}))},
    "terraform var": lambda c: {"requestObject": _cm(x=f'db_password = "{c}"\n')},
    "ansible": lambda c: {"requestObject": _cm(x=f"ansible_ssh_pass: {c}\nansible_become_pass={c}\n")},
    "jenkins": lambda c: {
        "requestObject": _cm(x=f'credentials:\n  - usernamePassword:\n      password: "{c}"\n  - string:\n      secret: "{c}"\n')
    },
    "fluentd": lambda c: {"requestObject": _cm(x=f"<match>\n  password {c}\n  shared_key {c}\n</match>\n")},
    "fluentbit": lambda c: {"requestObject": _cm(x=f"[OUTPUT]\n    HTTP_Passwd {c}\n    HTTP_User x\n")},
    "splunk hec": lambda c: {"requestObject": _cm(x=f"hec_token 8f14e45f-ceea-467a-9a36-{c[:12]}\n")},
    "telegraf": lambda c: {"requestObject": _cm(x=f'  token = "{c}=="\n')},
    "datadog": lambda c: {"requestObject": _cm(x=f"api_key: {c}\napp_key: {c}\n")},
    "newrelic": lambda c: {"requestObject": _cm(x=f"license_key: {c}\n")},
    "smtp": lambda c: {"requestObject": _cm(x=f'[smtp]\nuser = a\npassword = """{c}"""\n')},
    "smtp bare": lambda c: {"requestObject": _cm(x=f"smtp_password {c}\n")},
    "traefik": lambda c: {"requestObject": _cm(x=f"--providers.x.password={c}")},
    "cookie secret": lambda c: {
        "requestObject": pod(
            env=[{"name": "OAUTH2_PROXY_COOKIE_SECRET", "value": c}, {"name": "OAUTH2_PROXY_CLIENT_SECRET", "value": c}]
        )
    },
    "sas conn": lambda c: {
        "requestObject": pod(env=[{"name": "CS", "value": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={c}{c}==;"}])
    },
    "gcp sa b64": lambda c: {
        "requestObject": pod(
            env=[
                {
                    "name": "GCP",
                    "value": b64(J({"type": "service_account", "private_key": f"-----BEGIN PRIVATE KEY-----\n{c}\n-----END"})),
                }
            ]
        )
    },
    "impersonate extra": lambda c: {"impersonatedUser": {"username": "x", "extra": {"scopes": [f"token:{c}"]}}},
    "annotation key": lambda c: {"annotations": {f"x/password={c}": "v"}},
    "label": lambda c: {"requestObject": {"metadata": {"labels": {"token": c}}}},
    "generateName": lambda c: {"requestObject": {"metadata": {"generateName": f"ghp_{c}{c[:12]}-"}}},
    "unicode esc": lambda c: {"requestObject": {"x": '{"pass\\u0077ord":"' + c + '"}'}},
    "german": lambda c: {"requestObject": _cm(x=f"Passwort: {c}\nkennwort={c}\n")},
    "french": lambda c: {"requestObject": _cm(x=f"mot_de_passe: {c}\n")},
    "spanish": lambda c: {"requestObject": _cm(x=f"contrasena: {c}\n")},
}

# Kept: nothing in the event says that it is a value, or only what a word list in ASCII does not know.
KEPT_EVENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "patch env": lambda c: {
        "verb": "patch",
        "requestObject": [
            {"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": c},
            {"op": "add", "path": "/spec/template/spec/containers/0/env/1", "value": {"name": "DB_PASSWORD", "value": c}},
        ],
    },  # the name of the variable is not in the patch
    "SecretStore": lambda c: {
        "requestObject": {
            "kind": "SecretStore",
            "spec": {"provider": {"vault": {"auth": {"token": c}}, "fake": {"data": [{"key": "/foo", "value": c}]}}},
        }
    },  # any key, any value
    "AlertmanagerConfig": lambda c: {
        "requestObject": _cm(
            **{
                "alertmanager.yml": f"global:\n  smtp_auth_password: {c}\n  slack_api_url: https://hooks.slack.com/services/T0/B0/{c}\nreceivers:\n- pagerduty_configs:\n  - service_key: {c}\n    routing_key: {c}\n"
            }
        )
    },  # routing_key is AMQP's word for an address
    "exec cat heredoc": lambda c: {
        "requestURI": command(["sh", "-c", f"cat > /root/.pgpass <<EOF\nlocalhost:5432:*:app:{c}\nEOF\n"])
    },  # pgpass has no word for it
    "pgbouncer": lambda c: {"requestObject": _cm(**{"userlist.txt": f'"admin" "{c}"\n'})},  # nor has its list of users
    "rook": lambda c: {
        "requestObject": {"spec": {"userKey": c, "adminKey": c, "adminSecret": c}}
    },  # userKey, adminKey: keys of maps
    "shell concat2": lambda c: {"requestObject": _cm(x=f'PASSWORD=abc"{c}"\n')},  # a word glued of several quotes
    "shell cat": lambda c: {"requestObject": _cm(x=f"PASSWORD=$(cat <<EOF\n{c}\nEOF\n)\n")},  # a document in a script
    "shell array": lambda c: {"requestObject": _cm(x=f"PASSWORDS=( '{c}' 'x' )\n")},  # a list in a script
    "shell printf": lambda c: {"requestObject": _cm(x=f"printf '%s' '{c}' > /etc/password\n")},  # a file's name says nothing
    "yaml map": lambda c: {
        "requestObject": _cm(x=f"passwords:\n  admin: {c}\n  x: y\n")
    },  # a map under a secret name has names of its own
    "yaml map2": lambda c: {"requestObject": _cm(x=f"tokens: {{a: {c}}}\n")},  # so here
    "json map": lambda c: {"requestObject": {"tokens": {"a": c}}},  # and here
    "aggregated": lambda c: {
        "requestObject": {"kind": "Secret", "apiVersion": "project.cattle.io/v3", "data": {"p": c}, "stringData": {"q": c}}
    },  # Secrets of other groups are of any form
    "rancher cluster": lambda c: {
        "requestObject": {
            "kind": "ClusterRegistrationToken",
            "status": {"command": f"kubectl apply -f https://r/v3/import/{c}{c}_c-m-x.yaml", "nodeCommand": f"x --token {c}"},
        }
    },  # a part of a path
    "sha256~": lambda c: {"userAgent": f"sha256~{c}{c}"},  # OpenShift's names of tokens look the same
    "zero width": lambda c: {"requestObject": _cm(x=f"pass\u200bword: {c}")},  # no program reads it as a password
    "fullwidth colon": lambda c: {"requestObject": _cm(x=f"password：{c}")},  # so here
    "spanish ñ": lambda c: {"requestObject": _cm(x=f"contraseña: {c}\n")},  # JSON may write the letter as an escape
}
