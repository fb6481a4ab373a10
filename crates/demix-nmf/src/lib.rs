//! Non-negative matrix factorisation with beta divergences, fast
