"""Groups of tasks in a run: settings for all members at once, and the rows of their means."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from unimm_eval.api import Group, Result, UserError
from unimm_eval.stats import t_quantile


def spread_settings(
    settings: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Group],
    fields_of: Callable[[str], Iterable[str]],
) -> dict[str, dict[str, Any]]:
    """Settings by task, where those of a group went to each member that has such a setting.

    What is said of a task itself wins. `fields_of` gives the settings that a task has. Raises
    UserError for a setting that no member has.
    """
    spread = {name: dict(values) for name, values in settings.items() if name not in groups}
    for name, values in settings.items():
        if name not in groups:
            continue
        known = {member: set(fields_of(member)) for member in groups[name].members}
        for key, value in values.items():
            having = [member for member in known if key in known[member]]
            if not having:
                raise UserError(
                    f"No task of {name} has a setting {key!r}.",
                    fix=f"Theirs are: {', '.join(sorted(set().union(*known.values())))}.",
                )
            for member in having:
                spread.setdefault(member, {}).setdefault(key, value)
    return spread


def group_rows(groups: Iterable[Group], results: Sequence[Result]) -> list[Result]:
    """The means of groups whose members are all among `results`.

    A mean of a part of the members is reported when that part is whole; nothing is averaged around
    a missing member.
    """
    by_metric = {(row.task, row.metric): row for row in results}
    rows: list[Result] = []
    for group in groups:
        found = {
            name: by_metric[name, member.metric]
            for name, member in group.members.items()
            if (name, member.metric) in by_metric
        }
        rows += [
            _mean(group, metric, {name: found[name] for name in group.members_of(metric)})
            for metric in group.metrics
            if found.keys() >= set(group.members_of(metric))
        ]
    return rows


def _mean(group: Group, metric: str, members: Mapping[str, Result]) -> Result:
    """Unweighted mean of scaled numbers; the members are independent of each other, so variances
    add up. Without an error of each member there is none of the mean."""
    scales = {name: group.members[name].scale / len(members) for name in members}
    value = math.fsum(scales[name] * row.value for name, row in members.items())
    errors = [scales[name] * row.stderr for name, row in members.items() if row.stderr is not None]
    chances = [scales[name] * row.chance for name, row in members.items() if row.chance is not None]
    whole = len(errors) == len(members)
    answering = {row.answered_by for row in members.values()}
    stderr = math.sqrt(math.fsum(error * error for error in errors)) if whole else None
    return Result(
        task=group.name,
        metric=metric,
        value=value,
        stderr=stderr,
        interval=None if stderr is None else _interval(value, stderr, group.range),
        n=sum(row.n for row in members.values()),
        unscored=sum(row.unscored for row in members.values()),
        chance=math.fsum(chances) if len(chances) == len(members) else None,
        direction=group.direction,
        unit=group.unit,
        range=group.range,
        headline=metric == next(iter(group.metrics)),
        mini=any(row.mini for row in members.values()),
        limited=any(row.limited for row in members.values()),
        protocol_hash=group.protocol_hash(
            {name: row.protocol_hash for name, row in members.items()}
        ),
        facts={
            "group": group.title,
            "protocol": f"{group.protocol}, version {group.version}",
            "members": {
                name: group.members[name].scale * row.value for name, row in members.items()
            },
        },
        answered_by=answering.pop() if len(answering) == 1 else "",
    )


def _interval(
    value: float, stderr: float, span: tuple[float | None, float | None]
) -> tuple[float, float]:
    """95%, normal: each member's error stands on many clusters. Kept within the possible."""
    reach = t_quantile(math.inf) * stderr
    low, high = span
    return (
        value - reach if low is None else min(value, max(low, value - reach)),
        value + reach if high is None else max(value, min(high, value + reach)),
    )
