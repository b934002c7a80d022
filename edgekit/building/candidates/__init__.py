"""From a network to measured candidates: planning, the ladder of recipes, timing, or estimates for an absent board."""
