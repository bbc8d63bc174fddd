//! A fixed-point number that is wide enough for every sum of doubles: all of them are multiples of the smallest one, and
//! none is beyond 2^1024. Adding to it loses nothing, so the order of additions does not matter.

/// Limbs of 64 bits, the lowest first: 2098 bits for any double, and the rest for 2^63 of them.
const LIMBS: usize = 34;
/// The unit of the lowest bit is 2^-1074, the smallest double.
const UNITS: u32 = 1074;
/// Bits of a double's mantissa, with the leading one.
const MANTISSA_BITS: u32 = 53;
/// The highest shift of a finite double's mantissa.
const SHIFT_MAX: u32 = 2045;
/// The bits of infinity.
const INFINITY_BITS: u64 = 0x7ff << 52;
/// What another place says is a sum is less than 2^(64·33 + 56): several of them still fit.
const TOP_LIMB_MAX: u64 = 1 << 56;

/// A whole multiple of 2^-1074, in two's complement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wide([u64; LIMBS]);

impl Default for Wide {
    fn default() -> Self {
        Self([0; LIMBS])
    }
}

impl Wide {
    /// Adds a double that is finite.
    pub(super) fn add(&mut self, value: f64) {
        let (mantissa, shift) = parts(value);
        if value.is_sign_negative() { self.subtract_at(mantissa, shift) } else { self.add_at(mantissa, shift) }
    }

    /// Adds a whole number, as so many ones.
    pub(super) fn add_whole(&mut self, value: u128) {
        for (half, shift) in [(value, UNITS), (value >> 64, UNITS + 64)] {
            self.add_at(u64::try_from(half & u128::from(u64::MAX)).unwrap_or(u64::MAX), shift);
        }
    }

    fn add_at(&mut self, value: u64, shift: u32) {
        let mut carry = false;
        let mut values = placed(value, shift);
        for limb in self.0.iter_mut().skip(limb_of(shift)) {
            match values.next() {
                None if !carry => return,
                value => (*limb, carry) = limb.carrying_add(value.unwrap_or(0), carry),
            }
        }
    }

    fn subtract_at(&mut self, value: u64, shift: u32) {
        let mut borrow = false;
        let mut values = placed(value, shift);
        for limb in self.0.iter_mut().skip(limb_of(shift)) {
            match values.next() {
                None if !borrow => return,
                value => (*limb, borrow) = limb.borrowing_sub(value.unwrap_or(0), borrow),
            }
        }
    }

    /// Adds another sum; gives whether it had room.
    #[must_use]
    pub(super) fn unite(&mut self, other: &Self) -> bool {
        let (before, with) = (self.is_negative(), other.is_negative());
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            (*limb, carry) = limb.carrying_add(other, carry);
        }
        before != with || self.is_negative() == before
    }

    pub(super) fn is_negative(&self) -> bool {
        self.0.last().is_some_and(|top| top >> 63 == 1)
    }

    /// The number without its sign.
    fn magnitude(&self) -> [u64; LIMBS] {
        let mut limbs = self.0;
        if self.is_negative() {
            let mut carry = true;
            for limb in &mut limbs {
                (*limb, carry) = (!*limb).carrying_add(0, carry);
            }
        }
        limbs
    }

    /// The nearest double, of two equally near ones the even one; 0 has no sign.
    pub(super) fn rounded(&self) -> f64 {
        self.signed(rounded(&self.magnitude(), 0, false))
    }

    /// The nearest double of the quotient by a number above 0, rounded once.
    pub(super) fn divided(&self, by: u64) -> f64 {
        // With 64 bits more below the unit, what remains is less than half of the last bit of any double.
        let mut quotient = [0; LIMBS + 1];
        let mut remains = 0_u128;
        let limbs = self.magnitude().into_iter().rev().chain([0]);
        for (digit, limb) in quotient.iter_mut().rev().zip(limbs) {
            let dividend = (remains << 64) | u128::from(limb);
            *digit = dividend.checked_div(u128::from(by)).and_then(|digit| u64::try_from(digit).ok()).unwrap_or(0);
            remains = dividend.checked_rem(u128::from(by)).unwrap_or(0);
        }
        self.signed(rounded(&quotient, 64, remains > 0))
    }

    fn signed(&self, magnitude: f64) -> f64 {
        if self.is_negative() && magnitude > 0.0 { -magnitude } else { magnitude }
    }

    /// Whether it is more than `share` / `whole` of the other; both are at least 0.
    pub(super) fn exceeds(&self, share: u64, whole: u64, other: &Self) -> bool {
        let (one, other) = (times(&self.0, whole), times(&other.0, share));
        one.iter().rev().gt(other.iter().rev())
    }

    /// Its magnitude without zeros at either end, as bytes after the number of limbs left out below. No two forms mean one number.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let limbs = self.magnitude();
        let Some(first) = limbs.iter().position(|limb| *limb > 0) else { return };
        let end = limbs.iter().rposition(|limb| *limb > 0).unwrap_or(first);
        out.push(u8::try_from(first).unwrap_or(u8::MAX));
        for limb in limbs.iter().take(end + 1).skip(first) {
            out.extend_from_slice(&limb.to_be_bytes());
        }
    }

    /// The number in these bytes, of this sign; nothing if they are not what [`Wide::encode`] gives.
    pub(super) fn decode(bytes: &[u8], negative: bool) -> Option<Self> {
        let mut magnitude = Self::default();
        let Some((first, limbs)) = bytes.split_first() else { return (!negative).then_some(magnitude) };
        let (limbs, rest) = limbs.as_chunks::<8>();
        let ends = [limbs.first()?, limbs.last()?];
        let top = usize::from(*first) + limbs.len();
        let room =
            top < LIMBS || (top == LIMBS && limbs.last().is_some_and(|top| u64::from_be_bytes(*top) < TOP_LIMB_MAX));
        if !rest.is_empty() || !room || ends.contains(&&[0; 8]) {
            return None;
        }
        for (limb, bytes) in magnitude.0.iter_mut().skip(usize::from(*first)).zip(limbs) {
            *limb = u64::from_be_bytes(*bytes);
        }
        if !negative {
            return Some(magnitude);
        }
        let mut number = Self::default();
        let mut borrow = false;
        for (limb, other) in number.0.iter_mut().zip(magnitude.0) {
            (*limb, borrow) = limb.borrowing_sub(other, borrow);
        }
        Some(number)
    }
}

/// The mantissa of a finite double and how far it stands above the unit.
fn parts(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let mantissa = bits & ((1 << 52) - 1);
    match u32::try_from((bits >> 52) & 0x7ff).unwrap_or(0) {
        0 => (mantissa, 0),
        exponent => (mantissa | (1 << 52), exponent - 1),
    }
}

fn limb_of(shift: u32) -> usize {
    usize::try_from(shift / 64).unwrap_or(LIMBS)
}

/// The two limbs that a value takes when it is shifted.
fn placed(value: u64, shift: u32) -> impl Iterator<Item = u64> {
    let bit = shift % 64;
    let above = if bit == 0 { 0 } else { value >> (64 - bit) };
    [value << bit, above].into_iter()
}

/// The double nearest to a magnitude whose lowest `below` bits are below the smallest double, and, if `more`, a little more.
fn rounded(magnitude: &[u64], below: u32, more: bool) -> f64 {
    let bits = |from: u32| {
        let at = |limb: usize| magnitude.get(limb).copied().unwrap_or(0);
        let (limb, bit) = (limb_of(from), from % 64);
        let above = if bit == 0 { 0 } else { at(limb + 1) << (64 - bit) };
        (at(limb) >> bit) | above
    };
    let Some(top) = magnitude.iter().rposition(|limb| *limb > 0) else { return 0.0 };
    let leading = magnitude.get(top).map_or(0, |limb| limb.leading_zeros());
    let length = u32::try_from((top + 1) * 64).unwrap_or(0) - leading;
    let shift = length.saturating_sub(MANTISSA_BITS).max(below);
    let mantissa = bits(shift);
    let up = shift.checked_sub(1).is_some_and(|half| {
        let rest = more || {
            let whole = magnitude.iter().take(limb_of(half)).any(|limb| *limb > 0);
            let part = magnitude.get(limb_of(half)).is_some_and(|limb| limb & ((1 << (half % 64)) - 1) > 0);
            whole || part
        };
        bits(half) & 1 == 1 && (rest || mantissa & 1 == 1)
    });
    let exponent = shift - below;
    if exponent > SHIFT_MAX {
        return f64::INFINITY;
    }
    // The leading bit of the mantissa adds 1 to the exponent, and so does a mantissa that is rounded up to the next power.
    f64::from_bits(((u64::from(exponent) << 52) + mantissa + u64::from(up)).min(INFINITY_BITS))
}

/// A magnitude times a number.
fn times(limbs: &[u64; LIMBS], by: u64) -> [u64; LIMBS + 1] {
    let mut product = [0; LIMBS + 1];
    let mut carry = 0;
    for (digit, limb) in product.iter_mut().zip(limbs.iter().copied().chain([0])) {
        (*digit, carry) = limb.carrying_mul(by, carry);
    }
    product
}
