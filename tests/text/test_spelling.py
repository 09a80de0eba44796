"""How templates spell calls, learned from the templates alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec
from semantic_actors.text.tool_calls import Spelling

LINES = """\
{%- if tools %}{{- tools | tojson }}{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content }}
CALLS
{{- '<|im_end|>\\n' }}{%- endfor %}"""
EACH = "{%- for tool_call in message.tool_calls or [] %}{%- set f = tool_call.function %}"
HERMES = f"""{EACH}
{{%- if message.content or not loop.first %}}{{{{- '\\n' }}}}{{%- endif %}}
{{%- if tool_call.function %}}{{%- set tool_call = tool_call.function %}}{{%- endif %}}
{{{{- '<tool_call>\\n{{"name": "' + tool_call.name + '", "arguments": ' }}}}
{{{{- (tool_call.arguments | tojson) + '}}\\n</tool_call>' }}}}{{%- endfor %}}"""
NUMBERED = f"""{EACH}{{%- set tool_call = f %}}
{{{{- '<tool_call>{{"name": "' + tool_call.name + '", "arguments": ' }}}}
{{{{- (f.arguments | tojson) + ', "id": "' + message.tool_calls[loop.index0].id + '"}}' }}}}
{{{{- '</tool_call>' }}}}{{%- endfor %}}"""
MISTRAL = f"""{EACH}
{{{{- '[TOOL_CALLS]' + f.name + '[ARGS]' + (f.arguments | tojson) }}}}{{%- endfor %}}"""
MISTRAL_OF_OLD = f"""{{%- if message.tool_calls %}}{{{{- '[TOOL_CALLS] [' }}}}{EACH}
{{{{- '{{"name": "' + f.name + '", "arguments": ' + (f.arguments | tojson) }}}}
{{{{- '}}' + (']' if loop.last else ', ') }}}}{{%- endfor %}}{{%- endif %}}"""
KIMI = f"""{{%- if message.tool_calls %}}{{{{- '<|tool_calls_section_begin|>' }}}}{EACH}
{{{{- '<|tool_call_begin|>functions.' + f.name + ':0<|tool_call_argument_begin|>' }}}}
{{{{- (f.arguments | tojson) + '<|tool_call_end|>' }}}}{{%- endfor %}}
{{{{- '<|tool_calls_section_end|>' }}}}{{%- endif %}}"""
KIMI_WITH_IDS = KIMI.replace("functions.' + f.name + ':0", "' + tool_call.id + '")
CODER = f"""{EACH}{{{{- '<tool_call>\\n<function=' + f.name + '>\\n' }}}}
{{%- for key, value in f.arguments | items %}}
{{{{- '<parameter=' + key + '>\\n' + value | string + '\\n</parameter>\\n' }}}}{{%- endfor %}}
{{{{- '</function>\\n</tool_call>' }}}}{{%- endfor %}}"""
PYTHONIC = f"""{EACH}{{{{- '<|tool_call_start|>[' + f.name + '(' }}}}
{{%- for key, value in f.arguments | items %}}{{{{- key + '=' + value | tojson }}}}{{%- endfor %}}
{{{{- ')]<|tool_call_end|>' }}}}{{%- endfor %}}"""

Speak = Callable[..., Path]


def _learned(speak: Speak, calls: str) -> Spelling | None:
    codec = Codec.load(speak(LINES.replace("CALLS", calls)))
    assert codec._notation is not None, "the notation is one that is known"
    return codec._notation.spelling


@pytest.mark.parametrize(
    ("calls", "spelling"),
    [
        (
            HERMES,
            Spelling(
                '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", separator="\n"
            ),
        ),
        (MISTRAL, Spelling("[TOOL_CALLS]", "[ARGS]", closing="", separator="")),
        (
            KIMI,
            Spelling(
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
                ":0<|tool_call_argument_begin|>",
                "<|tool_call_end|><|tool_calls_section_end|>",
                separator="",
            ),
        ),
    ],
    ids=["hermes", "mistral", "kimi"],
)
def test_a_spelling_is_learned_from_the_template(
    speak: Speak, calls: str, spelling: Spelling
) -> None:
    """What stands around invented names and arguments is how any call is written."""
    assert _learned(speak, calls) == spelling


@pytest.mark.parametrize(
    "calls",
    [CODER, PYTHONIC, NUMBERED, MISTRAL_OF_OLD, KIMI_WITH_IDS, "[TOOL_CALLS]"],
    ids=["coder", "pythonic", "ids", "mistral-of-old", "kimi-with-ids", "not-shown"],
)
def test_what_cannot_be_written_piece_by_piece_has_no_spelling(speak: Speak, calls: str) -> None:
    """Arguments that are no JSON, ids inside, several calls in one list, none at all."""
    assert _learned(speak, calls) is None


def test_a_template_that_refuses_calls_has_no_spelling(speak: Speak) -> None:
    """A template that raises on a call is loaded all the same."""
    assert (
        _learned(
            speak, "{% if message.tool_calls %}{{ raise_exception('[TOOL_CALLS]') }}{% endif %}"
        )
        is None
    )


def test_the_pocket_model_has_a_spelling() -> None:
    """The bundled model writes calls as its template does."""
    notation = Codec.load(pocket_path())._notation

    assert notation is not None
    assert notation.spelling == Spelling(
        '<tool_call>{"name": "', '", "arguments": ', "}</tool_call>", separator=""
    )
