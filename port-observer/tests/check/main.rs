//! The answers of `check`, as a monitoring system reads them.

#[cfg(test)]
mod answers;
