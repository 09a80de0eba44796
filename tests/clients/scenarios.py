"""What each client is put through. A scenario raises if the client does not do as told.

Scripts decide what a model of 1.4 million parameters cannot: which tool, with which arguments, and
that there be two sub-agents. The answer is always what only the tool's result can tell.
"""

import json
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from tests.clients.programs import (
    AIDER,
    CLAUDE,
    CODEX,
    CONTINUE,
    LITELLM,
    LLM,
    OLD_CLAUDE,
    OPENCODE,
    Program,
)
from tests.clients.script import Script, Step
from tests.clients.stage import MARKER, ClientFailed, Stage

AGENTS: Final = ("agent-1", "agent-2")
"""Labels of the sub-agents' scripts."""

Call = tuple[str, dict[str, Any]]


class Scenario(msgspec.Struct, frozen=True):
    """A client, what it does, over which model; `quick` ones are the short form."""

    program: Program
    name: str
    play: Callable[[Stage], None]
    model: Literal["scripted", "pocket"] = "scripted"
    quick: bool = False


def _looking(call: Call, label: str = "main") -> str:
    """Script one call, and an answer that tells what its result shows."""
    answer = Step("The file says {found}.", find=r"marker-\d+")
    return f"Look it up. {Script(label, (Step(calls=(call,)), answer)).word}"


def _talking(label: str = "main") -> str:
    """Script an answer without a tool, to a question that is long enough to be worth keeping."""
    return f"{'All of this is to be kept in mind. ' * 60}{Script(label, (Step('I will.'),)).word}"


def _claude(stage: Stage, prompt: str, *arguments: str, **environment: str) -> dict[str, Any]:
    flags = ("--output-format", "json", "--dangerously-skip-permissions")
    said = stage.launch("-p", prompt, *flags, *arguments, **environment)
    document: dict[str, Any] = json.loads(said)
    return document


def _read(stage: Stage) -> Call:
    return "Read", {"file_path": str(stage.work / "a.txt")}


def _claude_reads(*arguments: str) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        stage.expect(_claude(stage, _looking(_read(stage)), *arguments)["result"])

    return play


def _claude_resumes(stage: Stage) -> None:
    first = _claude(stage, _talking())
    again = _claude(stage, _looking(_read(stage)), "--resume", first["session_id"])
    stage.expect(again["result"])


def _claude_delegates(stage: Stage) -> None:
    agents = tuple(_agent(stage, name) for name in AGENTS)
    answer = Step("Both say {found}.", find=r"marker-\d+")
    prompt = Script("main", (Step(calls=agents), answer)).word
    stage.expect(_claude(stage, prompt)["result"], f"Both say {MARKER}")
    one, other = ([turn for turn in stage.turns() if turn.label == name] for name in AGENTS)
    if not any(turn.beside(another) for turn in one for another in other):
        message = "its sub-agents were not there at once"
        raise ClientFailed(message)


def _agent(stage: Stage, label: str) -> Call:
    """Call a sub-agent that has much to say."""
    read = Step("I look. ", 300, calls=(_read(stage),))
    answer = Step("The file says {found}. ", find=r"marker-\d+")
    return "Agent", {
        "description": f"Look for {label}",
        "prompt": f"Look it up. {Script(label, (read, answer)).word}",
        "subagent_type": "general-purpose",
        "run_in_background": False,
    }


def _claude_searches_tools(stage: Stage) -> None:
    search = Step(calls=(("ToolSearch", {"query": "select:WebFetch", "max_results": 1}),))
    read = Step(calls=(_read(stage),))
    answer = Step("The file says {found}.", find=r"marker-\d+")
    stage.expect(_claude(stage, Script("main", (search, read, answer)).word)["result"])


def _claude_titles(stage: Stage) -> None:
    """Talk on a terminal, where a title is asked for beside the first question."""
    project = {str(stage.work): {"hasTrustDialogAccepted": True}}
    known = {"hasCompletedOnboarding": True, "theme": "dark", "projects": project}
    (stage.home / ".claude.json").write_text(json.dumps(known), encoding="utf-8")
    server = {"ANTHROPIC_BASE_URL": stage.url, "ANTHROPIC_AUTH_TOKEN": "none"}
    model = {"ANTHROPIC_MODEL": "pocket", "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "65536"}
    quiet = ("TELEMETRY", "ERROR_REPORTING", "AUTOUPDATER")  # a title counts as nonessential
    silence = {f"DISABLE_{what}": "1" for what in quiet}
    stage.converse(_looking(_read(stage)), MARKER, **server, **model, **silence)
    if all(turn.label for turn in stage.turns()):
        message = "it asked for no title"
        raise ClientFailed(message)


def _claude_on_pocket(*arguments: str) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        few = {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "64"}
        first = _claude(stage, "Remember: the harbor code is kilo seven.", *arguments, **few)
        resume = ("--resume", first["session_id"])
        _claude(stage, "Tell me the harbor code.", *arguments, *resume, **few)

    return play


def _codex(stage: Stage, *arguments: str) -> str:
    flags = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    return stage.launch("exec", *flags, *arguments)


def _codex_runs_and_resumes(stage: Stage) -> None:
    call = ("exec_command", {"cmd": "cat a.txt"})
    stage.expect(_codex(stage, _looking(call)), f"The file says {MARKER}")
    stage.expect(_codex(stage, "resume", "--last", _looking(call)), f"The file says {MARKER}")


def _codex_on_pocket(stage: Stage) -> None:
    _codex(stage, "Remember: the harbor code is kilo seven.")
    _codex(stage, "resume", "--last", "Tell me the harbor code.")


def _opencode_reads(package: str) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        provider = {
            "npm": package,
            "options": {"baseURL": f"{stage.url}/v1", "apiKey": "none"},
            "models": {"pocket": {"tool_call": True, "limit": {"context": 65536, "output": 8192}}},
        }
        config = {"provider": {"local": provider}, "model": "local/pocket"}
        quiet = {f"OPENCODE_DISABLE_{what}": "1" for what in ("AUTOUPDATE", "MODELS_FETCH")}
        environment = quiet | {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}
        _opencode(lambda *words: stage.run(*words, **environment), stage)

    return play


def _opencode_launched(stage: Stage) -> None:
    _opencode(stage.launch, stage)


def _opencode(run: Callable[..., str], stage: Stage) -> None:
    call = ("bash", {"command": "cat a.txt", "description": "Look"})
    stage.expect(run("run", _looking(call)), f"The file says {MARKER}")
    stage.expect(run("run", "--continue", _looking(call)), f"The file says {MARKER}")


def _continue_reads(stage: Stage) -> None:
    config = stage.home / "config.yaml"
    model = {"name": "pocket", "provider": "openai", "model": "pocket", "roles": ["chat"]}
    model |= {"apiBase": f"{stage.url}/v1", "apiKey": "none"}
    whole = {"name": "local", "version": "0.0.1", "schema": "v1", "models": [model]}
    config.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    call = ("Bash", {"command": "cat a.txt"})
    stage.expect(stage.run("-p", "--config", str(config), "--auto", _looking(call)))


def _llm_talks(stage: Stage) -> None:
    folder = stage.home / "llm"
    folder.mkdir()
    model = {"model_id": "local", "model_name": "pocket", "api_base": f"{stage.url}/v1"}
    (folder / "extra-openai-models.yaml").write_text(json.dumps([model]), encoding="utf-8")
    place = {"LLM_USER_PATH": str(folder), "OPENAI_API_KEY": "none"}
    stage.expect(stage.run("-m", "local", _talking(), **place), "I will.")
    stage.expect(stage.run("-c", Script("main", (Step("I did."),)).word, **place), "I did.")


def _aider_talks(stage: Stage) -> None:
    server = ("--model", "openai/pocket", "--openai-api-base", f"{stage.url}/v1")
    quiet = ("--no-git", "--yes-always", "--no-check-update", "--analytics-disable")
    plain = ("--openai-api-key", "none", "--map-tokens", "0", "--no-show-model-warnings")
    flags = (*server, *quiet, *plain, "--edit-format", "ask", "--no-fancy-input")
    asked = (_talking(), Script("main", (Step("I did."),)).word)
    said = stage.run(*flags, lines="\n".join(asked))
    stage.expect(said, "I will.")
    stage.expect(said, "I did.")


_LITELLM: Final = """
import sys, litellm
base, model, *asked = sys.argv[1:]
talk = []
for text in asked:
    talk.append(dict(role="user", content=text))
    answer = litellm.completion(
        model=model, api_base=base, api_key="none", messages=talk, max_tokens=64, stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    talk.append(dict(role="assistant", content=said))
    print(said)
"""


def _litellm_talks(model: str, path: str) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        asked = (_talking(), Script("main", (Step("I did."),)).word)
        local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        base = f"{stage.url}{path}"
        said = stage.run("-c", _LITELLM, base, model, *asked, command="python", **local)
        stage.expect(said, "I will.")
        stage.expect(said, "I did.")

    return play


BARE: Final = ("--bare", "--system-prompt", "You are terse.", "--tools", "Bash,Read")

SCENARIOS: Final = (
    Scenario(CLAUDE, "reads a file", _claude_reads(), quick=True),
    Scenario(CLAUDE, "reads a file, bare", _claude_reads("--bare")),
    Scenario(CLAUDE, "reads a file, as sonnet", _claude_reads("--model", "claude-sonnet-4-5")),
    Scenario(CLAUDE, "resumes", _claude_resumes, quick=True),
    Scenario(CLAUDE, "two sub-agents", _claude_delegates, quick=True),
    Scenario(CLAUDE, "on a terminal, with title", _claude_titles),
    Scenario(CLAUDE, "finds a tool", _claude_searches_tools),
    Scenario(OLD_CLAUDE, "reads a file", _claude_reads()),
    Scenario(OLD_CLAUDE, "resumes", _claude_resumes),
    Scenario(OLD_CLAUDE, "two sub-agents", _claude_delegates),
    Scenario(CODEX, "runs a command, resumes", _codex_runs_and_resumes, quick=True),
    Scenario(OPENCODE, "launched, continues", _opencode_launched, quick=True),
    Scenario(OPENCODE, "chat completions", _opencode_reads("@ai-sdk/openai-compatible")),
    Scenario(OPENCODE, "messages", _opencode_reads("@ai-sdk/anthropic")),
    Scenario(OPENCODE, "responses", _opencode_reads("@ai-sdk/openai")),
    Scenario(CONTINUE, "runs a command", _continue_reads),
    Scenario(LLM, "continues", _llm_talks, quick=True),
    Scenario(AIDER, "talks", _aider_talks),
    Scenario(LITELLM, "talks, openai/", _litellm_talks("openai/pocket", "/v1")),
    Scenario(LITELLM, "talks, anthropic/", _litellm_talks("anthropic/pocket", "")),
    Scenario(CLAUDE, "resumes, bare", _claude_on_pocket(*BARE), "pocket", quick=True),
    Scenario(CLAUDE, "resumes", _claude_on_pocket(), "pocket"),
    Scenario(OLD_CLAUDE, "resumes", _claude_on_pocket(), "pocket"),
    Scenario(CODEX, "resumes", _codex_on_pocket, "pocket"),
)
