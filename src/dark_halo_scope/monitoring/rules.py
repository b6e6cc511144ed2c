"""The rules: each looks for one thing that goes wrong. A healthy run has no warnings; a rule in doubt keeps silent."""

import math
import shlex
import statistics
from collections.abc import Callable

from dark_halo_scope.monitoring.findings import Finding, Report
from dark_halo_scope.monitoring.run_state import RunState
from dark_halo_scope.monitoring.trend import trend

LEAST_VALIDATIONS = 6  # four degrees of freedom about a line: fewer give limits too wide to say anything
LEAST_STEPS = 64  # of recent losses or times
SMALLEST_LOSS = 1e-6
SPIKE_MADS = 10.0  # a normal deviate exceeds 10 MADs (6.7 sigma) once in 1e11 steps; losses of small batches have tails
SPIKE_FACTOR = 2.0  # and a spike at least doubles the usual loss
SPIKES = 3  # one may be a bad batch, which clipping takes care of
GRAD_NORM_FACTOR = 20.0  # clipped gradients vary by a few; divergence goes by powers of ten
HIGHER, RISEN = 1.1, 1.05  # times the least loss, which lies some 2 sigma low among many: a few per cent
LEAST_RISE = 0.003  # nats a stamp: a loss near zero may double, and no probability is worse by more than 0.3 %
LARGEST_WAIT = 0.2  # of the training time: what a faster loader would save at most, beyond the noise of a shared disk
LARGEST_MEMORY = 0.95  # of a GPU: torch needs the rest for fragments and cuDNN workspaces
MINUTE = 60.0


def stopped_or_stalled(run: RunState) -> Finding | None:
    """The process lives and does nothing."""
    if run.state != "stalled":
        return None
    pid = run.status.process.pid
    if run.life == "stopped":
        return Finding("stalled", "critical", f"process {pid} is stopped by a signal", f"kill -CONT {pid}")
    said = f"no batch for {run.quiet_s / MINUTE:.1f} min while {run.status.phase}; usual is {_usual(run)}"
    advice = f"py-spy dump --pid {pid} shows where it hangs; then kill {pid} and {_resume(run)}"
    return Finding("stalled", "critical", said, advice)


def dead(run: RunState) -> Finding | None:
    """The process is gone without an end."""
    if run.state != "dead":
        return None
    process, status = run.status.process, run.status
    how = "is gone" if run.life == "gone" else f"has not been heard of for {run.silent_s / MINUTE:.1f} min"
    where = f"epoch {status.epoch}, step {status.step}, while {status.phase}"
    said = f"process {process.pid} on {process.host} {how}: {where}"
    return Finding(
        "dead", "critical", said, f"see the end of run.log and the system's log (out of memory?); {_resume(run)}"
    )


def failed(run: RunState) -> Finding | None:
    """An error ended it."""
    if run.state != "failed" or nan(run):
        return None
    return Finding(
        "failed", "critical", run.status.error or f"it ended as {run.outcome}", f"see run.log; {_resume(run)}"
    )


def nan(run: RunState) -> Finding | None:
    """The loss is no finite number any more: nothing that is trained from here on is of use."""
    bad_steps = [step for step, loss in run.status.losses if loss is None]
    bad_epochs = [epoch for epoch, _, loss in run.history.get("train/loss", []) if not math.isfinite(loss)]
    diverged = run.outcome == "diverged" or (run.status.error or "").startswith("DivergedError")
    if not (bad_steps or bad_epochs or diverged):
        return None
    where = f"at step {bad_steps[0]}" if bad_steps else f"by step {run.status.step}"
    cures = _lower("optimizer.lr", run, 1 / 3)
    if run.setting("hardware.precision") == "16-mixed":
        cures += ", or hardware.precision=32-true (bf16-mixed where the GPU has it)"
    cures += ", or a longer warmup (scheduler.warmup_epochs)"
    return Finding("nan", "critical", f"the training loss became NaN or infinite {where}", f"start anew with {cures}")


def loss_spikes(run: RunState) -> Finding | None:
    """Losses far above those just before them: the rate is at the edge of what training stands.

    Compared are logarithms: losses near zero scatter over orders of magnitude without any harm.
    """
    losses = [(step, loss) for step, loss in run.status.losses if loss is not None]
    logs = [math.log(max(loss, SMALLEST_LOSS)) for _, loss in losses]
    spikes = [losses[k] for k in range(LEAST_STEPS, len(logs)) if _is_spike(logs[k], logs[k - LEAST_STEPS : k])]
    if len(spikes) < SPIKES:
        return None
    step, worst = max(spikes, key=lambda spike: spike[1])
    said = f"{len(spikes)} of the last {len(losses)} losses are spikes, the highest {worst:.3g} at step {step}"
    return Finding("loss spikes", "warning", said, f"{_lower('optimizer.lr', run, 1 / 2)}, or a longer warmup")


def _is_spike(value: float, before: list[float]) -> bool:
    middle = statistics.median(before)
    mad = statistics.median(abs(one - middle) for one in before)
    return value > middle + max(SPIKE_MADS * mad, math.log(SPIKE_FACTOR))


def gradient_norm(run: RunState) -> Finding | None:
    """Gradients that grow by orders of magnitude announce a divergence."""
    norms = [norm for _, norm in run.status.grad_norms if norm is not None]
    if len(norms) < LEAST_VALIDATIONS:
        return None
    usual, latest = statistics.median(norms[:-3]), statistics.median(norms[-3:])
    if latest <= GRAD_NORM_FACTOR * usual:
        return None
    said = f"the gradient norm rose to {latest:.3g}; usual is {usual:.3g}"
    clip = run.setting("trainer.gradient_clip_val")
    cure = _lower("trainer.gradient_clip_val", run, 1 / 2) if clip else "trainer.gradient_clip_val=1.0"
    return Finding("gradient norm", "warning", said, f"{cure}, or {_lower('optimizer.lr', run, 1 / 2)}")


def overfitting(run: RunState) -> Finding | None:
    """The training loss falls, and the validation loss rises or stays well above its least value.

    Rising and falling are told from scatter with 95 % confidence. Levels of the two losses are not compared:
    augmentation, dropout and label smoothing raise the training loss alone. As long as the monitored metric still
    improves, a growing loss is a matter of over-confidence, which calibration removes.
    """
    pairs = list(zip(run.values("train/loss"), run.values("val/loss"), strict=False))
    n = max(LEAST_VALIDATIONS, len(pairs) // 2)
    if len(pairs) < n or not all(math.isfinite(loss) for pair in pairs for loss in pair):
        return None
    train, val = map(list, zip(*pairs, strict=True))
    line = trend(val[-n:])
    least, since = min((loss, k) for k, loss in enumerate(val))
    late = val[-LEAST_VALIDATIONS:]
    stays_above = min(late) > HIGHER * least and statistics.fmean(train[-LEAST_VALIDATIONS:]) < train[since]
    goes_up = line.rises and statistics.fmean(late) > RISEN * least and trend(train[-n:]).falls
    if not (stays_above or goes_up) or statistics.fmean(late) < least + LEAST_RISE:
        return None
    said = (
        f"val/loss is {val[-1]:.3g}, was {least:.3g} in epoch {since} and changes by {line.slope:+.2g} +- "
        f"{line.stderr:.1g} an epoch; train/loss went from {train[since]:.3g} to {train[-1]:.3g}"
    )
    metric = [value if run.status.mode == "max" else -value for value in run.values(run.status.metric)[-n:]]
    if run.status.metric != "val/loss" and len(metric) == n and trend(metric).rises:
        advice = f"{run.status.metric} still improves: only the confidence is too high, which calibration puts right"
        return Finding("overfitting", "note", said, advice)
    dropout = (run.setting("model.dropout") or 0.0) + 0.2
    decay = (run.setting("optimizer.weight_decay") or 1e-4) * 10
    regularised = f"model.dropout={dropout:g} optimizer.weight_decay={decay:g}"
    advice = f"the best checkpoint is kept; next time {regularised}, or more data"
    return Finding("overfitting", "warning", said, advice)


def plateau(run: RunState) -> Finding | None:
    """With 95 % confidence, the validations that are left to early stopping bring less than one can tell from scatter.

    The line through the last two thirds of them, at least six, is carried on at the upper limit of its slope over as
    many validations as the patience has. What counts as a gain is `min_delta`, or the scatter about the line. Of flat
    series with normal scatter 15 % are named after 10 validations, 80 % after 20; of rising ones less than 1 %.
    """
    if run.state == "finished":
        return None
    sign = 1.0 if run.status.mode == "max" else -1.0
    values = [sign * value for value in run.values(run.status.metric)]
    n = max(LEAST_VALIDATIONS, 2 * len(values) // 3)
    if len(values) < n or not all(map(math.isfinite, values[-n:])):
        return None
    line = trend(values[-n:])
    ahead = run.status.patience.of if run.status.patience else n
    worthwhile = max(run.status.patience.min_delta if run.status.patience else 0.0, line.scatter)
    most = (line.slope + line.half_width) * ahead
    if most > worthwhile:
        return None
    metric = run.status.metric
    said = (
        f"{metric} changes by {sign * line.slope:+.2g} +- {line.stderr:.1g} a validation over the last {n}: "
        f"in {ahead} more it gains {max(most, 0.0):.2g} at most (95 %)"
    )
    advice = f"let early stopping end it, or interrupt it and {_resume(run, 'callbacks.early_stopping.patience=1')}"
    if run.status.patience is None:
        advice = "turn early stopping on (callbacks=default): another rate or model gains more than further epochs"
    return Finding("plateau", "warning", said, advice)


def loader_bound(run: RunState) -> Finding | None:
    """The device waits for stamps."""
    wait = run.status.wait_fraction
    if run.state == "finished" or wait is None or wait <= LARGEST_WAIT or run.status.step < LEAST_STEPS:
        return None
    root, threads = run.setting("data.root") or "RAW", run.setting("hardware.loader_threads")
    cures = f"halo prepare {shlex.quote(str(root))} OUT, then data.root=OUT"
    if isinstance(threads, int):
        cures += f"; or hardware.loader_threads={2 * threads} where cores are free"
    return Finding("loader-bound", "warning", f"{wait:.0%} of the training time is waiting for stamps", cures)


def gpu_memory(run: RunState) -> Finding | None:
    """The next larger batch, or a fragmented heap, ends in an out-of-memory error."""
    used, total = run.status.gpu_memory_gib, run.status.gpu_total_gib
    if used is None or total is None or used <= LARGEST_MEMORY * total:
        return None
    accumulate = 2 * (run.setting("trainer.accumulate_grad_batches") or 1)
    advice = f"trainer.accumulate_grad_batches={accumulate}: the same steps in half the memory"
    return Finding("GPU memory", "warning", f"{used:.1f} of {total:.1f} GiB", advice)


def early_stop(run: RunState) -> Finding | None:
    """Early stopping is about to end the run."""
    patience = run.status.patience
    if run.state != "running" or patience is None or patience.left > patience.of // 2:
        return None
    metric = run.status.metric
    said = f"stops after {patience.left} more validations unless {metric} improves by {patience.min_delta:g}"
    return Finding(
        "early stop", "note", said, f"to wait for longer: callbacks.early_stopping.patience={2 * patience.of}"
    )


RULES: tuple[Callable[[RunState], Finding | None], ...] = (
    dead,
    stopped_or_stalled,
    nan,
    failed,
    loss_spikes,
    gradient_norm,
    overfitting,
    plateau,
    loader_bound,
    gpu_memory,
    early_stop,
)


def examine(run: RunState) -> Report:
    """Apply all rules."""
    found = [finding for rule in RULES if (finding := rule(run)) is not None]
    order = ("critical", "warning", "note")
    return Report(run, tuple(sorted(found, key=lambda finding: order.index(finding.severity))))


def _usual(run: RunState) -> str:
    return f"one every {run.status.step_s:.2g} s" if run.status.step_s is not None else "not known yet"


def _resume(run: RunState, *overrides: str) -> str:
    words = [word for word in shlex.split(run.command) if not word.startswith("resume=")]
    return f"go on with: {shlex.join([*words, f'resume={run.folder}', *overrides])}"


def _lower(key: str, run: RunState, factor: float) -> str:
    value = run.setting(key)
    return f"{key}={value * factor:.2g}" if isinstance(value, int | float) else f"a smaller {key}"
