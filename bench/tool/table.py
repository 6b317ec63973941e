"""Figures of all rounds made into tables: medians, spread, ratios."""
from tool import measure


class Series:
    """The results of one peer in one row, a result per round. `rounds` holds None where a round was left out."""

    def __init__(self):
        self.rounds = []
        self.trouble = None  # ("failed" or "skipped", why)

    def add(self, result):
        for kind in ("failed", "skipped"):
            if result is not None and kind in result:
                self.trouble = (kind, result[kind])
                result = None
        self.rounds.append(result)

    def results(self):
        return [result for result in self.rounds if result is not None]

    def values(self, figure):
        """By round, without those where the figure is not known."""
        return {number: value for number, result in enumerate(self.rounds) if result is not None
                for value in [measure.value_of(result, figure)] if value is not None}

    def median(self, figure):
        values = self.values(figure)
        return measure.median_and_spread(list(values.values())) if values else (None, None)


def ratio(a, b, figure):
    """How many times b's figure a's is: the median of the rounds in which both ran, so that what disturbed a round
    disturbs both."""
    left, right = a.values(figure), b.values(figure)
    both = [left[n] / right[n] for n in left if n in right and right[n] > 0]
    return measure.median_and_spread(both)[0] if both else None


def fastest(cells, names, figure):
    """The name with the smallest median among `names`, None if none has one."""
    medians = {name: cells[name].median(figure)[0] for name in names if name in cells}
    known = {name: value for name, value in medians.items() if value is not None and not cells[name].trouble}
    return min(known, key=known.get) if known else None


def duration(ns):
    """A time with its unit, three digits."""
    if ns is None:
        return "-"
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if ns < limit * 0.9995:
            return f"{digits(ns / divisor)} {unit}"
    return f"{digits(ns / 1e9)} s"


def digits(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def as_text(rows):
    """Lines of a table whose first column is to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def ratios_table(rows, cells, names, ours, bound, figure):
    """Rows of text: the time of ours, then everybody's in proportion to it, then ours in proportion to the fastest peer.
    `figure`: None for that by which each row is judged."""
    others = [name for name in names if name != ours]
    table = [["", ours, "+-%", *others, "ours / fastest peer"]]
    for row in rows:
        name = figure or row.judged
        mine = cells[row.name][ours]
        middle, spread = mine.median(name)
        line = [row.name, duration(middle) if not mine.trouble else mine.trouble[0],
                "" if spread is None else f"{spread:.0f}"]
        for other in others:
            series = cells[row.name][other]
            value = ratio(series, mine, name)
            line.append(series.trouble[0] if series.trouble else "-" if value is None else f"{value:.2f}")
        best = fastest(cells[row.name], [n for n in others if n != bound], name)
        value = ratio(mine, cells[row.name][best], name) if best else None
        line.append("-" if value is None else f"{value:.2f} ({best})")
        table.append(line)
    return table


def means(rows, cells, names, ours, bound):
    """[(name, geometric mean of ours / name over the rows that both have)], and against the best single peer of them."""
    result = []
    for name in names:
        if name == ours:
            continue
        ratios = [ratio(cells[row.name][ours], cells[row.name][name], row.judged) for row in rows
                  if not cells[row.name][name].trouble and not cells[row.name][ours].trouble]
        mean = measure.geometric_mean([value for value in ratios if value])
        if mean is not None:
            result.append((name, mean, name == bound))
    return result


def memory_table(rows, cells, names, figure):
    """MiB of every peer in each row."""
    table = [["", *names]]
    for row in rows:
        table.append([row.name, *(digits(cells[row.name][name].median(figure)[0]) for name in names)])
    return table
