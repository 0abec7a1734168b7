"""Making sequences with a generator: mutations, the mutate–denoise loop, the engines that run it."""
