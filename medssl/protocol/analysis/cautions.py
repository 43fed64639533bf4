"""What a reader of a table must know before believing it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import pandas as pd

from medssl.metrics.table import find_metric
from medssl.protocol.analysis.bootstrap import RESAMPLES, groups, nan_mean
from medssl.protocol.analysis.comparison import compare_settings
from medssl.protocol.analysis.store import Checkpoint, Run, known_metrics, unknown_columns

ENOUGH_SEEDS = 5
ENOUGH_CASES = 6
"""With fewer, no two-sided signed-rank test can fall below 0.05."""

# How and where a run was carried out is no part of what it computes.
_FREE_KEYS = ("seed", "resume", "overwrite", "device", "cache_workers", "num_workers")
_FREE_ENDINGS = ("_dir", "_file", "_path", "_root")


class Caution(NamedTuple):
    """A row of a report's warnings.

    Attributes:
        dataset: name of the data set.
        labeled: number of labelled cases.
        setting: name of the setting; empty where it concerns several.
        kind: what it is about, such as "few seeds".
        text: a sentence.
    """

    dataset: str
    labeled: int
    setting: str
    kind: str
    text: str


def find_cautions(
    runs: Sequence[Run],
    table: pd.DataFrame,
    *,
    metric: str = "dice",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """All warnings about some runs, a row each.

    Kinds: "few seeds", "oracle selection", "mixed selection", "few test cases", "few runs",
    "empty prediction", "missing metric", "unknown column", "missing run", "unfinished run", "unscored run",
    "versions", "commits", "local changes", "no fingerprint", "no policy", "data", "configuration".

    Args:
        runs: of :func:`medssl.protocol.analysis.store.find_runs`, unfinished ones included.
        table: their long table.
        metric: in which the two leading settings are compared.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Columns dataset, labeled, setting, kind and text, in the order of the first three.
    """
    rows: list[Caution] = []
    places: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        places[run.dataset, run.labeled].append(run)
    measured = set(table["metric"])
    for (dataset, labeled), place_runs in places.items():
        settings: dict[str, list[Run]] = defaultdict(list)
        for run in sorted(place_runs, key=lambda r: (r.setting, r.seed)):
            settings[run.setting].append(run)
        rows += [Caution(dataset, labeled, *rest) for rest in _of_place(place_runs)]
        seeds = {run.seed for run in place_runs}
        for setting, members in settings.items():
            warnings = _of_setting(members, seeds, measured)
            rows += [Caution(dataset, labeled, setting, *warning) for warning in warnings]
    rows += _of_differences(table, metric, resamples, seed)
    order = sorted(rows, key=lambda row: (row.dataset, row.labeled, row.setting))
    return pd.DataFrame(order, columns=list(Caution._fields))


def _of_setting(runs: Sequence[Run], seeds: set[int], measured: set[str]) -> Iterator[tuple[str, str]]:
    finished = [run for run in runs if run.finished]
    scored = [run for run in finished if run.policies]
    if len({run.seed for run in scored}) < ENOUGH_SEEDS:
        yield "few seeds", f"{len(scored)} of at least {ENOUGH_SEEDS} runs"
    oracle = [run for run in scored if run.selection == "test-oracle"]
    if oracle:
        yield "oracle selection", f"best was chosen on the test cases themselves in {_seeds(oracle, scored)}"
    missing = sorted(seeds - {run.seed for run in runs})
    if missing:
        yield "missing run", f"no run with seed {_listed(missing)}, which other settings have"
    for run in runs:
        if not run.finished:
            message = f": {run.record['message']}" if run.record.get("message") else ""
            yield "unfinished run", f"seed {run.seed} is {run.status}{message} ({run.path})"
            continue
        expected = [name for name in get_args(Checkpoint) if name == "last" or run.selection != "none"]
        lacking = [name for name in expected if name not in run.policies]
        if lacking:
            yield "unscored run", f"seed {run.seed} has no test scores of {_listed(lacking)} ({run.path})"
    if any(run.of_images for run in scored):
        yield from _classes_never_predicted(scored)
    else:
        yield from _empty_predictions(scored)
        yield from _columns(scored, measured)
    unknown = [run for run in scored if any(None in p.values() for p in run.policies.values())]
    if unknown:
        yield "no policy", f"the policy of the metrics is not stated in full by {_seeds(unknown, scored)}"
    unnamed = [run for run in scored if not run.record.get("test_fingerprint")]
    if unnamed:
        text = f"nothing shows that {_seeds(unnamed, scored)} had the same test files as others"
        yield "no fingerprint", text
    if len({run.record.get("dataset_fingerprint") for run in finished} - {None}) > 1:
        yield "data", "the seeds have read different files (dataset_fingerprint)"
    changed = _differing_keys([run.config for run in finished])
    if changed:
        yield "configuration", f"the seeds differ in more than the seed: {_listed(changed)}"


def _empty_predictions(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    for checkpoint in get_args(Checkpoint):
        cases, seeds, count, total = set(), set(), 0, 0
        for run in runs:
            scores = run.scores(checkpoint)
            if scores is None:
                continue
            empty = scores[scores["empty"] == "prediction"]
            count, total = count + len(empty), total + len(scores)
            cases |= set(empty["case"])
            seeds |= {run.seed} if len(empty) else set()
        if count:
            text = f"{count} of {total} masks of {checkpoint} are empty and count as the worst value: "
            yield "empty prediction", f"{text}{_listed(sorted(cases))} (seed {_listed(sorted(seeds))})"


def _classes_never_predicted(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Of images: most lack most classes, but a class that is found in none of them pulls mIoU down alone."""
    for checkpoint in get_args(Checkpoint):
        missed: dict[int, list[int]] = defaultdict(list)
        for run in runs:
            scores = run.scores(checkpoint)
            if scores is None:
                continue
            for label, masks in scores.groupby("class")["empty"]:
                if masks.isin(["prediction", "both"]).all() and masks.eq("prediction").any():
                    missed[int(str(label))].append(run.seed)
        for label, seeds in sorted(missed.items()):
            text = f"{checkpoint} predicts class {label} in no image, which counts as an IoU of 0"
            yield "empty prediction", f"{text} (seed {_listed(sorted(seeds))})"


def _columns(runs: Sequence[Run], measured: set[str]) -> Iterator[tuple[str, str]]:
    """Columns that some scores lack and others have, or that this version does not know."""
    lacking: dict[str, set[int]] = defaultdict(set)
    unknown: dict[str, set[int]] = defaultdict(set)
    for run in runs:
        for checkpoint in run.policies:
            scores = run.scores(checkpoint)
            if scores is None:
                continue
            for name in measured.difference(known_metrics(scores)):
                lacking[name].add(run.seed)
            for name in unknown_columns(scores):
                unknown[name].add(run.seed)
    for name, seeds in sorted(lacking.items()):
        text = f"scored before {name} was measured, in seed {_listed(sorted(seeds))}: score again to fill it"
        yield "missing metric", text
    for name, seeds in sorted(unknown.items()):
        text = f"{name}, in the scores of seed {_listed(sorted(seeds))}, is no metric known here: left out"
        yield "unknown column", text


def _of_place(runs: Sequence[Run]) -> Iterator[tuple[str, str, str]]:
    finished = [run for run in runs if run.finished]
    versions: dict[str, set[str]] = defaultdict(set)
    for run in finished:
        for name, version in (run.record.get("versions") or {}).items():
            versions[name].add(str(version))
    mixed = [f"{name} {_listed(sorted(texts))}" for name, texts in versions.items() if len(texts) > 1]
    if mixed:
        yield "", "versions", f"runs were made with different versions: {'; '.join(mixed)}"
    commits = {str(run.record.get("git_commit")) for run in finished}
    if len(commits) > 1:
        yield "", "commits", f"runs come from {len(commits)} commits: {_listed(sorted(map(_short, commits)))}"
    dirty = [run for run in finished if str(run.record.get("git_commit")).endswith("-dirty")]
    if dirty:
        text = f"{len(dirty)} of {len(finished)} runs were made with changes that are in no commit"
        yield "", "local changes", text
    rules = {run.selection for run in finished} - {"none"}
    if len(rules) > 1:
        yield "", "mixed selection", f"best was chosen by different rules: {_listed(sorted(rules))}"


def _of_differences(table: pd.DataFrame, metric: str, resamples: int, seed: int) -> Iterator[Caution]:
    """Whether the lead of the first over the second is more than the luck of the cases or of the runs."""
    for group, methods in groups(table[table["metric"] == metric]):
        means = {name: float(nan_mean(scores.runs, axis=0)) for name, scores in methods.items()}
        sign = -1 if find_metric(metric).lower_is_better else 1
        leading = sorted(
            (name for name in means if means[name] == means[name]), key=lambda n: -sign * means[n]
        )
        if len(leading) < 2:
            continue
        same = (table["dataset"] == group.dataset) & (table["labeled"] == group.labeled)
        same &= (table["checkpoint"] == group.checkpoint) & (table["metric"] == metric)
        two = table[same & table["method"].isin(leading[:2])]
        pair = compare_settings(two, resamples=resamples, seed=seed).iloc[0]
        swap = 1 if pair.a == leading[0] else -1
        difference = swap * pair.difference
        lead = f"{leading[0]} minus {leading[1]} is {difference:+.4f} {metric} ({group.checkpoint})"
        place = (group.dataset, group.labeled, "")
        low, high = sorted((swap * pair.cases_low, swap * pair.cases_high))
        if low <= 0 <= high or high - low > abs(difference):
            span = f"95% interval over cases {low:+.4f} to {high:+.4f}, {high - low:.4f} wide"
            yield Caution(*place, "few test cases", f"{lead}; {pair.cases} cases leave that open: {span}")
        elif pair.low <= 0 <= pair.high:
            low, high = sorted((swap * pair.low, swap * pair.high))
            span = f"95% interval over runs and cases {low:+.4f} to {high:+.4f}"
            yield Caution(*place, "few runs", f"{lead}; the runs leave that open: {span}")
        if group.checkpoint == "last" and pair.p == pair.p and pair.cases < ENOUGH_CASES:
            least = 2.0 ** (1 - pair.cases)
            text = f"with {pair.cases} cases no signed-rank test can give a p below {least:.4g}"
            yield Caution(*place, "few test cases", text)


def _differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys, dotted, of settings that are not the same in all configurations and should be."""
    flat = [dict(_flatten(config)) for config in configs]
    keys = sorted({key for config in flat for key in config})
    absent = object()
    return [
        key for key in keys if any(config.get(key, absent) != flat[0].get(key, absent) for config in flat)
    ]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, entry in value.items():
        if key in _FREE_KEYS or str(key).endswith(_FREE_ENDINGS):
            continue
        if isinstance(entry, Mapping):
            yield from _flatten(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", entry


def _seeds(concerned: Sequence[Run], runs: Sequence[Run]) -> str:
    if len(concerned) == len(runs):
        return f"all {len(concerned)} runs" if len(concerned) > 1 else "its run"
    return f"seed {_listed([run.seed for run in concerned])}"


def _listed(items: Sequence[object], most: int = 6) -> str:
    shown = ", ".join(map(str, items[:most]))
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def _short(commit: str) -> str:
    name, mark, _ = commit.partition("-dirty")
    return name[:10] + mark
