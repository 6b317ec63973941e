"""The rows of the table: which workload with which parameters, and what of it is judged."""


class Row:
    """`unit`: what one operation is. `quick`: the share of the operations that --quick does."""

    def __init__(self, name, workload, parameters, unit, quick=0.15, judged="wall_ns_per_op"):
        self.name = name
        self.workload = workload
        self.parameters = parameters
        self.unit = unit
        self.quick = quick
        self.judged = judged

    def arguments(self, usual, share):
        """The workload's arguments when only a share of the usual number of operations is done."""
        values = dict(pair.split("=") for pair in usual.split())
        given = dict(pair.split("=") for pair in self.parameters.split())
        values.update(given)
        for count in ("ops", "rounds"):
            # Rounds of a workload that also counts operations are its structure: they stay.
            if count in values and share != 1:
                given[count] = str(max(1, round(int(values[count]) * share)))
                break
        return [f"{key}={value}" for key, value in given.items()]


TIME_ROWS = [
    Row("tiny objects", "tiny", "", "malloc+free", 0.25),
    Row("mixed small", "mixed", "", "malloc+free", 0.25),
    Row("one size", "pair", "", "malloc+free", 0.25),
    Row("random sizes, 1 thread", "random", "threads=1", "malloc+free", 0.25),
    Row("random sizes, 2 threads", "random", "threads=2", "malloc+free", 0.25),
    Row("server", "server", "", "malloc+free"),
    Row("producer/consumer", "pipe", "", "malloc+free"),
    Row("stress to 1 MiB", "stress", "", "malloc+free"),
    Row("large objects", "large", "", "malloc+free", 0.2),
    Row("thread churn", "churn", "", "thread", 0.2),
    Row("threads, empty", "churn-empty", "", "thread", 0.2),
    Row("realloc growth", "realloc", "", "realloc"),
    Row("calloc", "calloc", "", "calloc+free"),
    Row("aligned", "aligned", "", "malloc+free", 0.25),
    Row("fragmentation", "fragmentation", "", "malloc+free", 0.5),
    Row("start-up", "nothing", "", "process", 1, "seconds_ns"),
]

# (name, workload, [(x, parameters)], label of x, figures)
SCALES = [
    ("heap size, cost", "heap-size", [(mib, f"mib={mib} ops=500000") for mib in (64, 256, 1024, 4096, 16384)],
     "MiB", ["wall_ns_per_op", "pause_tenth_us"]),
    ("full heap", "full-heap", [(mib, f"mib={mib} ops=200000") for mib in (64, 256, 1024, 4096, 16384)],
     "MiB", ["wall_ns_per_op", "pause_tenth_us"]),
    ("threads", "random", [(n, f"threads={n} blocks=1000 ops=3000000") for n in (1, 2, 4, 8, 16, 32, 64)],
     "threads", ["wall_ns_per_op", "rss_net_mib"]),
    ("address space in use (arenas)", "large-in-full",
     [(mib, f"mib={mib} ops=20000") for mib in (1024, 4096, 16384, 57344)], "MiB", ["wall_ns_per_op", "fill_cpu_ns"]),
]

# (name, workload, parameters, [(heading, figure)])
MEMORY_ROWS = [
    ("blocks of ended threads", "orphan-blocks", "rounds=300",
     [("live", "live_mib"), ("RSS growth", "rss_growth_mib"), ("commit growth", "commit_growth_mib")]),
    ("generations of threads", "generations", "rounds=100",
     [("live", "live_mib"), ("RSS growth", "rss_growth_mib"), ("commit growth", "commit_growth_mib")]),
    ("freed by others, owner sleeps", "idle-owner", "mib=200",
     [("after a while", "rss_waited_mib"), ("collected", "rss_collected_mib"), ("allocated again", "rss_again_mib")]),
    ("pool of threads", "pool", "threads=50 blocks=10000 ops=500000",
     [("live", "live_mib"), ("peak RSS", "rss_peak_mib"), ("after a while", "rss_waited_mib")]),
    ("idle process", "idle-process", "blocks=50000 wait=2000",
     [("live", "live_mib"), ("freed", "rss_freed_mib"), ("idle", "rss_idle_mib"), ("commit idle", "commit_idle_mib")]),
    ("one block of each size", "one-of-each", "size=65536 threads=16",
     [("payload", "payload_mib"), ("commit", "commit_mib"), ("RSS", "rss_mib")]),
    ("many threads, few blocks", "many-threads", "threads=500",
     [("payload", "payload_mib"), ("commit", "commit_mib"), ("RSS", "rss_mib")]),
    ("fragmentation", "fragmentation", "",
     [("RSS per live byte, mean", "rss_per_live_mean"), ("worst", "rss_per_live_worst")]),
]
