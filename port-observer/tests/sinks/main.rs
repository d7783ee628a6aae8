//! What the sinks write, as a reader sees it.

#[cfg(test)]
mod json;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod table;
