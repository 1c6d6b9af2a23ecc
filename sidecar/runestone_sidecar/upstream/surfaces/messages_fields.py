"""What becomes of each field and block of a Messages request on its way to a chat.

The tables are the documentation and the tests' parameters; `dialects/fields.py` has the rule behind
them. A provider of Anthropic's own format is asked natively and needs no table.
"""

from collections.abc import Mapping
from typing import Final

from runestone_sidecar.upstream.dialects.fields import Field, carried, dropped, refused

_OF_ITS_PROVIDER: Final = "is a tool that runs at Anthropic; this model's provider has no such."

FIELDS: Final[Mapping[str, Field]] = {
    "model": carried("the provider's name for it"),
    "messages": carried(
        "block by block, by the table of blocks, turns of the user in a row as one; a reply to be "
        "continued is refused"
    ),
    "system": carried("one system message, its blocks parted by an empty line"),
    "max_tokens": carried("max_completion_tokens, or max_tokens where the vendor wants it; not 0"),
    "stream": carried("as it is; the usage is always asked for"),
    "stop_sequences": carried("stop; which of them was met is known from vLLM and SGLang only"),
    "temperature": carried("as it is: 0..1 here, 0..2 there"),
    "top_p": carried("as it is"),
    "tools": carried(
        "name, description, input_schema; strict where the schema is one that OpenAI can enforce; "
        "only tools of the client's own"
    ),
    "tool_choice": carried(
        "auto, none, any -> required, tool -> function; disable_parallel_tool_use -> "
        "parallel_tool_calls"
    ),
    "metadata": carried(
        "user_id as user; its SHA-256 where it is longer than the 64 characters that OpenAI takes, "
        "or holds others than vendors take"
    ),
    "service_tier": carried("standard_only -> default; auto asks for nothing"),
    "thinking": carried(
        "enabled -> reasoning_effort by its budget; adaptive: how hard is output_config's to say; "
        "disabled: nothing that all models take says so"
    ),
    "output_config": carried(
        "format -> response_format; effort -> reasoning_effort, which wins over a budget; "
        "xhigh and max are high, the highest that all take"
    ),
    "output_format": carried("as output_config.format, whose name in an older beta it is"),
    "top_k": dropped("no counterpart; tunes the variety only"),
    "cache_control": dropped("caching is automatic there; tunes the cost only"),
    "speed": dropped("no counterpart; tunes the speed only"),
    "context_management": dropped("the model is shown the conversation whole; tunes the cost only"),
    "diagnostics": dropped("tells of Anthropic's own cache"),
    "fallbacks": dropped("this gateway's routing has its own"),
    "fallback_credit_token": dropped("tunes the cost only"),
    "user_profile_id": dropped("labels the request at Anthropic"),
    "container": refused("Containers are Anthropic's; this model's provider has none."),
    "mcp_servers": refused("This model's provider does not call MCP servers itself.", []),
    "billing_policy": refused(
        "This model's provider bills the owner of its key, and nobody else.",
        {"type": "billing_policy"},
        {"type": "billing_policy", "bill_to": "self"},
    ),
    "compaction": refused("This model's provider does not compact conversations."),
    "thread": refused("Nothing is stored at this model's provider."),
    "inference_geo": refused("Where this model computes cannot be asked for.", "global"),
}

BLOCKS: Final[Mapping[str, Field]] = {
    "text": carried("text; citations and cache_control are dropped; nothing visible, no text"),
    "image": carried("image_url, from base64 or a URL; an uploaded file is refused"),
    "document": carried(
        "PDF in base64 -> file; text and content -> text after title and context; a URL, an "
        "uploaded file and citations are refused"
    ),
    "search_result": carried("text after title and source; citations are refused"),
    "thinking": carried(
        "thinking_blocks where signed, and reasoning_content: both as its vendor takes them"
    ),
    "redacted_thinking": carried("thinking_blocks, as its vendor takes them"),
    "tool_use": carried("a tool call, its input as JSON"),
    "tool_result": carried(
        "a tool message, before all else of its turn; is_error is the prefix 'Error: '; an image "
        "or a file leaves '[attachment N]' and follows in the turn's user message after that text"
    ),
    "server_tool_use": refused(f"This {_OF_ITS_PROVIDER}"),
    "web_search_tool_result": refused(f"Web search {_OF_ITS_PROVIDER}"),
    "web_fetch_tool_result": refused(f"Web fetch {_OF_ITS_PROVIDER}"),
    "code_execution_tool_result": refused(f"Code execution {_OF_ITS_PROVIDER}"),
    "bash_code_execution_tool_result": refused(f"Code execution {_OF_ITS_PROVIDER}"),
    "text_editor_code_execution_tool_result": refused(f"Code execution {_OF_ITS_PROVIDER}"),
    "tool_search_tool_result": refused(f"Tool search {_OF_ITS_PROVIDER}"),
    "container_upload": refused("Containers are Anthropic's; this model's provider has none."),
    "mcp_tool_use": refused("This model's provider does not call MCP servers itself."),
    "mcp_tool_result": refused("This model's provider does not call MCP servers itself."),
    "compaction": refused("This model's provider does not compact conversations."),
}
