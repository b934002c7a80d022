"""After the choice: the claim, the result, the waterfall, the bundle."""
