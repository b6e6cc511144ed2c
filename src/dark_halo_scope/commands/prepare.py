"""`halo prepare`: the training store of a raw dataset."""

import os
import re
import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from omegaconf import OmegaConf


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "prepare",
        help="write a dataset once more as a training store: shuffled, measured, read at memory speed",
        usage="halo prepare RAW OUT [--verify] [key=value ...]",
        description="Write the training store of a raw dataset, which a run takes as data.root in its place. "
        "An interrupted preparation goes on where it stopped when the command is given again. "
        "Keys: precision (float16 or float32), max_float16_error, seed, shard_stamps, row_group_stamps, and, as in "
        "configs/data: max_nonfinite_fraction, quarantine_limit, on_split_leak, region_column, host_column.",
        epilog="example: halo prepare s3://bucket/stamps /nvme/store precision=float32; "
        "halo prepare s3://bucket/stamps /nvme/store --verify",
    )
    parser.add_argument("raw", help="folder, file or URI of the raw dataset")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="make nothing, but check the bytes of the store in OUT, and a sample of its stamps against RAW",
    )
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Make a store, or verify one."""
    _select_by_avx2_on_zen4()
    from dark_halo_scope.stamps.store.options import StoreError, StoreOptions
    from dark_halo_scope.stamps.store.prepare import prepare
    from dark_halo_scope.stamps.store.verify import verify

    if arguments.verify:
        if overrides:
            raise StoreError(f"{overrides[0]}: a store is verified with the settings it was made with; leave it out")
        found = verify(arguments.raw, arguments.out)
        compared = f"{found.n_compared:,} stamps equal to the raw ones"
        if found.out_of_reach:
            compared = f"not compared with the raw dataset: {found.out_of_reach}"
        sys.stdout.write(f"{arguments.out}: {found.n_files} files as they were written; {compared}\n")
        return
    options = OmegaConf.merge(OmegaConf.structured(StoreOptions), OmegaConf.from_dotlist(overrides))
    store = prepare(arguments.raw, arguments.out, StoreOptions(**dict(options.items())))
    n_stamps = sum(sum(counts.values()) for counts in store.stamps.values())
    sys.stdout.write(f"{n_stamps:,} stamps in {arguments.out}\n")
    for what in ("quarantined", "repaired", "excluded"):
        for reason, by_split in store.faults[what].items():
            n_rows = sum(sum(counts.values()) for counts in by_split.values())
            sys.stdout.write(f"{what}: {n_rows:,} rows, {reason}\n")
    if store.float16_error:
        error = {name: f"{value:.2g}" for name, value in store.float16_error.items()}
        sys.stdout.write(
            f"float16: off by {error['mean']} of the sky noise on average, {error['max']} at worst (rms)\n"
        )


def _select_by_avx2_on_zen4() -> None:
    """Keep numpy, before it is imported, from AVX-512 on AMD's Zen 4, where it makes a median five times slower.

    Its selection compresses into memory (vpcompress), which is microcode there: numpy/x86-simd-sort, issue 6.
    """
    cpu = Path("/proc/cpuinfo")
    if cpu.exists() and re.search(r"vendor_id\s*: AuthenticAMD\ncpu family\s*: 25\n", cpu.read_text()):
        os.environ.setdefault("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR")
