//! The full screen: its state on events, its views on golden frames.

#[cfg(test)]
mod frames;
#[cfg(test)]
mod host;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod panic;
#[cfg(test)]
mod size;
#[cfg(test)]
mod state;
