//! Sizes as configuration files write them: a number and a unit, such as `256MiB`.

use serde::Deserialize;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

impl ByteSize {
    /// The size as the engine counts memory; what does not fit is the most there is.
    pub(crate) fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("`{text}` is no size, write a number and B, KiB, MiB or GiB, such as `256MiB`");
        let (number, unit) =
            UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes))).ok_or_else(wrong)?;
        let number: u64 = number.trim_end().parse().map_err(|_| wrong())?;
        number.checked_mul(unit).filter(|bytes| *bytes > 0).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_are_above_zero() {
        assert_eq!(ByteSize::try_from("256MiB".to_owned()), Ok(ByteSize(256 << 20)));
        assert_eq!(ByteSize::try_from("12 KiB".to_owned()), Ok(ByteSize(12 << 10)));
        assert_eq!(ByteSize::try_from("7B".to_owned()), Ok(ByteSize(7)));
        for wrong in ["256", "256MB", "MiB", "-1MiB", "0B", "99999999999999GiB"] {
            assert!(ByteSize::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
