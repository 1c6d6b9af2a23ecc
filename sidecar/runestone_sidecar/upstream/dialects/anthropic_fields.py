"""What becomes of each field of an OpenAI chat request on its way to Anthropic's Messages API.

The table is the documentation and the tests' parameters. The rule behind it: what only tunes cost,
speed or quality is dropped where it has no counterpart; what a client's code relies on (choices,
logprobs, audio) is refused, since an answer without it would look like a success. A field that is
in nobody's table is refused too, as OpenAI itself does: a 400 that names it can be acted on.
"""

from collections.abc import Mapping
from typing import Final

from runestone_sidecar.upstream.dialects.fields import Field, carried, dropped, refused

FIELDS: Final[Mapping[str, Field]] = {
    "model": carried("the provider's name for it"),
    "messages": carried(
        "system and developer messages become `system`, in order; a user's last that shows nothing "
        "is refused where the model would go on with its own"
    ),
    "max_tokens": carried("as max_completion_tokens, which wins"),
    "max_completion_tokens": carried(
        "max_tokens, at most the model's limit; where none was sent, that limit, else 4096 and "
        "what `thinking` may spend"
    ),
    "stream": carried("as it is"),
    "stream_options": carried("include_usage is ours to do; the rest asks for nothing here"),
    "temperature": carried(
        "clamped to 0..1; dropped while thinking and by models that sample by themselves (4.7 on)"
    ),
    "top_p": carried("like temperature, which wins where a model takes only one (4.1 on)"),
    "stop": carried("stop_sequences, less those of white space only, which are refused there"),
    "tools": carried("name, description and parameters; strict is dropped, its limits differ"),
    "tool_choice": carried(
        "auto, none, required -> any, named -> tool, allowed_tools -> fewer tools"
    ),
    "parallel_tool_calls": carried("false -> disable_parallel_tool_use"),
    "response_format": carried(
        "json_schema -> output_config.format (4.5 on), else a forced tool, as for json_object"
    ),
    "reasoning_effort": carried("output_config.effort and adaptive thinking (4.6 on) or a budget"),
    "user": carried(
        "metadata.user_id; its SHA-256 where that may be a name, an address or a telephone number, "
        "which are refused there"
    ),
    "safety_identifier": carried("like user, over which it wins and which it replaces at OpenAI"),
    "service_tier": carried("auto, priority, fast, scale -> auto; default, flex -> standard_only"),
    "thinking": carried(
        "Anthropic's own field, as it is; wins over reasoning_effort; either gives way to a forced "
        "tool"
    ),
    "top_k": carried("Anthropic's own field, where the model takes sampling parameters"),
    "cache_control": carried("Anthropic's own field, as it is"),
    "frequency_penalty": dropped("no counterpart; tunes the style only"),
    "presence_penalty": dropped("no counterpart; tunes the style only"),
    "seed": dropped("no counterpart; best effort at OpenAI too"),
    "verbosity": dropped("no counterpart; tunes the length only"),
    "prediction": dropped("no counterpart; tunes the speed only"),
    "prompt_cache_key": dropped("no counterpart; tunes the cost only"),
    "prompt_cache_options": dropped("cache_control on parts is what this provider understands"),
    "prompt_cache_retention": dropped("cache_control on parts is what this provider understands"),
    "store": dropped("nothing is stored at this provider"),
    "metadata": dropped("labels stored completions, and nothing is stored at this provider"),
    "n": refused("This model gives one choice a request; `n` must be 1.", 1),
    "logprobs": refused("This model does not give log probabilities.", False),
    "top_logprobs": refused("This model does not give log probabilities.", 0),
    "logit_bias": refused("This model's tokens cannot be biased.", {}),
    "modalities": refused("This model answers in text only.", ["text"], []),
    "audio": refused("This model does not speak."),
    "web_search_options": refused("This model does not search the web here."),
    "moderation": refused("This model's provider does not moderate on request."),
    "functions": refused("`functions` is deprecated and not supported here; use `tools`.", []),
    "function_call": refused(
        "`function_call` is deprecated and not supported here; use `tool_choice`."
    ),
}
