"""Networks: a normalised stamp (B, 3, 64, 64) -> one logit (B,), a normalised window (B, C, T) -> logits (B, K).

They know no Lightning and no survey.
"""

import dark_halo_scope.torchvision_ops  # noqa: F401
