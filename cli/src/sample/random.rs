//! A tiny seeded generator of numbers that look random.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): the sample needs
//! the same bytes on each run and each machine, for longer than a library promises to keep its streams. Whole numbers
//! only, because results of floating-point functions differ between machines. Not for secrets.

/// A stream of numbers that follows from its seed.
#[derive(Debug, Clone)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        SplitMix64 { state: seed }
    }

    /// A stream of its own for one thing among many, so that adding rows does not change those before.
    pub fn for_item(seed: u64, item: u64) -> Self {
        let mut mixer = SplitMix64::new(seed ^ item.wrapping_mul(0xD1B5_4A32_D192_ED03));
        SplitMix64::new(mixer.next_u64())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0. The bias is below `bound` / 2⁶⁴.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).saturating_add(1);
        low.saturating_add_unsigned(self.below(u64::try_from(width).unwrap_or(0)))
    }

    /// Whether an event of this chance happens.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// A number around 0 in `-spread..=spread`, near the middle more often than at the ends.
    pub fn around(&mut self, spread: i64) -> i64 {
        let third = |generator: &mut Self| generator.between(-spread, spread);
        (third(self) + third(self) + third(self)) / 3
    }

    /// One of `choices` by weight; the last one if the weights are all 0, or `fallback` if there is no choice.
    pub fn weighted<T: Copy>(&mut self, choices: &[(T, u64)], fallback: T) -> T {
        let total = choices.iter().map(|(_, weight)| weight).sum();
        let mut point = self.below(total);
        for (choice, weight) in choices {
            if point < *weight {
                return *choice;
            }
            point -= weight;
        }
        choices.last().map_or(fallback, |(choice, _)| *choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_stream() {
        let mut generator = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| generator.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn stays_in_its_bounds_and_reaches_them() {
        let mut generator = SplitMix64::new(7);
        let numbers: Vec<i64> = (0..1000).map(|_| generator.between(-2, 2)).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&-2), Some(&2)));
        assert!((0..1000).all(|_| generator.around(5).abs() <= 5));
        assert!((0..100).all(|_| generator.weighted(&[("never", 0), ("always", 1)], "none") == "always"));
    }
}
