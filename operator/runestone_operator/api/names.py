"""Names, and other short texts, that resources hold: of objects, models, headers, tenants."""

from typing import Annotated

from runestone_operator.api.forms import LABEL, SUBDOMAIN, Form, matching

ItemName = Annotated[
    str,
    Form(
        63,
        (matching(LABEL, "must be lower case letters, digits and '-' (a DNS label)"),),
    ),
]
ObjectName = Annotated[
    str,
    Form(
        253,
        (matching(SUBDOMAIN, "must be a Kubernetes object name (a DNS subdomain)"),),
    ),
]
ResourceName = Annotated[
    str,
    Form(
        63,
        (matching(SUBDOMAIN, "must be a Kubernetes object name (a DNS subdomain)"),),
    ),
]
SecretKey = Annotated[
    str,
    Form(253, (matching(r"[A-Za-z0-9._-]+", "must be a key of a Secret: letters, digits, . _ -"),)),
]
Tenant = Annotated[
    str,
    Form(
        63,
        (
            matching(
                r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
                "must be letters, digits, '.', '_' and '-', with a letter or digit at both ends",
            ),
        ),
    ),
]
ModelName = Annotated[
    str,
    Form(
        128,
        (
            matching(
                r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*",
                "must be a model name: letters, digits and . _ : / @ + -",
            ),
        ),
    ),
]
_GLOB_LETTER = "[A-Za-z0-9._:/@+?-]"
Glob = Annotated[
    str,
    Form(
        128,
        (
            # At most 8 stars: with the length that bounds what matching can cost.
            matching(
                f"[A-Za-z0-9*?]{_GLOB_LETTER}*([*]{_GLOB_LETTER}*){{0,7}}",
                "must be a model name, in which * (at most 8) stands for any text"
                " and ? for one character",
            ),
        ),
    ),
]
HeaderName = Annotated[
    str,
    Form(
        64,
        (
            matching(
                r"[a-z0-9][a-z0-9._-]*",
                "header names must be written in lower case letters, digits, '.', '_' and '-'",
            ),
        ),
    ),
]
HeaderValue = Annotated[
    str,
    Form(
        1024,
        (
            matching(
                r"[!-~]([ -~]*[!-~])?",
                "header values must be printable ASCII without line breaks or outer spaces",
            ),
        ),
    ),
]
Text = Annotated[
    str,
    Form(
        128,
        (matching(r"[^\x00-\x1f\x7f]*", "must be one line of text, without control characters"),),
    ),
]
