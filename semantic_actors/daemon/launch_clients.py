"""What a client needs to hear to talk to this daemon: arguments and environment, no files.

The user's own environment is passed on. What says whom to talk to is overwritten in it, so that no
request and no key of the user's goes astray; what tunes a client gives way to what the user chose.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from semantic_actors.domain.errors import ConfigurationError

NO_KEY: Final = "semantic-actors"
"""What a client says as its key to a daemon that asks for none: they all insist on one."""

KEY_VARIABLE: Final = "SEMANTIC_ACTORS_KEY"

MAX_OUTPUT_TOKENS: Final = 32_000
"""Tokens of one answer, at most. Clients keep as much of the context free for it."""

TIMEOUT_MS: Final = 3_600_000
"""Milliseconds a client waits for an answer that is not streamed: a long prompt's prefill."""

_PROVIDER: Final = "semantic-actors"


class Endpoint(msgspec.Struct, frozen=True):
    """A daemon, as clients see it: `url` without a path, `context` in tokens."""

    url: str
    key: str
    model: str
    context: int

    @property
    def output(self) -> int:
        """Tokens that an answer may have: at most a quarter of the context."""
        return min(MAX_OUTPUT_TOKENS, max(1, self.context // 4))


Environment = Mapping[str, str]
Command = tuple[list[str], dict[str, str]]
"""Arguments in front of the user's own, and the whole environment."""


class Client(msgspec.Struct, frozen=True):
    """A program that talks to models: its name, how to get it, how to point it at a daemon."""

    program: str
    install: str
    prepare: Callable[[Endpoint, Environment], Command]


def claude(endpoint: Endpoint, environment: Environment) -> Command:
    """Claude Code. A token and not a key: of a key it would ask whether to use it."""
    models = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
    ours = {
        "ANTHROPIC_BASE_URL": endpoint.url,
        "ANTHROPIC_AUTH_TOKEN": endpoint.key,
        "ANTHROPIC_API_KEY": "",
        **{f"ANTHROPIC_{name}": endpoint.model for name in models},
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(endpoint.context),
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    tuning = {
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(endpoint.output),
        "ENABLE_TOOL_SEARCH": "true",  # half the prompt; a tool that is found later is appended
        "API_TIMEOUT_MS": str(TIMEOUT_MS),
    }
    elsewhere = {f"CLAUDE_CODE_USE_{cloud}" for cloud in ("BEDROCK", "VERTEX", "FOUNDRY")}
    kept = {name: value for name, value in environment.items() if name not in elsewhere}
    return [], tuning | _direct(kept, endpoint) | ours


def codex(endpoint: Endpoint, environment: Environment) -> Command:
    """Codex. Settings on its command line win over its file and leave it as it is."""
    provider = f"model_providers.{_PROVIDER}"
    settings: dict[str, str | int | bool] = {
        "model": endpoint.model,
        "model_provider": _PROVIDER,
        "model_context_window": endpoint.context,
        "model_max_output_tokens": endpoint.output,
        "check_for_update_on_startup": False,
        "analytics.enabled": False,
        f"{provider}.name": _PROVIDER,
        f"{provider}.base_url": f"{endpoint.url}/v1",
        f"{provider}.wire_api": "responses",
        f"{provider}.env_key": KEY_VARIABLE,
    }
    chosen = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]
    arguments = [part for setting in chosen for part in ("-c", setting)]
    return arguments, _direct(environment, endpoint) | {KEY_VARIABLE: endpoint.key}


def opencode(endpoint: Endpoint, environment: Environment) -> Command:
    """OpenCode. It lays the configuration in its environment over that in its files."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": _PROVIDER,
        "options": {"baseURL": f"{endpoint.url}/v1", "apiKey": f"{{env:{KEY_VARIABLE}}}"},
        "models": {
            endpoint.model: {
                "name": endpoint.model,
                "tool_call": True,
                "limit": {"context": endpoint.context, "output": endpoint.output},
            }
        },
    }
    config = _opencode_config(environment)
    providers = config.get("provider")
    model = f"{_PROVIDER}/{endpoint.model}"
    config |= {
        "provider": {**(providers if isinstance(providers, dict) else {}), _PROVIDER: provider},
        "model": model,
        "small_model": model,
    }
    quiet = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}
    ours = {"OPENCODE_CONFIG_CONTENT": json.dumps(config), KEY_VARIABLE: endpoint.key}
    return [], quiet | _direct(environment, endpoint) | ours


def _opencode_config(environment: Environment) -> dict[str, Any]:
    """Read the configuration that the user has put there already."""
    text = environment.get("OPENCODE_CONFIG_CONTENT") or "{}"
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        message = "OPENCODE_CONFIG_CONTENT in the environment is not a JSON object"
        raise ConfigurationError(message)
    return config


def _direct(environment: Environment, endpoint: Endpoint) -> dict[str, str]:
    """Return the environment in which no proxy stands between a client and the daemon."""
    host = endpoint.url.partition("://")[2].rpartition(":")[0].strip("[]")
    direct = dict(environment)
    for name in ("NO_PROXY", "no_proxy"):
        direct[name] = ",".join(filter(None, (environment.get(name), host)))
    return direct


CLIENTS: Final = {
    "claude": Client("claude", "npm install -g @anthropic-ai/claude-code", claude),
    "codex": Client("codex", "npm install -g @openai/codex", codex),
    "opencode": Client("opencode", "npm install -g opencode-ai", opencode),
}
