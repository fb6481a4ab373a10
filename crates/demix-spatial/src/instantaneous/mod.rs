//! Instantaneous mixtures x = A s: real gains, no delays, no echoes.
