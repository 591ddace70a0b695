"""The benchmarks: what Rivet costs, beside its peers, on the machine that runs them."""
