//! Netlink attributes (`struct nlattr`), as nf_tables writes them: numbers are big-endian.

/// `NLA_TYPE_MASK`
const TYPE: u16 = 0x3fff;
const HEADER_BYTES: usize = 4;

/// Attributes one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(HEADER_BYTES..length)?;
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE, value))
    }
}

impl<'a> Attributes<'a> {
    /// The first of a kind.
    pub(super) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(one, _)| *one == kind).map(|(_, value)| value)
    }

    /// Those within one.
    pub(super) fn nested(self, kind: u16) -> Attributes<'a> {
        Attributes(self.get(kind).unwrap_or_default())
    }

    pub(super) fn number(self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A string, up to its null byte.
    pub(super) fn text(self, kind: u16) -> Option<String> {
        let bytes = self.get(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}
