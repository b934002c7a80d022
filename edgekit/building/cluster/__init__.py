"""Tasks on a Ray cluster: what travels, the process that speaks with Ray, and what answers on a worker."""
