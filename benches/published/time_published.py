#!/usr/bin/env python3
"""Times the published PyTorch implementation of MiLoDo from a checkout of it.

Nothing of that implementation is in this file: the model, the problem, the
training loop and the inference loop are imported from the checkout. Prints one
JSON object per line.
"""

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import math
import os
import statistics
import sys
import time
import types

HIDDEN = 20  # width of the networks in the published training script
STEP = 0.03  # the published script's starting step size (lr_init)
META_RATE = 5e-4  # Adam's rate in the published first stage
DECAY = 1e-4
WEIGHT = 0.1  # the l1 weight
NOISE = 0.1


class Stub(types.ModuleType):
    """A module that has every attribute, for imports that the timed code never uses."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, roots):
        self.roots = roots

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.roots:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


def load(checkout):
    """The parts of the checkout that are timed, and which imports were stubbed."""
    if not os.path.isfile(os.path.join(checkout, "MiLoDo", "MiLoDo_framework.py")):
        sys.exit(f"{checkout}: no checkout of the published implementation (MiLoDo/MiLoDo_framework.py is missing)")
    wanted = ("matplotlib", "torchvision", "wandb")
    stubbed = [name for name in wanted if importlib.util.find_spec(name) is None]
    sys.meta_path.append(StubFinder(stubbed))
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.abspath(checkout))
    parts = types.SimpleNamespace(
        Rule=importlib.import_module("MiLoDo.MiLoDo_framework").MiLoDo_Optimizer,
        train=importlib.import_module("MiLoDo.Training").meta_train_l1,
        Lasso=importlib.import_module("optimizees.LASSO").CSOptimizee,
        Run=importlib.import_module("algorithms.MiLoDo").MiLoDo,
        ring=importlib.import_module("algorithms.Topo_generator").generate_ring_topology,
    )
    return parts, stubbed


def machine_busy():
    """Seconds all cores of the machine have been busy, or None where the system does not say."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Share of the machine's cores that other processes used while something was timed."""

    def __enter__(self):
        self.busy, self.own, self.wall = machine_busy(), time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_):
        busy, self.others = machine_busy(), None
        if busy is not None and self.busy is not None:
            spare = (busy - self.busy) - (time.process_time() - self.own)
            self.others = max(0.0, spare) / ((time.perf_counter() - self.wall) * os.cpu_count())


def summary(name, seconds, cpu_seconds, units, others):
    middle = statistics.median(seconds)
    return {
        f"seconds_per_{name}": middle,
        "low": min(seconds),
        "high": max(seconds),
        "cpu_seconds": statistics.median(cpu_seconds),
        "ns_per_agent_coordinate_step": 1e9 * middle / units,
        "repeats": len(seconds),
        "other_processes_share": None if others is None else round(others, 3),
    }


def lassos(torch, parts, options, count):
    rows = options.agents * options.rows
    return [
        parts.Lasso(options.agents, options.dimension, rows, NOISE, torch.device("cpu"), l1_weight=WEIGHT)
        for _ in range(count)
    ]


def new_rule(torch, parts, options):
    return parts.Rule(parts.ring(options.agents), HIDDEN, 1, True, torch.device("cpu"), {"lr": STEP})


def time_train(torch, parts, options):
    """One window of the published training loop: its own function is called with one epoch, one batch, one window."""
    problems = lassos(torch, parts, options, options.batch)
    rule = new_rule(torch, parts, options)
    adam_seconds = [0.0]

    class Adam(torch.optim.Adam):
        def step(self, *arguments, **named):
            start = time.perf_counter()
            super().step(*arguments, **named)
            adam_seconds[0] += time.perf_counter() - start

    adam = Adam(rule.parameters(), lr=META_RATE, weight_decay=DECAY)
    device = torch.device("cpu")

    def published():
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            parts.train(rule, problems, adam, options.batch, 1, options.window, options.window, device)
        if "nan" in said.getvalue().lower():
            sys.exit("the published loop's loss is not a number")

    matrix = torch.stack([problem.A for problem in problems])
    target = torch.stack([problem.b for problem in problems])
    rows = options.rows
    by_agent = matrix.reshape(options.batch, options.agents, rows, options.dimension)
    target_by_agent = target.reshape(options.batch, options.agents, rows)

    def batched():
        # The published networks with all problems' gradients and losses as one product each.
        shape = (options.batch, options.agents, options.dimension)
        weight = torch.full((options.batch, options.dimension), WEIGHT)
        rule.reset_state(options.batch * options.dimension)
        x, y, z = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
        total = 0.0
        for _ in range(options.window):
            misfit = torch.einsum("pard,pad->par", by_agent, x) - target_by_agent
            gradient = torch.einsum("pard,par->pad", by_agent, misfit) / rows
            x, y, z = rule(x, y, z, gradient, weight)
            mean = x.mean(dim=1)
            error = torch.einsum("pmd,pd->pm", matrix, mean) - target
            value = error.square().sum(dim=1) / (2 * error.shape[1]) + WEIGHT * mean.abs().sum(dim=1)
            total = total + value.mean()
        loss = total / options.window
        adam.zero_grad()
        loss.backward()
        adam.step()
        if not math.isfinite(loss.item()):
            sys.exit("the batched loop's loss is not a number")

    window = batched if options.loop == "batched" else published
    seconds, cpu_seconds, adam_each = [], [], []
    with torch.autograd.set_detect_anomaly(options.anomaly):
        window()  # warm-up
        with Watch() as watch:
            for _ in range(options.repeats):
                adam_seconds[0] = 0.0
                start, cpu_start = time.perf_counter(), time.process_time()
                window()
                seconds.append(time.perf_counter() - start - adam_seconds[0])
                cpu_seconds.append(time.process_time() - cpu_start)
                adam_each.append(adam_seconds[0])
    units = options.batch * options.agents * options.dimension * options.window
    return {
        "what": "train",
        "loop": options.loop,
        "batch": options.batch,
        "window": options.window,
        **summary("window", seconds, cpu_seconds, units, watch.others),
        "adam_seconds": statistics.median(adam_each),
        "anomaly_detection": options.anomaly,
    }


def time_inference(torch, parts, options):
    """Gradient of one problem and one step of the rule; and the published loop, which adds the objective and a print."""
    problem = lassos(torch, parts, options, 1)[0]
    device = torch.device("cpu")
    rule = new_rule(torch, parts, options)

    def steps():
        rule.reset_state(options.dimension)
        shape = (1, options.agents, options.dimension)
        x, y, z, gradient = (torch.zeros(shape) for _ in range(4))
        with torch.no_grad():
            for _ in range(options.steps):
                gradient[0] = problem.gradient(x[0])
                x, y, z = rule(x, y, z, gradient, problem.l1_weight)
        return x

    def published():
        rule.reset_state(options.dimension)
        with contextlib.redirect_stdout(io.StringIO()):
            return parts.Run(problem, options.steps, device, rule).run()

    if not bool(torch.isfinite(steps()).all()):  # also the warm-up
        sys.exit("the iterates are not finite")
    published()
    seconds, cpu_seconds, loop_seconds = [], [], []
    with Watch() as watch:
        for _ in range(options.repeats):
            start, cpu_start = time.perf_counter(), time.process_time()
            steps()
            middle, cpu_middle = time.perf_counter(), time.process_time()
            published()
            seconds.append((middle - start) / options.steps)
            cpu_seconds.append((cpu_middle - cpu_start) / options.steps)
            loop_seconds.append((time.perf_counter() - middle) / options.steps)
    return {
        "what": "inference",
        "steps": options.steps,
        **summary("step", seconds, cpu_seconds, options.agents * options.dimension, watch.others),
        "published_loop_seconds_per_step": statistics.median(loop_seconds),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", required=True, help="folder of the published implementation")
    parser.add_argument("--what", choices=("train", "inference", "both"), default="both")
    parser.add_argument("--batch", type=int, default=32, help="problems per meta-training window")
    parser.add_argument("--window", type=int, default=10, help="steps that are backpropagated through")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="inference steps per repeat")
    parser.add_argument("--agents", type=int, default=10, help="agents on the ring (at least 3)")
    parser.add_argument("--dimension", type=int, default=300)
    parser.add_argument("--rows", type=int, default=10, help="rows of data per agent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--loop",
        choices=("published", "batched"),
        default="published",
        help="published: its own training loop; batched: its networks with all problems' gradients in one product",
    )
    parser.add_argument("--anomaly", action="store_true", help="autograd's anomaly detection on, as the published script has it")
    parser.add_argument("--no-onednn", action="store_true", help="PyTorch's native LSTM instead of oneDNN's")
    options = parser.parse_args()
    for name in ("batch", "window", "repeats", "threads", "steps", "dimension", "rows"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if options.agents < 3:
        parser.error("--agents must be at least 3")

    try:
        import numpy
        import torch
    except ImportError as error:
        sys.exit(f"this benchmark needs PyTorch 2 and NumPy: {error}")
    torch.set_num_threads(options.threads)
    parts, stubbed = load(options.checkout)
    common = {
        "who": "published",
        "agents": options.agents,
        "dimension": options.dimension,
        "rows_per_agent": options.rows,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "onednn": not options.no_onednn,
        "stubbed": stubbed,
    }
    for what, measure in (("train", time_train), ("inference", time_inference)):
        if options.what in (what, "both"):
            torch.manual_seed(options.seed)
            numpy.random.seed(options.seed)
            with torch.backends.mkldnn.flags(enabled=not options.no_onednn):
                line = measure(torch, parts, options)
            print(json.dumps({**line, **common}), flush=True)


if __name__ == "__main__":
    main()
