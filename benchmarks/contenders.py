"""Contenders of a benchmark: processes that take turns.

A busy machine then slows all of them, so ratios within one round compare.
"""

import json
import os
import statistics
import subprocess
import sys
import time


class Contender:
    """A process that runs passes on request.

    Args:
        script: Path of the benchmark. Called with `--worker` and JSON, it
            calls `serve`.
        backend: String, the Keras backend of the process.
        settings: What JSON can hold, for the worker.
    """

    def __init__(self, script, backend, settings):
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", json.dumps(settings)],
            env={"TF_ENABLE_ONEDNN_OPTS": "1"}
            | os.environ
            | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name):
        """Returns the seconds of one pass, in clock and in processor time."""
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.process.args} ended early")

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def serve(passes):
    """Reads the name of a pass from each line, and prints its seconds."""
    for line in sys.stdin:
        run = passes[line.strip()]
        wall, processor = time.perf_counter(), time.process_time()
        run()
        wall = time.perf_counter() - wall
        processor = time.process_time() - processor
        print(json.dumps({"wall": wall, "processor": processor}), flush=True)


def measure(start, keys, passes, rounds):
    """Returns the seconds of each round, for each contender and pass.

    Args:
        start: Function that returns the contender of a key.
        keys: Sequence of tuples of strings.
        passes: Sequence of the names of passes.
        rounds: Integer. One more comes before them, to warm up.

    Returns:
        A dictionary from keys and passes to lists of records.
    """
    contenders = {}
    try:
        for key in keys:
            started = time.perf_counter()
            contenders[key] = start(key)
            # One after another, because this compiles.
            for name in passes:
                contenders[key].run(name)
            seconds = time.perf_counter() - started
            print(f"{' '.join(key)}: ready in {seconds:.0f} s", file=sys.stderr)
        seconds = {(key, name): [] for key in contenders for name in passes}
        for _ in range(rounds + 1):
            for name in passes:
                for key, contender in contenders.items():
                    seconds[key, name].append(contender.run(name))
    finally:
        for contender in contenders.values():
            contender.stop()
    return {key: records[1:] for key, records in seconds.items()}


def median(records, clock="wall"):
    """Returns the median seconds of some records."""
    return statistics.median(record[clock] for record in records)


def ratio(records, references, clock="wall"):
    """Returns the median of the ratios of the rounds."""
    return statistics.median(
        record[clock] / reference[clock]
        for record, reference in zip(records, references, strict=True)
    )
