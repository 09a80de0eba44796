"""Every cap on what a client controls, in one table, each with its unit and its reason."""

from typing import Final

MAX_BODY_BYTES: Final = 8 * 2**20
"""HTTP body. A million tokens of text is about 4 MB."""

MAX_MESSAGES: Final = 10_000
"""Messages in one conversation; rendering is linear in them."""

MAX_TOOLS: Final = 1_000
"""Tools offered in one request."""

MAX_STOP_SEQUENCES: Final = 16
"""Stop strings; each costs a comparison per token."""

MAX_STOP_SEQUENCE_CHARS: Final = 256
"""Length of one stop string; the tail of the text is held back for that long."""

MAX_TOKENS_BOUND: Final = 2**31 - 1
"""Largest `max_tokens` accepted; more than the context leaves is clamped."""

MAX_SEED: Final = 2**63 - 1
"""Largest seed accepted, in absolute value."""

MAX_TOP_K: Final = 1_000_000
"""Largest `top_k` accepted; above the vocabulary it means off."""

MAX_LOGIT_BIASES: Final = 1_024
"""Tokens with a bias in one request; each is written into the logits of every draw."""

MAX_LOGIT_BIAS: Final = 100
"""Largest bias of a token, in absolute value; OpenAI's own, and as good as a ban or an order."""

MIN_REPETITION_PENALTY: Final = 0.01
"""Smallest divisor of logits; nearer to zero they would not be numbers any more."""

MAX_REPETITION_PENALTY: Final = 10
"""Largest divisor of logits; 1 is off, and from 2 on hardly a token is said twice."""

MAX_LOGPROBS: Final = 20
"""Likeliest tokens reported beside a drawn one; OpenAI's own bound."""

MAX_PAGE: Final = 1_000
"""Largest page of a list of models that may be asked for; Anthropic's own bound."""

MAX_CHOICES: Final = 16
"""Answers to one request, `n` to each of its prompts; each waits and runs as a turn of its own."""

MAX_PROMPT_TOKENS: Final = 2**19
"""Token ids in a prompt that is given in ids; some 30 ms to read, at a stretch."""

MAX_SESSION_ID_CHARS: Final = 512
"""Length of a session id in a header or body."""

MAX_JSON_CONTAINERS: Final = 100_000
"""Arrays and objects in a body. Eight megabytes could be millions of empty ones, and to build them
is one step that nothing interrupts, of 40 ms for so many."""

MAX_JSON_VALUES: Final = 250_000
"""Values in a body that follow another one, token ids aside; as long, written out again."""

MAX_JSON_DEPTH: Final = 200
"""Nesting of a tool schema or of tool arguments; templates walk them recursively."""

MAX_CONNECTIONS: Final = 1_024
"""Open HTTP connections."""

BODY_DEADLINE_S: Final = 30.0
"""Seconds a client has to send its body."""

WRITE_DEADLINE_S: Final = 10.0
"""Seconds a streaming client may leave its socket full before it is cut off."""

PING_INTERVAL_S: Final = 5.0
"""Seconds of silence in a stream after which a keep-alive is sent."""

MAX_SESSIONS: Final = 1_024
"""Sessions remembered; the least recently used leaves first, once its turns have ended."""

MAX_CONVERSATIONS: Final = 65_536
"""Conversations known by their messages alone; the oldest are forgotten first."""

MAX_REPLAY_TOKENS: Final = 131_072
"""Tokens of answers a session remembers; a forgotten one is tokenized from its text again."""

MAX_KNOWN_PATHS: Final = 16
"""Branches of a session whose token ids are kept to explain misses: sub-agents and retries."""

MAX_KNOWN_TOKENS: Final = 131_072
"""Token ids of these branches together, 4 bytes each: half a megabyte per session at most, beside
some 150 bytes per message. The oldest branch goes first; of a longer one the beginning is known."""

MAX_RESPONSES: Final = 1_024
"""Responses in RAM that can be gone on from by their id; the least recently used leaves first."""

MAX_RESPONSES_BYTES: Final = 64 * 2**20
"""What these take together; each holds the text of its conversation."""

MAX_REFERENCED_RESPONSES: Final = 64
"""Responses whose items one request may refer to; each may be a file to be read."""

MAX_METADATA: Final = 16
"""Pairs that a client may attach to a response; OpenAI's own bound, as are the next two."""

MAX_METADATA_KEY_CHARS: Final = 64
"""Length of the name of such a pair."""

MAX_METADATA_VALUE_CHARS: Final = 512
"""Length of its value."""

MAX_PROMPTS_IN_HAND: Final = 128
"""Prompts on their way through the text thread, each up to a whole body; more are refused."""

MAX_CONTROL_REQUEST_BYTES: Final = 64 * 2**10
"""A request on the control channel; the longest has two session names."""

MAX_CONTROL_CHUNK_BYTES: Final = 256 * 2**10
"""Part of a session's file on the control channel; the event loop copies one at a time."""

MAX_CONTROL_CONNECTIONS: Final = 32
"""Open connections of the control channel; each is a command line at work."""

CONTROL_FRAME_DEADLINE_S: Final = 10.0
"""Seconds in which a frame has to be complete, or to be taken off our hands."""

MAX_SCHEMA_BYTES: Final = 256 * 2**10
"""JSON text of one schema that an answer is held to; compiling takes some 100 ms at most."""

MAX_TOOL_SCHEMA_BYTES: Final = 2**20
"""Schemas of all tools of a request together; past it calls are held to being any object."""

MAX_SCHEMA_DEPTH: Final = 64
"""Nesting of a schema that an answer is held to; its compiler is recursive."""

MAX_SCHEMA_REACH: Final = 2_000
"""Depths of a schema and of all it refers to, added up: what one reference leads to may lead on,
and the compiler follows on its stack."""

MAX_SCHEMA_VALUES: Final = 10_000
"""Values in a schema, of `enum` too."""

MAX_SCHEMA_LITERAL_CHARS: Final = 4_096
"""Length of a property's name, a constant or a pattern: 100,000 would cost 30 ms for each token."""

MAX_SCHEMA_PROPERTIES: Final = 500
"""Properties of one object; the time to compile them grows with their square."""

MAX_SCHEMA_PATTERNS: Final = 16
"""`patternProperties` in one schema; each is intersected with each beside it."""

MAX_SCHEMA_ALTERNATIVES: Final = 256
"""Schemas in one `anyOf`, `oneOf`, `allOf` or `prefixItems`; each is followed with each token."""

MAX_MULTIPLE_OF: Final = 20_000
"""All `multipleOf` of a schema added up, without their decimal points, and their least common
multiple: the compiler counts to it in states of 200 bytes."""

MAX_NUMBER_DIGITS: Final = 20
"""Digits in a row in a number that an answer is held to: small models go on and on with them."""

MAX_GRAMMARS: Final = 64
"""Compiled grammars kept for the next request with the same schema or tools."""

MAX_GRAMMAR_BYTES: Final = 2 * 2**20
"""Schemas of all kept grammars together; a compiled one is some 30 to 300 times as large."""

MAX_GRAMMARS_IN_HAND: Final = 32
"""Grammars that are compiled or wait for it, one at a time; more are refused."""

GRAMMAR_DEADLINE_S: Final = 1.0
"""Seconds a request waits for its grammar."""
