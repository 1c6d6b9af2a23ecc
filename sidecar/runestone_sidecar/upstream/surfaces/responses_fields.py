"""What becomes of each field of OpenAI's Responses API on its way to a model that only chats.

The tables are the documentation and the tests' parameters; `dialects/fields.py` has the rule behind
them. What the provider's own dialect makes of the chat is in the dialect's table.
"""

from collections.abc import Mapping
from typing import Final

from runestone_sidecar.upstream.dialects.fields import Field, carried, dropped, refused

_NOT_STORED: Final = "Nothing is stored for this model: give the whole conversation as `input`."

# Of no request, in whatever API its provider is asked.
NOT_SERVED: Final[Mapping[str, Field]] = {
    "background": refused(
        "Responses are not made in the background here: nobody could fetch one, and what it uses "
        "would count for nobody.",
        False,
    ),
}

FIELDS: Final[Mapping[str, Field]] = {
    "model": carried("the provider's name for it"),
    "input": carried("messages, by the table of items; what the model said in one turn is joined"),
    "instructions": carried("a system message before all others"),
    "max_output_tokens": carried("max_completion_tokens"),
    "temperature": carried("as it is"),
    "top_p": carried("as it is"),
    "tools": carried("functions only; strict is as it was sent, so left out it is false"),
    "tool_choice": carried("named -> function, allowed_tools -> fewer tools; needs tools"),
    "parallel_tool_calls": carried("as it is, where there are tools"),
    "text": carried("by the table of its own"),
    "reasoning": carried("by the table of its own"),
    "top_logprobs": carried("top_logprobs and logprobs"),
    "include": carried(
        "message.output_text.logprobs -> logprobs; reasoning.encrypted_content is always given, "
        "and the rest is of tools that are refused"
    ),
    "user": carried("as it is"),
    "safety_identifier": carried("as it is"),
    "service_tier": carried("as it is, but for auto, which asks for nothing"),
    "prompt_cache_key": carried("as it is"),
    "metadata": carried("echoed in the reply, and not sent on"),
    "stream": carried("as it is"),
    "stream_options": dropped("no obfuscation is added here"),
    "store": dropped("nothing is stored here, and the reply says so"),
    "truncation": dropped("what is too long is refused by the provider"),
    "max_tool_calls": dropped("limits tools that are refused"),
    "context_management": dropped("nothing is compacted here; what is too long is refused"),
    "prompt_cache_options": dropped("of OpenAI's own models; tunes the cost only"),
    "prompt_cache_retention": dropped("of OpenAI's own models; tunes the cost only"),
    "background_options": dropped("says nothing without `background`"),
    "access_programs": dropped("of OpenAI's own models"),
    "image": dropped("tunes the cost only"),
    "previous_response_id": refused(_NOT_STORED),
    "conversation": refused(_NOT_STORED),
    "prompt": refused("Prompts stored at OpenAI are not known to this model; give the text."),
    **NOT_SERVED,
    "moderation": refused("This model's provider does not moderate on request."),
}

TEXT_FIELDS: Final[Mapping[str, Field]] = {
    "format": carried("response_format: json_schema, json_object; text asks for nothing"),
    "verbosity": carried("verbosity, but for medium, which asks for nothing"),
}

REASONING_FIELDS: Final[Mapping[str, Field]] = {
    "effort": carried("reasoning_effort"),
    "summary": dropped("reasoning is shown as the provider gives it"),
    "generate_summary": dropped("the former name of summary"),
    "context": dropped("all reasoning that was sent along is used"),
    "mode": dropped("of OpenAI's own models; tunes the quality only"),
}

ITEMS: Final[Mapping[str, Field]] = {
    "message": carried("a message; developer -> system, which more vendors know"),
    "function_call": carried("a tool call of the model's turn"),
    "function_call_output": carried("a tool message"),
    "reasoning": carried(
        "thinking_blocks of what our own reply sealed in encrypted_content, reasoning_content of "
        "plain text; what another model sealed is left out, since it alone can read it"
    ),
    "item_reference": refused("Nothing is stored for this model: give the item itself."),
}
UNKNOWN_ITEM: Final = refused("This kind of item is not supported for this model.")

INCLUDABLE: Final = frozenset(
    {
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "message.output_text.logprobs",
        "reasoning.encrypted_content",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
