"""A fleet with a virtual clock: what is waited for, how busy the GPUs are, what it costs.

What is decided in the product is decided here by the same functions: `automation.archive.choose` says what of an
archive is begun, `automation.decisions.plan_runs` which recordings share a run. Around them stands what Dagster and a
cluster add: ticks, a run queue with priorities, a pool of GPU slots, pods that start, nodes that come, idle, go and
are reclaimed. Times are seconds from the beginning, which is midnight.

Not simulated: faults, rejections, disks and networks that slow each other down. A GPU node has one GPU.
"""

import random
from bisect import bisect_right, insort
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from math import ceil, inf
from typing import Any

import simpy

from caseprep_pipelines.automation.archive import AHEAD, MOST, Candidate, Rates, choose
from caseprep_pipelines.automation.archive import Amount as Begun
from caseprep_pipelines.automation.archive import Budget as NightBudget
from caseprep_pipelines.automation.decisions import Ask, RunPlan, plan_runs
from caseprep_pipelines.fleet.rates import StageRate
from caseprep_pipelines.fleet.workload import DAY, HOUR, Arrival

#: What a process of the simulation is to the library.
Steps = Generator[simpy.Event, Any, Any]

#: Dagster's run priorities, as the sensors give them.
_PRIORITIES = {"rush": 10, "upload": 0, "archive": -10}


@dataclass(frozen=True)
class Stage:
    """Of the graph, what counts here."""

    name: str
    batch: int
    """Recordings in one run."""
    gpu: bool
    parallel: bool
    """Uses all cores of its pod."""


@dataclass(frozen=True)
class Fleet:
    """The machines and how Dagster is set up on them: as `deploy/kubernetes` does, where nothing else is said."""

    gpus: int = 1
    """Most GPU nodes."""
    slots: int | None = None
    """Limit of Dagster's pool `gpu`; None is as many as there are GPUs. With more, the archive begins more than these
    finish within its window."""
    warm_gpus: int = 0
    """Nodes that are never given back."""
    provision_seconds: float = 180.0
    """From the first pod that waits to a node that can take it."""
    idle_seconds: float = 600.0
    """A node without work for so long is given back."""
    pod_seconds: float = 8.0
    """Until a pod's program runs."""
    import_seconds: float = 5.0
    """Until a program's own code runs: imports, the code location, the catalog."""
    load_seconds: float = 15.0
    """Until a GPU stage's models are loaded."""
    reclaim_hours: float | None = None
    """Mean hours until a node is taken back by the cloud, at random; None never."""
    reclaim_every: float | None = None
    """Besides, one of the nodes is taken back each time so many seconds are over."""
    notice_seconds: float = 120.0
    """Between the notice and the end. With 0 the work since the last checkpoint is lost; else it is put away."""
    checkpoint_seconds: float = 30.0
    retry_seconds: float = 30.0
    """Until a step that lost its node is tried again."""
    cpu_pods: int = 8
    """Steps without a GPU that run at once."""
    cores: int = 4
    """Of such a pod."""
    most_runs: int = 50
    """Dagster's `max_concurrent_runs`."""
    archive_runs: int = 30
    """How many of them may be the archive's."""
    run_buffer: int = 0
    """Dagster's `op_granularity_run_buffer`: runs that start before their GPU slot is free."""
    dequeue_seconds: float = 5.0
    tick_seconds: float = 30.0
    ahead_seconds: float = AHEAD.total_seconds()
    """Of an archive's work, one after the other, begun ahead for each GPU slot."""
    uploads_a_tick: int = 200
    window: tuple[float, float] = (0.0, 24.0)
    """Hours of the day between which the archive runs; over midnight where the end is earlier."""


@dataclass(frozen=True)
class Outcome:
    """What the simulation gives, in seconds. Lists are in order of arrival."""

    drafted: list[float]
    """From a recording's arrival until its words could be read."""
    catalogued: list[float]
    """Until it was through."""
    finished: float
    """When the last one was."""
    gpu_needed: float
    """GPU seconds of the work itself."""
    gpu_done: float
    """GPU seconds worked, also in vain."""
    gpu_lost: float
    """Of those, what was done again."""
    gpu_starting: float
    """GPU seconds held while pods started and models loaded."""
    gpu_restarting: float
    """Of those, after a node was lost."""
    first_gpu: float
    last_gpu: float
    """From when to when GPU steps ran."""
    node_seconds: float
    """Of GPU nodes, from asking for one to its end."""
    core_seconds: float
    """Of the pods of the other steps."""
    reclaimed: int
    gpu_runs: int
    gpus: int

    @property
    def busy(self) -> float:
        """Share of all GPUs' time between the first and the last GPU step in which they worked, and not in vain."""
        return self.gpu_needed / (self.gpus * (self.last_gpu - self.first_gpu)) if self.gpu_needed else 1.0

    @property
    def worked(self) -> float:
        """Share of the GPU nodes' time, from asking for each to its end, in which they worked, and not in vain."""
        return self.gpu_needed / self.node_seconds if self.node_seconds else 1.0

    @property
    def wasted(self) -> float:
        """Share of the GPU time held by steps that went into work lost and into starting again."""
        held = self.gpu_done + self.gpu_starting
        return (self.gpu_lost + self.gpu_restarting) / held if held else 0.0


def simulate(
    workload: Sequence[Arrival], stages: Sequence[Stage], rates: dict[str, StageRate], fleet: Fleet, seed: int = 0
) -> Outcome:
    """Runs everything to its end. `stages` in graph order; the words are there after `raw_transcript`."""
    simulation = _Simulation(sorted(workload, key=lambda arrival: arrival.at), stages, rates, fleet, seed)
    simulation.clock.run(until=simulation.all_done)
    return simulation.outcome()


@dataclass(eq=False)
class _Run:
    plan: RunPlan
    priority: int
    number: int

    @property
    def archive(self) -> bool:
        return self.priority == _PRIORITIES["archive"]


@dataclass(eq=False)
class _Node:
    """A GPU node from the moment it is asked for."""

    asked: float
    step: simpy.Process | None = None
    idle_since: float = 0.0
    gone: bool = False
    leaving: bool = False
    """Notice was given; nothing new is put on it."""


@dataclass
class _Work:
    """A step's recordings and how much of them is done, over any number of nodes."""

    recordings: list[int]
    ends: list[float] = field(default_factory=list)
    done: float = 0.0

    @property
    def total(self) -> float:
        return self.ends[-1]


class _Simulation:
    def __init__(
        self,
        workload: list[Arrival],
        stages: Sequence[Stage],
        rates: dict[str, StageRate],
        fleet: Fleet,
        seed: int,
    ) -> None:
        self.clock = simpy.Environment()
        self.rng = random.Random(seed)  # noqa: S311 - a simulation
        self.workload, self.rates, self.fleet = workload, rates, fleet
        self.stages = {stage.name: stage for stage in stages}
        self.names = [stage.name for stage in stages]
        self.keys = [str(number) for number in range(len(workload))]
        self.times: dict[str, list[float]] = {name: [inf] * len(workload) for name in self.names}

        self.at_stage = [0] * len(workload)
        self.unbegun = [number for number, arrival in enumerate(workload) if arrival.archive]
        self.arriving = [number for number, arrival in enumerate(workload) if not arrival.archive]
        self.idle: set[int] = set()
        self.flying: set[int] = set()
        self.left = len(workload)
        self.all_done = self.clock.event()
        if not workload:
            self.all_done.succeed()

        self.changed, self.queue_changed, self.nodes_changed = (self.clock.event() for _ in range(3))
        self.queue: list[_Run] = []
        self.runs = self.archive_runs = self.launched_gpu = self.numbered = 0
        self.gpu_limit = fleet.slots or fleet.gpus
        self.gpu_slots = simpy.PriorityResource(self.clock, self.gpu_limit)
        self.cpu_pods = simpy.PriorityResource(self.clock, fleet.cpu_pods)
        self.nodes: list[_Node] = []
        self.coming = 0
        self.wanting: list[tuple[int, int]] = []

        self.gpu_done = self.gpu_lost = self.gpu_starting = self.gpu_restarting = 0.0
        self.node_seconds = self.core_seconds = 0.0
        self.first_gpu, self.last_gpu = inf, 0.0
        self.reclaimed = self.gpu_runs = 0

        for _ in range(fleet.warm_gpus):
            self._ready(_Node(0.0))
        for process in (self._arrivals(), self._sensors(), self._daemon()):
            self.clock.process(process)
        if fleet.reclaim_every is not None:
            self.clock.process(self._reclaims(fleet.reclaim_every))

    # What the sensors do

    def _arrivals(self) -> Steps:
        for at in sorted({arrival.at for arrival in self.workload}):
            yield self.clock.timeout(at - self.clock.now)
            self._change()

    def _change(self) -> None:
        if not self.changed.triggered:
            self.changed.succeed()

    def _sensors(self) -> Steps:
        """A tick is looked at where something can have changed since the one before."""
        self._change()
        while True:
            opens = self._opens() if self.unbegun or self.idle else inf
            waits = [self.changed] if opens == inf else [self.changed, self.clock.timeout(opens - self.clock.now)]
            yield simpy.AnyOf(self.clock, waits)
            yield self._next(self.fleet.tick_seconds)
            self.changed = self.clock.event()
            self._take_uploads()
            self._begin_archive()
            self._ask()

    def _next(self, every: float) -> simpy.Event:
        """The next moment that is a multiple of so many seconds."""
        return self.clock.timeout(max(0.0, ceil(self.clock.now / every) * every - self.clock.now))

    def _take_uploads(self) -> None:
        here = [n for n in self.arriving if self.workload[n].at <= self.clock.now]
        taken = here[: self.fleet.uploads_a_tick]
        self.idle.update(taken)
        self.arriving = self.arriving[len(taken) :]
        if len(here) > len(taken):
            self._change()

    def _opens(self) -> float:
        """When the archive's window begins next; infinite while it is open."""
        start, _ = self.fleet.window
        if self._window_left() > 0:
            return inf
        today = self.clock.now // DAY * DAY + start * HOUR
        return today if today > self.clock.now else today + DAY

    def _window_left(self) -> float:
        start, end = (hour * HOUR for hour in self.fleet.window)
        length = (end - start) % DAY or DAY
        return inf if length == DAY else max(0.0, length - (self.clock.now - start) % DAY)

    def _begin_archive(self) -> None:
        waiting = self.unbegun[: bisect_right(self.unbegun, self.clock.now, key=lambda n: self.workload[n].at)]
        if not waiting:
            return
        choice = choose(
            (Candidate(self.keys[n], "", self.workload[n].hours) for n in waiting),
            Rates(seconds=self._hour_seconds, cost=0.0),
            NightBudget(),
            Begun(),
            seconds=min(self.fleet.ahead_seconds, self._window_left()) * self.gpu_limit,
            under_way=[self.workload[n].hours for n in (*self.idle, *self.flying) if self.workload[n].archive],
            most=MOST,
        )
        self.idle.update(waiting[: len(choice.begun)])
        self.unbegun = self.unbegun[len(choice.begun) :]

    @cached_property
    def _hour_seconds(self) -> float:
        """What an hour of this audio takes, one stage after the other."""
        hours = sum(arrival.hours for arrival in self.workload)
        return sum(
            rate.per_audio_hour + rate.per_recording * len(self.workload) / hours for rate in self.rates.values()
        )

    def _ask(self) -> None:
        """Runs for everything that is begun and not under way, in the window or not: as the sensors ask."""
        paused = self._window_left() == 0
        waiting = {n for n in self.idle if not (paused and self.workload[n].archive)}
        groups: dict[tuple[str, str], list[int]] = {}
        for number in sorted(waiting):
            arrival = self.workload[number]
            way = "rush" if arrival.rush else "archive" if arrival.archive else "upload"
            groups.setdefault((way, self.names[self.at_stage[number]]), []).append(number)
        batches = {stage.name: stage.batch for stage in self.stages.values()}
        for (way, stage), numbers in sorted(groups.items(), key=lambda item: -self.names.index(item[0][1])):
            order = self.keys[numbers[0] : numbers[-1] + 1]
            ask = Ask(stage, tuple(self.keys[n] for n in numbers))
            for plan in plan_runs([ask], self.names, order, batches):
                self.numbered += 1
                self.queue.append(_Run(plan, _PRIORITIES[way], self.numbered))
        self.idle -= waiting
        self.flying |= waiting
        self._wake_daemon()

    # What Dagster does

    def _wake_daemon(self) -> None:
        if not self.queue_changed.triggered:
            self.queue_changed.succeed()

    def _daemon(self) -> Steps:
        """Takes runs off the queue, the most urgent first; one whose first step finds no GPU slot waits there."""
        while True:
            yield self.queue_changed
            yield self._next(self.fleet.dequeue_seconds)
            self.queue_changed = self.clock.event()
            kept = []
            for run in sorted(self.queue, key=lambda run: (-run.priority, run.number)):
                gpu = self.stages[run.plan.stages[0]].gpu
                full = self.runs >= self.fleet.most_runs or (
                    run.archive and self.archive_runs >= self.fleet.archive_runs
                )
                if full or (gpu and self._free_slots() <= 0):
                    kept.append(run)
                    continue
                self.runs += 1
                self.archive_runs += run.archive
                self.launched_gpu += gpu
                self.clock.process(self._run(run))
            self.queue = kept

    def _free_slots(self) -> int:
        taken = self.gpu_slots.count + len(self.gpu_slots.queue) + self.launched_gpu
        return self.gpu_limit + self.fleet.run_buffer - taken

    def _run(self, run: _Run) -> Steps:
        yield self.clock.timeout(self.fleet.pod_seconds + self.fleet.import_seconds)
        numbers = [int(key) for key in run.plan.partitions]
        for position, name in enumerate(run.plan.stages):
            stage = self.stages[name]
            yield from (
                self._gpu_step(stage, numbers, run, first=position == 0)
                if stage.gpu
                else self._cpu_step(stage, numbers, run)
            )
            for number in numbers:
                self.at_stage[number] = self.names.index(name) + 1
        self.runs -= 1
        self.archive_runs -= run.archive
        self.flying.difference_update(numbers)
        ended = run.plan.stages[-1] == self.names[-1]
        if ended:
            self.left -= len(numbers)
            if not self.left:
                self.all_done.succeed()
        else:
            self.idle.update(numbers)
        self._change()
        self._wake_daemon()

    def _cpu_step(self, stage: Stage, numbers: list[int], run: _Run) -> Steps:
        side_by_side = min(self.fleet.cores, len(numbers)) if stage.parallel else 1
        with self.cpu_pods.request(priority=-run.priority) as pod:
            yield pod
            began = self.clock.now
            yield self.clock.timeout(self.fleet.pod_seconds + self.fleet.import_seconds)
            work = self._work(stage, numbers, side_by_side)
            self._record(stage, work, 0.0, work.total)
            yield self.clock.timeout(work.total)
            # a step that uses one core asks for one
            self.core_seconds += (self.clock.now - began) * (self.fleet.cores if stage.parallel else 1)

    def _work(self, stage: Stage, numbers: list[int], side_by_side: int = 1) -> _Work:
        rate = self.rates[stage.name]
        return _Work(numbers, list(accumulate(rate.seconds(self.workload[n].hours) / side_by_side for n in numbers)))

    def _record(self, stage: Stage, work: _Work, since: float, until: float) -> None:
        """Notes when recordings are through: those whose end lies in a stretch of work that begins now."""
        for index in range(bisect_right(work.ends, since), bisect_right(work.ends, until)):
            self.times[stage.name][work.recordings[index]] = self.clock.now + work.ends[index] - since

    def _gpu_step(self, stage: Stage, numbers: list[int], run: _Run, *, first: bool) -> Steps:
        work = self._work(stage, numbers)
        self.gpu_runs += 1
        with self.gpu_slots.request(priority=-run.priority) as slot:
            self.launched_gpu -= first
            yield slot
            again = False
            while work.done < work.total:
                again = yield from self._on_a_node(stage, work, run, again=again)
        self._wake_daemon()

    # What the cluster does

    def _on_a_node(self, stage: Stage, work: _Work, run: _Run, *, again: bool) -> Steps:
        """One attempt; says whether there must be another."""
        node = yield from self._a_node(run)
        node.step = self.clock.active_process
        began = self.clock.now
        self.first_gpu = min(self.first_gpu, began)
        working = inf
        try:
            yield self.clock.timeout(self.fleet.pod_seconds + self.fleet.import_seconds + self.fleet.load_seconds)
            working = self.clock.now
            yield self.clock.timeout(work.total - work.done)
        except simpy.Interrupt:
            worked = max(0.0, self.clock.now - working)
            lost = 0.0 if self.fleet.notice_seconds else min(worked, worked % self.fleet.checkpoint_seconds)
            kept = worked - lost
        else:
            worked = kept = self.clock.now - working
            lost = 0.0
        starting = self.clock.now - began - worked
        self.gpu_done += worked
        self.gpu_lost += lost
        self.gpu_starting += starting
        self.gpu_restarting += starting if again else 0.0
        self.last_gpu = self.clock.now
        self._record_until_now(stage, work, kept, lost)
        node.step = None
        if node.gone or node.leaving:
            if work.done < work.total:
                yield self.clock.timeout(self.fleet.retry_seconds)
        else:
            self._idle(node)
        return True

    def _record_until_now(self, stage: Stage, work: _Work, kept: float, lost: float) -> None:
        since = work.done
        # sums of many small numbers are never quite the sum
        work.done = work.total if work.total - since - kept < 1e-6 else since + kept
        for index in range(bisect_right(work.ends, since), bisect_right(work.ends, work.done)):
            through = self.clock.now - lost - (work.done - work.ends[index])
            self.times[stage.name][work.recordings[index]] = through

    def _a_node(self, run: _Run) -> Generator[simpy.Event, Any, _Node]:
        """The next free node, for the most urgent first."""
        turn = (-run.priority, run.number)
        insort(self.wanting, turn)
        while True:
            free = next((node for node in self.nodes if node.step is None and not node.leaving), None)
            if free is not None and self.wanting[0] == turn:
                del self.wanting[0]
                free.step = self.clock.active_process
                self._nodes_change()
                return free
            staying = sum(not node.leaving for node in self.nodes) + self.coming
            if free is None and self.coming < len(self.wanting) and staying < self.fleet.gpus:
                self.coming += 1
                self.clock.process(self._provision())
            yield self.nodes_changed

    def _nodes_change(self) -> None:
        changed, self.nodes_changed = self.nodes_changed, self.clock.event()
        changed.succeed()

    def _provision(self) -> Steps:
        node = _Node(self.clock.now)
        yield self.clock.timeout(self.fleet.provision_seconds)
        self.coming -= 1
        self._ready(node)

    def _ready(self, node: _Node) -> None:
        self.nodes.append(node)
        if self.fleet.reclaim_hours:
            self.clock.process(self._reclaim_after(node, self.rng.expovariate(1 / (self.fleet.reclaim_hours * HOUR))))
        self._idle(node)

    def _idle(self, node: _Node) -> None:
        node.idle_since = self.clock.now
        self.clock.process(self._give_back(node))
        self._nodes_change()

    def _give_back(self, node: _Node) -> Steps:
        """A node that stands idle for long enough goes."""
        since = node.idle_since
        yield self.clock.timeout(self.fleet.idle_seconds)
        unused = node.step is None and node.idle_since == since and not node.leaving
        if unused and len(self.nodes) > self.fleet.warm_gpus:
            self._end(node)

    def _reclaims(self, every: float) -> Steps:
        while True:
            yield self.clock.timeout(every)
            here = [node for node in self.nodes if not node.leaving]
            if here:
                self.clock.process(self._reclaim_after(self.rng.choice(here), 0.0))

    def _reclaim_after(self, node: _Node, seconds: float) -> Steps:
        """The notice, on which a step puts its work away and stops, and the end."""
        yield self.clock.timeout(seconds)
        if node.gone or node.leaving:
            return
        node.leaving = True
        self.reclaimed += 1
        if node.step is not None:
            node.step.interrupt()
        yield self.clock.timeout(self.fleet.notice_seconds)
        self._end(node)

    def _end(self, node: _Node) -> None:
        node.gone = node.leaving = True
        self.nodes.remove(node)
        self.node_seconds += self.clock.now - node.asked
        self._nodes_change()

    def _waited(self, stage: str) -> list[float]:
        return [time - arrival.at for time, arrival in zip(self.times[stage], self.workload, strict=True)]

    def outcome(self) -> Outcome:
        gpu = [self.rates[stage.name] for stage in self.stages.values() if stage.gpu]
        return Outcome(
            drafted=self._waited("raw_transcript"),
            catalogued=self._waited(self.names[-1]),
            finished=max(self.times[self.names[-1]], default=0.0),
            gpu_needed=sum(rate.seconds(arrival.hours) for rate in gpu for arrival in self.workload),
            gpu_done=self.gpu_done,
            gpu_lost=self.gpu_lost,
            gpu_starting=self.gpu_starting,
            gpu_restarting=self.gpu_restarting,
            first_gpu=self.first_gpu,
            last_gpu=self.last_gpu,
            # the last ones stand idle until they are given back
            node_seconds=self.node_seconds
            + sum(self.clock.now + self.fleet.idle_seconds - node.asked for node in self.nodes),
            core_seconds=self.core_seconds,
            reclaimed=self.reclaimed,
            gpu_runs=self.gpu_runs,
            gpus=self.fleet.gpus,
        )
