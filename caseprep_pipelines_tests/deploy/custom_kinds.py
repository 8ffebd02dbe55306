"""Schemas of the custom kinds that deploy/kubernetes uses: what of them we write, after their projects' documentation.

Kubernetes' own schemas hold none of these. Each lists the fields that we use and allows no other, so that a misspelt
field or a value of the wrong type is found here and not by an operator's log.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer"}
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h))+$"}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def exactly(optional: Schema | None = None, /, **required: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


_SERVICE_ACCOUNT = exactly(name=TEXT)
_SECRET_STORE = exactly(
    provider={
        "oneOf": [
            exactly(
                aws=exactly(
                    service=one_of("SecretsManager", "ParameterStore"),
                    region=TEXT,
                    auth=exactly(jwt=exactly(serviceAccountRef=_SERVICE_ACCOUNT)),
                )
            ),
            exactly(
                gcpsm=exactly(
                    projectID=TEXT,
                    auth=exactly(
                        workloadIdentity=exactly(
                            clusterLocation=TEXT, clusterName=TEXT, serviceAccountRef=_SERVICE_ACCOUNT
                        )
                    ),
                )
            ),
            exactly(
                azurekv=exactly(
                    authType=one_of("WorkloadIdentity"),
                    vaultUrl={"type": "string", "pattern": "^https://"},
                    serviceAccountRef=_SERVICE_ACCOUNT,
                )
            ),
            exactly(
                vault=exactly(
                    server={"type": "string", "pattern": "^https://"},
                    path=TEXT,
                    version=one_of("v1", "v2"),
                    auth=exactly(kubernetes=exactly(mountPath=TEXT, role=TEXT, serviceAccountRef=_SERVICE_ACCOUNT)),
                )
            ),
        ]
    }
)
_EXTERNAL_SECRET = exactly(
    refreshInterval=DURATION,
    secretStoreRef=exactly(kind=one_of("SecretStore"), name=TEXT),
    target=exactly(
        {"template": exactly(engineVersion=one_of("v2"), data=LABELS)}, name=TEXT, creationPolicy=one_of("Owner")
    ),
    data=many(exactly(secretKey=TEXT, remoteRef=exactly(key=TEXT, property=TEXT))),
)
_TAINTS = many(exactly(key=TEXT, value=TEXT, effect=one_of("NoSchedule", "PreferNoSchedule", "NoExecute")))
_NODE_POOL = exactly(
    weight={"type": "integer", "minimum": 1, "maximum": 100},
    template=exactly(
        metadata=exactly(labels=LABELS),
        spec=exactly(
            {"taints": _TAINTS},
            nodeClassRef=exactly(group=TEXT, kind=TEXT, name=TEXT),
            expireAfter=DURATION,
            terminationGracePeriod=DURATION,
            requirements=many(
                exactly(
                    key=TEXT,
                    operator=one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
                    values=many(TEXT),
                )
            ),
        ),
    ),
    limits=LABELS,
    disruption=exactly(consolidationPolicy=one_of("WhenEmpty", "WhenEmptyOrUnderutilized"), consolidateAfter=DURATION),
)
_TAGGED = many(exactly(tags=LABELS))
_EC2_NODE_CLASS = exactly(
    # never `latest`: nodes of the same name would not be the same
    amiSelectorTerms=many(exactly(alias={"type": "string", "pattern": r"^[a-z0-9]+@v[0-9]{8}$"})),
    role=TEXT,
    subnetSelectorTerms=_TAGGED,
    securityGroupSelectorTerms=_TAGGED,
    metadataOptions=exactly(
        httpEndpoint=one_of("enabled"), httpTokens=one_of("required"), httpPutResponseHopLimit=WHOLE
    ),
    blockDeviceMappings=many(
        exactly(
            deviceName=TEXT,
            ebs=exactly(
                volumeSize=TEXT, volumeType=TEXT, encrypted={"const": True}, deleteOnTermination={"type": "boolean"}
            ),
        )
    ),
)
_AKS_NODE_CLASS = exactly(imageFamily=one_of("Ubuntu2204", "AzureLinux"), osDiskSizeGB=WHOLE)
_ISSUER = {"oneOf": [exactly(selfSigned={"const": {}}), exactly(ca=exactly(secretName=TEXT))]}
_CERTIFICATE = exactly(
    {
        "isCA": {"type": "boolean"},
        "commonName": {"type": "string", "maxLength": 64},
        "dnsNames": many(TEXT),
        "duration": DURATION,
    },
    secretName=TEXT,
    privateKey=exactly({"rotationPolicy": one_of("Always", "Never")}, algorithm=one_of("ECDSA", "RSA"), size=WHOLE),
    issuerRef=exactly(kind=one_of("Issuer", "ClusterIssuer"), name=TEXT),
)
_SELECTOR = exactly(matchLabels=LABELS)
_PEER_AUTHENTICATION = exactly(selector=_SELECTOR, mtls=exactly(mode=one_of("STRICT", "PERMISSIVE")))
_AUTHORIZATION = exactly(
    selector=_SELECTOR,
    action=one_of("ALLOW"),
    rules=many(
        {
            "type": "object",
            "properties": {
                "from": many(exactly(source=exactly(principals=many(TEXT)))),
                "to": many(exactly(operation=exactly(ports=many({"type": "string", "pattern": "^[0-9]+$"})))),
            },
            "required": ["from", "to"],
            "additionalProperties": False,
        }
    ),
)

#: By API version and kind: the schema of `spec`.
CUSTOM: dict[tuple[str, str], Schema] = {
    ("external-secrets.io/v1", "SecretStore"): _SECRET_STORE,
    ("external-secrets.io/v1", "ExternalSecret"): _EXTERNAL_SECRET,
    ("karpenter.sh/v1", "NodePool"): _NODE_POOL,
    ("karpenter.k8s.aws/v1", "EC2NodeClass"): _EC2_NODE_CLASS,
    ("karpenter.azure.com/v1beta1", "AKSNodeClass"): _AKS_NODE_CLASS,
    ("cert-manager.io/v1", "Issuer"): _ISSUER,
    ("cert-manager.io/v1", "Certificate"): _CERTIFICATE,
    ("security.istio.io/v1", "PeerAuthentication"): _PEER_AUTHENTICATION,
    ("security.istio.io/v1", "AuthorizationPolicy"): _AUTHORIZATION,
}
