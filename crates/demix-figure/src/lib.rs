//! Pictures of demix: spectrograms, factors, masks, curves
