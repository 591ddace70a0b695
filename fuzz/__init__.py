"""Coverage-guided fuzzing of the native decoders: what an input means, what must hold, and how the fuzzer is built."""
