//! What is checked, by what it is judged.

use super::Threshold;
use crate::event::Protocol;
use crate::ports::{PortRange, Ports, ReservedPorts};

/// What is checked, by what it is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Which protocol.
    pub protocol: Protocol,
    /// An application's own range; `None`: the ephemeral one without reserved ports.
    pub range: Option<PortRange>,
    /// When to warn: at a percentage, or above.
    pub warning: Threshold,
    /// When it is critical: above a percentage.
    pub critical: Threshold,
    /// The status follows the busiest destination, not the range.
    pub per_destination: bool,
}

impl Terms {
    /// The range that is checked where the settings are these, and which of its ports count: of an
    /// application's own all, for it is often reserved, so that nobody else gets it.
    pub(super) fn ports(&self, settings: &Ports) -> (PortRange, Ports) {
        match self.range {
            None => (settings.ephemeral, settings.clone()),
            Some(range) => (range, Ports { ephemeral: range, reserved: ReservedPorts::default() }),
        }
    }

    /// What no part of them can see alone.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn check(&self) -> Result<(), String> {
        let Self { warning, critical, protocol, .. } = self;
        if let (Threshold::Percent(warning), Threshold::Percent(critical)) = (warning, critical)
            && warning >= critical
        {
            return Err(format!("--warning ({warning}) must be below --critical ({critical})"));
        }
        if self.per_destination && *protocol == Protocol::Udp {
            return Err(
                "--per-destination is about TCP: over UDP, destinations share no ports".to_owned()
            );
        }
        Ok(())
    }
}
