"""The two kinds of URL that a resource may hold.

Written as patterns, not parsed, so that the API server and this code cannot read one URL as two
different hosts. Whom a connection may really reach is checked where it is made.
"""

import re
from typing import Annotated

from runestone_operator.api.forms import Form, matching
from runestone_operator.api.rules import Rule

# The last label of a name starts with a letter, so 2130706433, 0x7f.1 and 127.1 are no hosts.
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"({_OCTET}[.]){{3}}{_OCTET}"
_WORD = "[0-9a-fA-F]{1,4}"
_IPV6_FORMS = (  # eight words, or fewer with one gap anywhere
    f"({_WORD}:){{7}}{_WORD}",
    f"({_WORD}:){{1,7}}:",
    *(f"({_WORD}:){{1,{7 - after}}}(:{_WORD}){{1,{after}}}" for after in range(1, 7)),
    f":((:{_WORD}){{1,7}}|:)",
)
_IPV6 = rf"\[({'|'.join(_IPV6_FORMS)})\]"
_DNS = r"([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?[.])*[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_AUTHORITY = rf"({_DNS}|{_IPV4}|{_IPV6})(:{_PORT})?"
_PATH_LETTER = r"[A-Za-z0-9._~!$&()+,;=:@%/-]"

# In lower case. Link-local addresses, where clouds keep their metadata, with their IPv6 spellings;
# the metadata of Alibaba, Oracle and Azure, which is elsewhere; the API server's own names.
_FORBIDDEN_HOST = (
    r"169[.]254[.][0-9.]+|100[.]100[.]100[.]200|192[.]0[.]0[.]192|168[.]63[.]129[.]16"
    r"|metadata([.]google[.]internal)?"
    r"|\[fe[89ab][0-9a-f]:[0-9a-f:]*\]"
    r"|\[fd00:0?ec2:[0:]*:0{0,3}254\]"
    r"|\[[0:]*:ffff:a9fe:[0-9a-f]*\]"
    r"|kubernetes([.]default([.]svc([.][a-z0-9.-]*)?)?)?"
)
_FORBIDDEN = rf"https?://({_FORBIDDEN_HOST})(:[0-9]+)?(/.*)?"
_is_forbidden = re.compile(_FORBIDDEN)

BaseUrl = Annotated[
    str,
    Form(
        512,
        (
            matching(
                f"https?://{_AUTHORITY}(/{_PATH_LETTER}*)?",
                "must be an http or https URL of host, port and path,"
                " without user, query or fragment",
            ),
            Rule(
                cel=f"!self.lowerAscii().matches(r'^(?:{_FORBIDDEN})$')",
                message="must not point at the Kubernetes API or at a cloud's metadata service",
                holds=lambda url: _is_forbidden.fullmatch(url.lower()) is None,
            ),
        ),
    ),
]

WebhookUrlGlob = Annotated[
    str,
    Form(
        512,
        (
            # A star in the host stands only for leading labels, never for the end of a name.
            matching(
                rf"https?://([*][.])?{_AUTHORITY}/{_PATH_LETTER}*([*]{_PATH_LETTER}*){{0,4}}",
                "must be an http or https URL with a path, in which * may stand for leading host"
                " labels (https://*.example.com/) and, at most 4 times, for text in the path",
            ),
            Rule(
                cel=f"!self.lowerAscii().matches(r'^(?:{_FORBIDDEN})$')",
                message="must not point at the Kubernetes API or at a cloud's metadata service",
                holds=lambda url: _is_forbidden.fullmatch(url.lower()) is None,
            ),
        ),
    ),
]
