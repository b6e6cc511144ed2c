"""Which controls of a dataset can become lenses, by what is known of them beside their pixels."""

import logging

import numpy as np
import torch
from torch import Tensor

from dark_halo_scope.stamps.condition import Condition
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex

log = logging.getLogger(__name__)

_SEEING = "psf_fwhm_used_r"


def seeing_of_hosts(index: StampIndex, condition: Condition | None, progress: bool) -> Tensor:
    """FWHM of the PSF in r (rows of the dataset,), arcsec; NaN at rows that are no hosts.

    Hosts are the controls in use of the training split that meet the condition, if there is one, and whose seeing is
    known. It takes four bytes a row of the dataset.

    Raises:
        ConditionError: When the condition does not fit the columns.
        ContractError: When there is no host.
    """
    training = index.rows("train")
    controls = training[index.label[training] == 0]
    columns = [_SEEING]
    if condition:
        condition.holds(index.metadata(controls[:0]))  # refuses unknown columns, and tells which there are
        columns += condition.columns
    table = index.metadata(controls, columns, progress=progress)
    fwhm_r = table[_SEEING].to_numpy().astype(np.float32)
    known = np.isfinite(fwhm_r) & (fwhm_r > 0)
    meets = condition.holds(table) if condition else np.ones(len(controls), bool)
    if unknown := int(np.count_nonzero(meets & ~known)):
        log.warning("%d controls have no %s: they get no arcs", unknown, _SEEING)
    if not (meets & known).any():
        asked = f" for which transforms.inject.hosts={condition.text!r} holds" if condition else ""
        raise ContractError(f"{index.files.root}: no control of split train{asked} has a {_SEEING}: there is no host")
    log.info("%d of %d training controls can get fresh arcs", np.count_nonzero(meets & known), len(controls))
    hosts = np.full(index.n_rows, np.nan, np.float32)
    hosts[controls[meets & known]] = fwhm_r[meets & known]
    return torch.from_numpy(hosts)
