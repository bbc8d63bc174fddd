//! The people and appointments of a university, with a wage gap between men and women.
//!
//! Shaped like the yearly snapshots that universities report: one row per person and reference date, one or more
//! per appointment and reference date. Women stand about one salary scale lower on average, mostly because fewer
//! of them are in the higher function groups, and a little within each group: enough to find, small enough to need an
//! average.

use super::random::SplitMix64;

/// The reference dates of the yearly snapshots, as yyyymmdd.
const SNAPSHOTS: [u32; 4] = [20_171_231, 20_181_231, 20_191_231, 20_201_231];
/// The end of an appointment without end, as yyyymmdd.
const OPEN_END: u32 = 99_990_101;

/// Nationalities as four digits, with leading zeros, by weight; the last ones are rare.
const NATIONALITIES: [(&str, u64); 12] = [
    ("0001", 780),
    ("0055", 60),
    ("0052", 45),
    ("0064", 25),
    ("0060", 22),
    ("0223", 15),
    ("0307", 13),
    ("0077", 13),
    ("0312", 12),
    ("0000", 9),
    ("0339", 4),
    ("0111", 2),
];

/// Fields of science, by weight.
const FIELDS: [(&str, u64); 6] = [("G&M", 28), ("NATU", 22), ("DIV", 22), ("ECON", 16), ("RECH", 8), ("T&C", 4)];

/// Function groups: code of the function, salary scale, weight among men, weight among women.
const FUNCTIONS: [(&str, i64, u64, u64); 12] = [
    ("10910", 16, 9, 4),
    ("10920", 14, 8, 4),
    ("10820", 13, 7, 5),
    ("10810", 12, 8, 7),
    ("10720", 11, 14, 14),
    ("10710", 10, 10, 12),
    ("11010", 10, 20, 19),
    ("21510", 11, 7, 8),
    ("30210", 8, 6, 10),
    ("30310", 7, 5, 9),
    ("70120", 12, 4, 3),
    ("95100", 6, 2, 5),
];

/// Weekly working time in ten-thousandths of a full week, by weight for men and for women.
const WORKING_TIMES: [(u32, u64, u64); 6] =
    [(10_000, 64, 46), (9_000, 6, 7), (8_000, 14, 22), (6_000, 7, 12), (5_000, 4, 7), (2_000, 5, 6)];

/// One of the two universities of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum University {
    /// Short personnel numbers, institution `AAA`.
    Uva,
    /// Nine-digit personnel numbers, institution `DDD`.
    Vu,
}

/// A person at one reference date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Code of the institution.
    pub institution: &'static str,
    /// Personnel number.
    pub number: u64,
    /// `M` or `V`.
    pub gender: &'static str,
    /// First day of the year of birth, as yyyymmdd.
    pub born: u32,
    /// Four digits.
    pub nationality: &'static str,
    /// 1 with a basic teaching qualification.
    pub basic_qualification: u8,
    /// 1 with a senior teaching qualification.
    pub senior_qualification: u8,
    /// Reference date, as yyyymmdd.
    pub reference_date: u32,
}

/// An appointment at one reference date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appointment {
    /// Code of the institution.
    pub institution: &'static str,
    /// Personnel number of the person.
    pub number: u64,
    /// Number of the appointment among those of the person, from 1.
    pub sequence: u32,
    /// `V` permanent or `T` temporary.
    pub kind: &'static str,
    /// First day, as yyyymmdd.
    pub begins: u32,
    /// Last day, as yyyymmdd; 99990101 if there is none.
    pub ends: u32,
    /// Field of science.
    pub field: &'static str,
    /// Function code, five digits.
    pub function: &'static str,
    /// 1 if the scale is the person's own and not the function's.
    pub off_scale: u8,
    /// Salary scale, 1 to 18.
    pub scale: i64,
    /// Working time in ten-thousandths of a full week.
    pub working_time: u32,
    /// Appointment by the reckoning of 2022: `V`, `K`, `L` or `T`.
    pub kind_2022: &'static str,
    /// Reference date, as yyyymmdd.
    pub reference_date: u32,
}

/// The wage data of one university.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WageRows {
    /// One for each person and reference date.
    pub persons: Vec<Person>,
    /// One for each appointment and reference date.
    pub appointments: Vec<Appointment>,
}

impl WageRows {
    /// Rows of the join of both tables on the personnel number alone, which pairs every snapshot with every other.
    pub fn joined_rows(&self) -> usize {
        // Both tables list one person's rows together, in the same order of persons.
        let mut appointments = self.appointments.chunk_by(|left, right| left.number == right.number);
        let persons = self.persons.chunk_by(|left, right| left.number == right.number);
        persons.map(|rows| rows.len() * appointments.next().map_or(0, <[Appointment]>::len)).sum()
    }
}

/// The wage data of `persons` people of one university; a longer list begins with the shorter one.
pub fn wage_rows(university: University, persons: usize, seed: u64) -> WageRows {
    let mut rows = WageRows { persons: Vec::new(), appointments: Vec::new() };
    for index in (0_u64..).take(persons) {
        let mut random = SplitMix64::for_item(seed, index);
        add_person(university, index, &mut random, &mut rows);
    }
    rows
}

impl University {
    fn institution(self) -> &'static str {
        match self {
            University::Uva => "AAA",
            University::Vu => "DDD",
        }
    }

    /// Distinct numbers without visible order; those of the two universities do not meet below 900 000 people.
    fn number(self, index: u64) -> u64 {
        match self {
            // A step that shares no factor with the modulus visits every number once.
            University::Uva => 1 + index.wrapping_mul(387_421) % 900_001,
            University::Vu => 100_000_000 + index.wrapping_mul(38_742_049) % 99_999_989,
        }
    }
}

fn add_person(university: University, index: u64, random: &mut SplitMix64, rows: &mut WageRows) {
    let (institution, number) = (university.institution(), university.number(index));
    let woman = random.percent(if university == University::Uva { 55 } else { 52 });
    let age = 24 + random.below(22) + random.below(22);
    let birth_year = 2020 - u32::try_from(age).unwrap_or(40);
    let nationality = random.weighted(&NATIONALITIES, "0000");
    let basic = random.percent(if age < 30 { 4 } else { 30 });
    let senior = basic && random.percent(9);
    // Most people are there in all four years; others come later or leave earlier.
    let first = random.weighted(&[(0_usize, 60), (1, 14), (2, 13), (3, 13)], 0);
    let last = if random.percent(80) { 3 } else { first + usize::try_from(random.below(2)).unwrap_or(0) };
    let snapshots = || SNAPSHOTS.iter().copied().enumerate().filter(|(year, _)| (first..=last).contains(year));
    for (_, reference_date) in snapshots() {
        rows.persons.push(Person {
            institution,
            number,
            gender: if woman { "V" } else { "M" },
            born: birth_year * 10_000 + 101,
            nationality,
            basic_qualification: u8::from(basic),
            senior_qualification: u8::from(senior),
            reference_date,
        });
    }
    let second = random.percent(if university == University::Uva { 3 } else { 10 });
    for sequence in 1..=(if second { 2 } else { 1 }) {
        let appointment = first_appointment(institution, number, sequence, woman, age, random);
        let promoted = random.percent(if woman { 12 } else { 18 });
        for (year, reference_date) in snapshots() {
            let scale = appointment.scale + i64::from(promoted && year >= 2);
            rows.appointments.push(Appointment { scale: scale.min(18), reference_date, ..appointment.clone() });
        }
    }
}

/// An appointment as it is at the first reference date.
fn first_appointment(
    institution: &'static str,
    number: u64,
    sequence: u32,
    woman: bool,
    age: u64,
    random: &mut SplitMix64,
) -> Appointment {
    let functions = FUNCTIONS.map(|(code, scale, men, women)| ((code, scale), if woman { women } else { men }));
    let (function, function_scale) = random.weighted(&functions, ("11010", 10));
    let off_scale = random.percent(5);
    // Young people start lower, and women a little lower in the same function.
    let young = i64::from(age < 32 && random.percent(50));
    let behind = i64::from(woman && random.percent(25));
    let scale = (function_scale - young - behind + i64::from(off_scale)).clamp(1, 18);
    let permanent = random.percent(if age < 32 { 25 } else { 68 });
    let begins = if random.percent(40) { 19_000_101 } else { 20_000_101 + u32_below(random, 17) * 10_000 };
    let ends = if permanent || random.percent(85) { OPEN_END } else { 20_210_101 + u32_below(random, 4) * 10_000 };
    let times = WORKING_TIMES.map(|(time, men, women)| (time, if woman { women } else { men }));
    let temporary = random.weighted(&[("T", 55), ("K", 30), ("L", 15)], "T");
    Appointment {
        institution,
        number,
        sequence,
        kind: if permanent { "V" } else { "T" },
        begins,
        ends,
        field: random.weighted(&FIELDS, "DIV"),
        function,
        off_scale: u8::from(off_scale),
        scale,
        working_time: random.weighted(&times, 10_000),
        kind_2022: if permanent { "V" } else { temporary },
        reference_date: OPEN_END,
    }
}

fn u32_below(random: &mut SplitMix64, bound: u64) -> u32 {
    u32::try_from(random.below(bound)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn women_stand_about_one_scale_lower() {
        for university in [University::Uva, University::Vu] {
            let rows = wage_rows(university, 4000, 1);
            let genders: BTreeMap<u64, &str> =
                rows.persons.iter().map(|person| (person.number, person.gender)).collect();
            let average = |gender: &str| {
                let of_gender = rows.appointments.iter().filter(|appointment| genders[&appointment.number] == gender);
                let scales: Vec<i64> = of_gender.map(|appointment| appointment.scale).collect();
                scales.iter().sum::<i64>() as f64 / scales.len() as f64
            };
            let gap = average("M") - average("V");
            assert!((0.8..1.8).contains(&gap), "{university:?}: {gap}");
        }
    }

    #[test]
    fn people_are_distinct_within_and_between_universities() {
        let numbers = |university| -> BTreeSet<u64> {
            wage_rows(university, 30_000, 1).persons.iter().map(|person| person.number).collect()
        };
        let (uva, vu) = (numbers(University::Uva), numbers(University::Vu));
        assert_eq!((uva.len(), vu.len()), (30_000, 30_000));
        assert!(uva.is_disjoint(&vu));
    }

    #[test]
    fn a_longer_list_begins_with_the_shorter_and_a_seed_decides_everything() {
        let (short, long) = (wage_rows(University::Vu, 10, 5), wage_rows(University::Vu, 20, 5));
        assert!(long.appointments.starts_with(&short.appointments));
        assert_eq!(wage_rows(University::Vu, 20, 5), long);
        assert_ne!(wage_rows(University::Vu, 20, 6), long);
    }

    #[test]
    fn joined_rows_are_counted_as_a_nested_loop_does() {
        let rows = wage_rows(University::Vu, 100, 3);
        let joined = rows
            .persons
            .iter()
            .flat_map(|person| rows.appointments.iter().filter(move |appointment| appointment.number == person.number));
        assert_eq!(rows.joined_rows(), joined.count());
        assert!(rows.joined_rows() > 500);
    }
}
