//! A sum of doubles that is exact until it is asked for: equal for every order and every grouping of what is added, and
//! rounded once. Two doubles hold it as long as they can, which is nearly always; what they cannot hold goes to a
//! [`Wide`] number.
//!
//! The value of a sum is the nearest double to the exact sum, of two equally near ones the even one, and infinity if it is
//! beyond all doubles. A sum of 0 has no sign, whatever zeros are added. With a NaN, or with infinities of both signs, it is
//! NaN, always the same one; with infinities of one sign it is that.

use super::magnitude::Portion;
use super::wide::Wide;

/// Below this, no addition of two doubles overflows: 2^1020.
const SAFE: f64 = f64::from_bits((1020 + 1023) << 52);
/// Additions that are done side by side.
const LANES: usize = 4;

const NEGATIVE: u8 = 1;
const PLUS_INFINITY: u8 = 2;
const MINUS_INFINITY: u8 = 4;
const NAN: u8 = 8;

/// An exact sum.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    /// The sum is `high` + `low` + `wide`.
    high: f64,
    low: f64,
    wide: Option<Box<Wide>>,
    /// Which values without a place on the line are in it.
    special: u8,
}

/// An addition without loss: the rounded sum, and what it lacks. Right for all doubles below [`SAFE`], subnormal ones, too.
fn two_sum(one: f64, other: f64) -> (f64, f64) {
    let sum = one + other;
    let of_other = sum - one;
    (sum, (one - (sum - of_other)) + (other - of_other))
}

impl ExactSum {
    /// Bytes that a sum takes beside its own if two doubles cannot hold it.
    pub const MORE_BYTES: usize = size_of::<Wide>();

    /// Adds a number; gives whether the sum takes more memory now.
    #[inline]
    pub fn add(&mut self, value: f64) -> bool {
        let (high, lacks) = two_sum(self.high, value);
        let (low, rest) = two_sum(self.low, lacks);
        // Not so for NaN.
        if high.abs() < SAFE && value.abs() < SAFE {
            self.high = high;
            self.low = low;
            rest != 0.0 && self.spill(rest)
        } else {
            self.add_large(value)
        }
    }

    #[cold]
    fn add_large(&mut self, value: f64) -> bool {
        if value.is_finite() {
            return self.spill(value);
        }
        self.special |= match (value.is_nan(), value > 0.0) {
            (true, _) => NAN,
            (false, true) => PLUS_INFINITY,
            (false, false) => MINUS_INFINITY,
        };
        false
    }

    fn spill(&mut self, value: f64) -> bool {
        let grows = self.wide.is_none();
        self.wide.get_or_insert_default().add(value);
        grows
    }

    /// Adds all of these.
    pub fn add_all(&mut self, values: &[f64]) {
        let (mut high, mut low) = ([0.0; LANES], [0.0; LANES]);
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            let (mut highs, mut lows, mut fits) = (high, low, true);
            for ((high, low), value) in highs.iter_mut().zip(&mut lows).zip(chunk) {
                let (sum, lacks) = two_sum(*high, *value);
                let (less, rest) = two_sum(*low, lacks);
                fits &= (sum.abs() < SAFE) & (value.abs() < SAFE) & (rest == 0.0);
                (*high, *low) = (sum, less);
            }
            if fits {
                (high, low) = (highs, lows);
            } else {
                for value in chunk {
                    self.add(*value);
                }
            }
        }
        for value in high.iter().chain(&low).chain(rest) {
            self.add(*value);
        }
    }

    /// Adds a whole number; gives whether the sum takes more memory now.
    pub(super) fn add_whole(&mut self, value: u128) -> bool {
        if value < 1 << 53 {
            return self.add(value as f64);
        }
        let grows = self.wide.is_none();
        self.wide.get_or_insert_default().add_whole(value);
        grows
    }

    /// Adds another sum; gives whether this one takes more memory now.
    pub fn unite(&mut self, other: &Self) -> bool {
        let before = self.wide.is_none();
        self.special |= other.special;
        self.add(other.high);
        self.add(other.low);
        if let Some(wide) = &other.wide {
            let has_room = self.wide.get_or_insert_default().unite(wide);
            // No rows sum up to that; somebody made it up.
            self.special |= if has_room { 0 } else { NAN };
        }
        before && self.wide.is_some()
    }

    fn wide(&self) -> Wide {
        let mut wide = self.wide.as_deref().cloned().unwrap_or_default();
        wide.add(self.high);
        wide.add(self.low);
        wide
    }

    fn special(&self) -> Option<f64> {
        match self.special {
            0 => None,
            PLUS_INFINITY => Some(f64::INFINITY),
            MINUS_INFINITY => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// Whether it is a number on the line, NaN and infinities apart; it may be beyond all doubles.
    pub(super) fn is_finite(&self) -> bool {
        self.special == 0
    }

    /// The sum as a double.
    pub fn value(&self) -> f64 {
        match (self.special(), &self.wide) {
            (Some(special), _) => special,
            (None, None) => self.high + self.low,
            (None, Some(_)) => self.wide().rounded(),
        }
    }

    /// The sum over `count` values divided by their number, which is above 0; rounded once.
    pub fn average(&self, count: u64) -> f64 {
        match (self.special(), &self.wide) {
            (Some(special), _) => special,
            (None, None) if self.low == 0.0 && count < 1 << 53 => self.high / count as f64,
            (None, _) => self.wide().divided(count),
        }
    }

    /// Whether it is more than this portion of the other; both are finite and at least 0.
    pub(super) fn exceeds(&self, portion: Portion, other: &Self) -> bool {
        self.wide().exceeds(portion.units, portion.whole, &other.wide())
    }

    /// Whether it is below 0.
    pub(super) fn is_negative(&self) -> bool {
        self.wide().is_negative()
    }

    /// Whether it takes [`ExactSum::MORE_BYTES`] beside its own.
    pub fn has_grown(&self) -> bool {
        self.wide.is_some()
    }

    /// Two numbers that add up to the sum, if it has such ones at hand.
    pub(super) fn as_pair(&self) -> Option<(f64, f64)> {
        (self.special == 0 && self.wide.is_none()).then_some((self.high, self.low))
    }

    /// The sum as bytes, at most 274 of them and mostly 10 or 18. Equal sums have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        if self.special != 0 {
            // What else is in it changes nothing any more.
            return vec![self.special];
        }
        let wide = self.wide();
        let mut bytes = vec![if wide.is_negative() { NEGATIVE } else { 0 }];
        wide.encode(&mut bytes);
        bytes
    }

    /// The sum in these bytes. Another place made them, so they are believed only if they can be one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0 | &NEGATIVE, number) => {
                let wide = Wide::decode(number, bytes.first() == Some(&NEGATIVE))?;
                Some(Self { wide: Some(Box::new(wide)), ..Self::default() }.settled())
            }
            (special, []) if special & !(PLUS_INFINITY | MINUS_INFINITY | NAN) == 0 => {
                Some(Self { special: *special, ..Self::default() })
            }
            _ => None,
        }
    }

    /// The same sum in two doubles if they can hold it.
    fn settled(mut self) -> Self {
        let Some(mut wide) = self.wide.take() else { return self };
        let mut whole = Self::default();
        for part in [&mut whole.high, &mut whole.low] {
            let value = wide.rounded();
            if value.abs() < SAFE {
                wide.add(-value);
                *part = value;
            }
        }
        if *wide != Wide::default() {
            whole.wide = Some(wide);
        }
        whole
    }
}
