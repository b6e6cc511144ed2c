"""Validate, test and train over some processes; every rank writes what it logged, gathered and learnt.

python -m tests.tasks.run_over_ranks OUT_FOLDER PROCESSES
"""

import json
import sys
from pathlib import Path

from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.statistics import channel_statistics
from tests.tasks.test_window_classification import build, data, parts_of
from tests.tasks.tiny import TinyStamps, tiny_task, tiny_trainer


def main(folder: Path, processes: int) -> None:
    strategy = "ddp" if processes > 1 else "auto"
    trainer = tiny_trainer(folder, devices=processes, strategy=strategy)
    task, stamps = tiny_task(label_smoothing=0.1), TinyStamps()
    logged = {}
    for evaluate in (trainer.validate, trainer.test):
        evaluate(task, datamodule=stamps, verbose=False)
        logged |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    gathered = {stage: {k: v.tolist() for k, v in task.gathered_scores(stage).items()} for stage in ("val", "test")}
    windows, classifier = parts_of(WindowIndex.build(str(folder / "study"))), build()
    classifier.normalise.fit(channel_statistics(windows, windows.rows("train")))
    of_windows = trainer.validate(classifier, datamodule=data(windows, folder), verbose=False)[0]
    gathered["windows"] = {name: values.tolist() for name, values in classifier.gathered_scores("val").items()}
    trainer.fit(task, datamodule=stamps)
    learnt = {name: float(trainer.callback_metrics[name]) for name in ("train/loss", "val/loss")}
    result = {"logged": logged, "gathered": gathered, "learnt": learnt, "windows": of_windows}
    (folder / f"{processes}_rank{trainer.global_rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
