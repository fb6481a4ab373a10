pub(crate) mod chance;
