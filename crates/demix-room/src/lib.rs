//! Rooms to test separation in.
