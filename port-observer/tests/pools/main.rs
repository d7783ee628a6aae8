//! `pools`, as it is called in a directory.

#[cfg(test)]
mod compose;
#[cfg(test)]
mod compose_files;
#[cfg(test)]
mod compose_public;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod firewall;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod show;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod vpn;
