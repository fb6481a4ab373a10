//! The built program, run as a user runs it, on sounds made here.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

mod bad_input;
mod demixing;
mod dictionaries;
mod events;
mod guided;
mod instantaneous;
mod interrupt;
mod lab;
mod remix_evaluate_info;
mod separate;
mod texts;
mod train;
