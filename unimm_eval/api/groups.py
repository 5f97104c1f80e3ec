"""What a group is: tasks whose numbers are also reported as one mean.

A group asks nothing of a model. It has a card of its own beside those of the tasks
(`NAME.group.yaml`), and its rows are made of its members' rows, once all of those are in a run.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimm_eval.api.samples import stable_hash
from unimm_eval.api.tasks import Direction, Reference


class GroupMember(BaseModel):
    """Which number of a task goes into the mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="metric of the member that is averaged")
    scale: float = Field(
        1.0, gt=0, description="what it is multiplied by to be on the group's scale"
    )


class GroupMetric(BaseModel):
    """An unweighted mean of members."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: tuple[str, ...] = Field((), description="tasks it is the mean of; empty: all")
    description: str = Field("", description="one line for a reader of the table")


class Group(BaseModel):
    """`NAME.group.yaml`: tasks that are run, and averaged, under one name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="name of the group on the command line")
    title: str = Field(description="one line for the task list")
    protocol: str = Field(description="name of the protocol that its members follow")
    version: int = Field(description="raised whenever numbers may change")
    members: Mapping[str, GroupMember] = Field(min_length=1, description="by name of the task")
    metrics: Mapping[str, GroupMetric] = Field(
        min_length=1, description="means by name; the first is headline"
    )
    direction: Direction = Field("higher", description="whether higher or lower is better")
    unit: str = Field("", description="unit of the means")
    range: tuple[float | None, float | None] = Field(
        (0.0, 1.0), description="smallest and largest possible value"
    )
    references: tuple[Reference, ...] = Field((), description="published numbers")

    @model_validator(mode="after")
    def _known(self) -> "Group":
        named = {name for metric in self.metrics.values() for name in metric.members}
        if strangers := sorted(named - self.members.keys()):
            raise ValueError(f"means of {', '.join(strangers)}, which is no member")
        return self

    def members_of(self, metric: str) -> tuple[str, ...]:
        """The tasks that `metric` is the mean of."""
        return self.metrics[metric].members or tuple(self.members)

    def protocol_hash(self, members: Mapping[str, str]) -> str:
        """Identity of a mean: which numbers are averaged, how, and the protocol hash of each."""
        pinned = self.model_dump(mode="json", include={"name", "protocol", "version"})
        scales = {
            name: [member.metric, member.scale]
            for name, member in self.members.items()
            if name in members
        }
        return stable_hash({"group": pinned, "scales": scales, "members": dict(members)})
