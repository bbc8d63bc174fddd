//! What one steward's entities add up to in one cell, without signs, and the most that one of them has of it: what DOMINANCE
//! needs to know. Two sums for each cell, however many entities there are.

use datafusion::common::{Result, exec_err};

use super::exact::ExactSum;
use super::exact_sum::decoded;

/// A part of a whole, above 0 and below 1: `units` / `whole`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Portion {
    /// How many of the equal parts.
    pub units: u64,
    /// How many parts there are.
    pub whole: u64,
}

/// The magnitudes of one steward in one cell, or in several united.
#[derive(Clone, Debug, Default)]
pub struct Magnitudes {
    /// Σ|x| over all rows.
    total: ExactSum,
    /// The largest Σ|x| of one entity; of several cells united no less than that, for one may be the largest of each.
    largest: ExactSum,
    /// The same; of several cells united no more than that.
    at_least: ExactSum,
}

impl PartialEq for Magnitudes {
    fn eq(&self, other: &Self) -> bool {
        self.encode() == other.encode() && self.at_least.encode() == other.at_least.encode()
    }
}

impl Eq for Magnitudes {}

impl Magnitudes {
    /// Those of entities with these sums.
    pub(crate) fn of<'a>(sums: impl IntoIterator<Item = &'a ExactSum>) -> Self {
        let mut all = Self::default();
        for sum in sums {
            all.total.unite(sum);
            raise(&mut all.largest, sum);
        }
        Self { at_least: all.largest.clone(), ..all }
    }

    /// Adds another cell of the same steward.
    pub fn unite(&mut self, other: &Self) {
        self.total.unite(&other.total);
        self.largest.unite(&other.largest);
        raise(&mut self.at_least, &other.at_least);
    }

    /// Adds another steward of the same cell, with no entity in common: Σ|x| of all, and the largest of either.
    fn join(&mut self, other: &Self) {
        self.total.unite(&other.total);
        raise(&mut self.largest, &other.largest);
        raise(&mut self.at_least, &other.at_least);
    }

    /// Those of several stewards with no entity in common.
    pub fn together<'a>(stewards: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        stewards.into_iter().for_each(|one| all.join(one));
        all
    }

    /// Whether one entity may have more than this portion of the sum; of a single cell, whether one has. Nobody has more than
    /// a portion of nothing; of a sum that is not finite somebody may have all.
    pub fn may_have_dominant_entity(&self, portion: Portion) -> bool {
        !self.total.is_finite() || self.largest.exceeds(portion, &self.total)
    }

    /// Whether one entity has more than this portion of the sum for certain.
    pub fn has_dominant_entity(&self, portion: Portion) -> bool {
        !self.total.is_finite() || self.at_least.exceeds(portion, &self.total)
    }

    /// Whether all these rows together have more than this portion of another sum.
    pub fn dominates(&self, portion: Portion, all: &Self) -> bool {
        !all.total.is_finite() || self.total.exceeds(portion, &all.total)
    }

    /// As bytes: both sums, the first after its length.
    pub fn encode(&self) -> Vec<u8> {
        let (total, largest) = (self.total.encode(), self.largest.encode());
        let length = u16::try_from(total.len()).unwrap_or(u16::MAX);
        [length.to_be_bytes().as_slice(), &total, &largest].concat()
    }

    /// The magnitudes in these bytes. Another place made them, so they are believed only if they can be some.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let parts = bytes.split_at_checked(2).and_then(|(length, sums)| {
            let length = u16::from_be_bytes(length.try_into().ok()?);
            sums.split_at_checked(usize::from(length))
        });
        let Some((total, largest)) = parts else { return exec_err!("magnitudes are not encoded as agreed") };
        let (total, largest) = (decoded(total)?, decoded(largest)?);
        if total.is_negative() || largest.is_negative() || largest.is_finite() != total.is_finite() {
            return exec_err!("magnitudes are not encoded as agreed");
        }
        if total.is_finite() && largest.exceeds(ONE, &total) {
            return exec_err!("an entity has more than there is");
        }
        Ok(Self { total, at_least: largest.clone(), largest })
    }
}

const ONE: Portion = Portion { units: 1, whole: 1 };

/// Makes a sum the larger of two; what is not finite is larger than all.
fn raise(largest: &mut ExactSum, other: &ExactSum) {
    if !other.is_finite() || (largest.is_finite() && other.exceeds(ONE, largest)) {
        *largest = other.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sums: &[f64]) -> Magnitudes {
        let sums: Vec<ExactSum> = sums
            .iter()
            .map(|value| {
                let mut sum = ExactSum::default();
                sum.add(*value);
                sum
            })
            .collect();
        Magnitudes::of(&sums)
    }

    const HALF: Portion = Portion { units: 5, whole: 10 };

    #[test]
    fn b8_dominance_is_more_than_the_share_and_not_as_much() {
        assert!(!of(&[1.0, 1.0]).may_have_dominant_entity(HALF));
        assert!(of(&[1.0, 1.0f64.next_up()]).may_have_dominant_entity(HALF));
        assert!(!of(&[1.0, 2.0, 3.0]).may_have_dominant_entity(HALF));
        assert!(of(&[7.0]).may_have_dominant_entity(HALF));
        // Of nothing nobody has more than a share.
        assert!(!of(&[0.0]).may_have_dominant_entity(HALF) && !of(&[]).may_have_dominant_entity(HALF));
        for odd in [f64::NAN, f64::INFINITY] {
            assert!(
                of(&[odd, 1.0, 1.0]).may_have_dominant_entity(HALF) && of(&[1.0, odd]).may_have_dominant_entity(HALF)
            );
            assert!(of(&[1.0]).dominates(HALF, &of(&[odd])));
        }
    }

    #[test]
    fn b8_dominance_of_united_cells_is_never_taken_for_less_than_it_is() {
        // One person has 3 in each of two cells of 8: 6 of 16. Two persons would have 3; nobody knows which it is.
        let mut united = of(&[3.0, 3.0, 2.0]);
        united.unite(&of(&[3.0, 3.0, 2.0]));
        assert!(united.may_have_dominant_entity(Portion { units: 3, whole: 10 }));
        assert!(!united.may_have_dominant_entity(Portion { units: 4, whole: 10 }));
        assert!(!united.has_dominant_entity(Portion { units: 3, whole: 10 }));
        assert!(united.has_dominant_entity(Portion { units: 18, whole: 100 }));
        // Stewards have nobody in common.
        let stewards = [of(&[3.0, 3.0, 2.0]), of(&[3.0, 3.0, 2.0])];
        assert!(!Magnitudes::together(&stewards).may_have_dominant_entity(Portion { units: 3, whole: 10 }));
        assert!(stewards[0].dominates(Portion { units: 4, whole: 10 }, &Magnitudes::together(&stewards)));
        assert!(!stewards[0].dominates(HALF, &Magnitudes::together(&stewards)));
    }

    #[test]
    fn b8_dominance_bytes_are_believed_only_as_agreed() {
        for some in [of(&[]), of(&[1.0, 2.5]), of(&[f64::NAN]), of(&[1e300, 1e-300])] {
            let bytes = some.encode();
            assert_eq!(Magnitudes::decode(&bytes).unwrap(), some);
            assert!(Magnitudes::decode(&bytes[..bytes.len() - 1]).is_err());
            assert!(bytes.len() <= 2 + 2 * 274);
        }
        let forged = Magnitudes { largest: of(&[2.0]).total, ..of(&[1.0]) };
        assert!(Magnitudes::decode(&forged.encode()).is_err());
        let forged = Magnitudes { total: of(&[f64::NAN]).total, ..of(&[1.0]) };
        assert!(Magnitudes::decode(&forged.encode()).is_err());
        let mut negative = ExactSum::default();
        negative.add(-1.0);
        assert!(Magnitudes::decode(&Magnitudes { total: negative, ..of(&[]) }.encode()).is_err());
        assert!(Magnitudes::decode(&[0, 9, 1]).is_err() && Magnitudes::decode(&[]).is_err());
    }
}
