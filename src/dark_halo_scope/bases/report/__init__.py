"""Report of a sweep: when a base model pays, when the target's own labels overtake it, and whom customising harms."""
