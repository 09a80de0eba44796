"""Every model module of mlx-lm keeps the law of caches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAMILIES = json.loads(Path(__file__).with_name("families.json").read_text())

TOLERANCE = 1e-4
"""Relative to the scale of the logits; measured 3e-6 at most; a lost prefix costs over 0.1."""

REFUSED = {
    "olmo": "SystemExit",  # its import exits without hf_olmo
    "bitnet": "No Metal back-end",  # a kernel written for Metal only
    "muse_spark": "No Metal back-end",
}

ALONE = ("phi3small",)  # corrupts memory when it is wrong

ONE_BY_ONE = {"llama4", "deepseek_v41", "gpt_bigcode"}
"""They make positions of whole numbers at the top: no step holds two sequences."""

SPLIT = {
    "afm7",
    "baichuan_m1",
    "bailing_hybrid",
    "bailing_moe_v3",
    "deepseek_v3",
    "deepseek_v32",
    "gemma2",
    "glm4_moe_lite",
    "glm_moe_dsa",
    "kimi_k25",
    "kimi_k3",
    "kimi_linear",
    "kimi_vl",
    "longcat_flash",
    "longcat_flash_ngram",
    "minimax_m3_vl",
    "mistral4",
    "phi3small",
    "plamo2",
    "plamo3",
}
"""Their attention does not go through the one name, or there is none; all others run flat."""

GROUPS = [ALONE, *(tuple(sorted(set(FAMILIES) - set(ALONE)))[i::5] for i in range(5))]


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group[0]}+{len(group) - 1}")
def test_ways_to_a_prefix_agree(group: tuple[str, ...]) -> None:
    """In chunks, forked, cut back, beside others or in one run: the same logits after a prefix.

    At every length the cache is within its footprint, and each family shares steps as it should.
    """
    root = str(Path(__file__).parents[2])

    done = subprocess.run(  # noqa: S603 (our own module)
        [sys.executable, "-m", "tests.engine.sweep", *group],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    verdicts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert list(group) == [verdict["family"] for verdict in verdicts], done.stderr[-2000:]
    assert [verdict for verdict in verdicts if not _kept(verdict)] == []
    modes = {verdict["family"]: verdict["mode"] for verdict in verdicts if "mode" in verdict}
    assert modes == {family: _mode(family) for family in modes}, "a seam of mlx-lm has moved"


def _mode(family: str) -> str:
    return "alone" if family in ONE_BY_ONE else "split" if family in SPLIT else "flat"


def _kept(verdict: dict[str, object]) -> bool:
    family, differences = str(verdict["family"]), verdict.get("differences")
    if family in REFUSED and differences is None:
        return REFUSED[family] in str(verdict["error"])
    return isinstance(differences, dict) and all(gap <= TOLERANCE for gap in differences.values())
