//! What the sinks write, as a reader sees it.

#[cfg(test)]
mod json;
#[cfg(test)]
mod ledger_json;
#[cfg(test)]
mod ledger_samples;
#[cfg(test)]
mod ledger_table;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod pools;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod table;
