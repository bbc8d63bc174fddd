//! The buckets in which counts are told. Exact figures describe people's data, so row and byte counts leave a place, and
//! stand in records, as powers of two, with everything small in one bucket.

/// Counts below this are not told apart.
const FLOOR: u64 = 1024;

/// The bucket of a count: the next power of two, at least the floor and the largest minimum in force.
pub fn bucket(count: u64, largest_minimum: u32) -> u64 {
    let floor = FLOOR.max(u64::from(largest_minimum).next_power_of_two());
    count.checked_next_power_of_two().unwrap_or(u64::MAX).max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e3_counts_are_told_in_powers_of_two_and_small_ones_look_the_same() {
        for minimum in [0, 1, 10, 1023, 1024, 1025, 3000, 65_536, u32::MAX] {
            let least = bucket(0, minimum);
            assert!(least >= 1024 && least >= u64::from(minimum), "{minimum}");
            let mut before = least;
            for exponent in 0..63 {
                for count in [(1_u64 << exponent) - 1, 1 << exponent, (1 << exponent) + 1] {
                    let told = bucket(count, minimum);
                    assert!(told.is_power_of_two() && told >= count && told >= before, "{count} under {minimum}");
                    assert!(told == least || told < 2 * count, "{count} under {minimum} is told as {told}");
                    before = told;
                }
            }
        }
    }

    #[test]
    fn small_counts_look_the_same() {
        assert_eq!([0, 1, 9, 1024].map(|count| bucket(count, 10)), [1024; 4]);
        assert_eq!(bucket(1025, 10), 2048);
        assert_eq!(bucket(1, 3000), 4096);
        assert_eq!(bucket(u64::MAX, 0), u64::MAX);
    }
}
