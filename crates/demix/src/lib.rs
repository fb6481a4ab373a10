//! Audio source separation: one door to all methods of demix
