"""Networks: a normalised stamp (B, 3, 64, 64) -> one logit (B,), a normalised window (B, C, T) -> logits (B, K).

They know no Lightning and no survey. Each names its ``STAGES`` from the input to the output, the head last, by the
submodules of each: fine-tuning freezes some, or lets them learn slower.
"""

import dark_halo_scope.torchvision_ops  # noqa: F401
