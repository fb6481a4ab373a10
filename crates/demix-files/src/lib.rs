//! Everything of demix that opens a file: audio, dictionaries, reports
