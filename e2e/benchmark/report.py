"""Results: figures of each server, one ratio for each row, as a table and as JSON."""

import dataclasses
import json
import statistics

from .peers import OURS, PEERS


@dataclasses.dataclass
class Row:
    """One thing measured. `figures`: by server, one figure for each round."""

    subject: str
    name: str
    unit: str
    figures: dict
    larger_is_better: bool
    goal: float | None = None
    note: str = ""
    # Processor time an operation took, where it was measured, by server and round.
    cpu: dict = dataclasses.field(default_factory=dict)
    # What a subject's own table shows.
    details: dict = dataclasses.field(default_factory=dict)

    def median(self, server):
        values = self.figures.get(server)
        return statistics.median(values) if values else None

    def better_peer(self):
        """The peer that did better, by its median."""
        known = [name for name in PEERS if self.figures.get(name)]
        pick = max if self.larger_is_better else min
        return pick(known, key=self.median) if known else None

    def ratio(self, figures=None):
        """Ours to the better peer's: the median of the rounds' ratios, since rounds see the same noise."""
        peer, figures = self.better_peer(), figures or self.figures
        if peer is None or not figures.get(OURS) or not figures.get(peer):
            return None
        pairs = [(own, other) for own, other in zip(figures[OURS], figures[peer]) if other]
        return statistics.median(own / other for own, other in pairs) if pairs else None

    def reached(self):
        """Whether the goal is met; None where there is none, or nothing to compare."""
        ratio = self.ratio()
        if ratio is None or self.goal is None:
            return None
        return ratio >= self.goal if self.larger_is_better else ratio <= self.goal

    def as_json(self):
        return {**dataclasses.asdict(self), "better_peer": self.better_peer(), "ratio": self.ratio(),
                "cpu_ratio": self.ratio(self.cpu), "reached": self.reached(),
                "medians": {name: self.median(name) for name in self.figures}}


def number(value):
    """Short, with about three digits."""
    if value is None:
        return "–"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.2f}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.0f}k"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def table(rows):
    """Lines of a Markdown table."""
    lines = ["| subject | what | datanode | redis | valkey | unit | ratio | goal | CPU ratio | |",
             "|---|---|--:|--:|--:|---|--:|--:|--:|---|"]
    for row in rows:
        ratio, cpu = row.ratio(), row.ratio(row.cpu)
        goal = "" if row.goal is None else f"{'≥' if row.larger_is_better else '≤'} {row.goal:g}"
        verdict = {True: "✓", False: "✗", None: ""}[row.reached()]
        cells = [row.subject, row.name, *(number(row.median(name)) for name in (OURS, *PEERS)), row.unit,
                 "" if ratio is None else f"{ratio:.2f}", goal, "" if cpu is None else f"{cpu:.2f}",
                 " ".join(filter(None, (verdict, row.note)))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_json(path, rows, facts):
    with open(path, "w") as file:
        json.dump({"facts": facts, "rows": [row.as_json() for row in rows]}, file, indent=1)
        file.write("\n")
