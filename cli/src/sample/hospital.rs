//! The patients, visits and measurements of a hospital.
//!
//! Some patients are known to both hospitals under the same number. Older people stay longer and have higher blood
//! pressure; some departments and diagnoses are so rare that a minimum group size hides them.

use super::random::SplitMix64;

/// Departments, by weight; one needs quotes in a CSV file, the last is rare.
const DEPARTMENTS: [(&str, u64); 8] = [
    ("cardiology", 22),
    ("internal medicine", 22),
    ("emergency", 18),
    ("orthopaedics", 14),
    ("ear, nose and throat", 9),
    ("oncology", 9),
    ("neurology", 6),
    ("clinical genetics", 0),
];

/// ICD-10 codes, by weight; the last ones are rare. Empty: not yet known.
const DIAGNOSES: [(Option<&str>, u64); 12] = [
    (Some("I10"), 170),
    (Some("E11"), 130),
    (Some("J18"), 100),
    (Some("I48"), 90),
    (Some("M16"), 90),
    (Some("S72"), 80),
    (Some("C50"), 70),
    (Some("J44"), 70),
    (Some("G40"), 50),
    (None, 15),
    (Some("E84"), 2),
    (Some("Q87"), 1),
];

const REGIONS: [(&str, u64); 6] =
    [("Amsterdam", 52), ("Amstelland", 16), ("Zaanstreek", 14), ("Haarlem", 9), ("Gooi", 8), ("Texel", 1)];

/// First day of the first year of visits, 2019-01-01, in days since 1970-01-01.
const FIRST_DAY: i32 = 17_897;
/// Days of visits: five years.
const DAYS: u64 = 1_826;
/// Patients known to both hospitals, for each hundred of the smaller one.
const SHARED_PERCENT: u64 = 10;
const MICROS_PER_MINUTE: i64 = 60_000_000;
const MINUTES_PER_DAY: i64 = 1_440;

/// One of the two hospitals of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hospital {
    /// An academic hospital.
    Amc,
    /// A city hospital.
    Olvg,
}

/// A patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patient {
    /// A number that both hospitals know the same person by.
    pub patient_id: i64,
    /// Year of birth.
    pub birth_year: u16,
    /// `F` or `M`.
    pub sex: &'static str,
    /// Region of residence.
    pub region: &'static str,
    /// Whether the patient refuses the use of their data for research.
    pub consent: Consent,
}

/// Whether a patient agrees to the use of their data for research.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// No objection.
    Given,
    /// Opted out.
    Refused,
}

/// A visit to a hospital.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Number of the visit within the hospital.
    pub visit_id: i64,
    /// Number of the patient.
    pub patient_id: i64,
    /// Day of admission, in days since 1970-01-01.
    pub visit_day: i32,
    /// Department.
    pub department: &'static str,
    /// ICD-10 code, if known.
    pub diagnosis: Option<&'static str>,
    /// Days in hospital; 0 for an outpatient.
    pub length_of_stay_days: u32,
    /// Cost in cents of a euro, if known.
    pub cost_cents: Option<u64>,
}

/// A value measured during a visit.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Number of the measurement within the hospital.
    pub measurement_id: i64,
    /// Number of the visit.
    pub visit_id: i64,
    /// Number of the patient.
    pub patient_id: i64,
    /// Moment, in microseconds since 1970-01-01 00:00.
    pub measured_at_micros: i64,
    /// What was measured.
    pub kind: &'static str,
    /// The value, if the device gave one.
    pub value: Option<f64>,
    /// The unit of `value`.
    pub unit: &'static str,
}

/// The data of one hospital.
#[derive(Debug, Clone, PartialEq)]
pub struct HospitalRows {
    /// One for each patient.
    pub patients: Vec<Patient>,
    /// About three for each patient.
    pub visits: Vec<Visit>,
    /// About three for each visit.
    pub measurements: Vec<Measurement>,
}

/// The data of a hospital with `patients` patients; give both hospitals one seed to let them share patients.
pub fn hospital_rows(hospital: Hospital, patients: usize, seed: u64) -> HospitalRows {
    let count = u64::try_from(patients).unwrap_or(u64::MAX);
    // People are numbered in one population; the hospitals' ranges overlap at their ends.
    let first_person = match hospital {
        Hospital::Amc => 0,
        Hospital::Olvg => count - count * SHARED_PERCENT / 100,
    };
    let mut rows = HospitalRows { patients: Vec::new(), visits: Vec::new(), measurements: Vec::new() };
    for person in (first_person..).take(patients) {
        let patient = patient(person, seed);
        let own = match hospital {
            Hospital::Amc => 0xA3C,
            Hospital::Olvg => 0x01_76,
        };
        let mut random = SplitMix64::for_item(seed ^ (own << 40), person);
        add_visits(hospital, &patient, &mut random, &mut rows);
        rows.patients.push(patient);
    }
    rows
}

/// Who a person is, wherever they are a patient.
fn patient(person: u64, seed: u64) -> Patient {
    let mut random = SplitMix64::for_item(seed, person);
    let age = random.below(50) + random.below(45);
    Patient {
        // A step that shares no factor with the modulus, a prime, visits every number once.
        patient_id: i64::try_from(1_000_000 + person.wrapping_mul(2_718_281) % 8_999_993).unwrap_or(0),
        birth_year: 2022 - u16::try_from(age).unwrap_or(40),
        sex: if random.percent(52) { "F" } else { "M" },
        region: random.weighted(&REGIONS, "Amsterdam"),
        consent: if random.percent(7) { Consent::Refused } else { Consent::Given },
    }
}

fn add_visits(hospital: Hospital, patient: &Patient, random: &mut SplitMix64, rows: &mut HospitalRows) {
    let visits = random.weighted(&[(1_u32, 22), (2, 24), (3, 22), (4, 14), (5, 10), (8, 8)], 3);
    for _ in 0..visits {
        let visit_id = row_number(rows.visits.len());
        let day = FIRST_DAY + i32::try_from(random.below(DAYS)).unwrap_or(0);
        let rare = hospital == Hospital::Amc && random.below(1000) < 1;
        let department = if rare { "clinical genetics" } else { random.weighted(&DEPARTMENTS, "emergency") };
        let admitted = random.percent(if department == "emergency" { 25 } else { 45 });
        let older = u64::from(2023_u16.saturating_sub(patient.birth_year)) / 20;
        let stay = if admitted { 1 + random.below(3 + older) + random.below(3 + older) } else { 0 };
        let base = if hospital == Hospital::Amc { 21_500 } else { 17_500 };
        let cost_cents = base + random.below(18_000) + stay * (62_000 + random.below(25_000));
        let diagnosis = random.weighted(&DIAGNOSES, None);
        rows.visits.push(Visit {
            visit_id,
            patient_id: patient.patient_id,
            visit_day: day,
            department,
            diagnosis,
            length_of_stay_days: u32::try_from(stay).unwrap_or(0),
            cost_cents: (!random.percent(1)).then_some(cost_cents),
        });
        let measurements = random.weighted(&[(1_u32, 15), (2, 20), (3, 30), (4, 20), (5, 15)], 3);
        for _ in 0..measurements {
            let measurement = measurement(row_number(rows.measurements.len()), visit_id, patient, day, stay, random);
            rows.measurements.push(measurement);
        }
    }
}

fn measurement(
    measurement_id: i64,
    visit_id: i64,
    patient: &Patient,
    day: i32,
    stay: u64,
    random: &mut SplitMix64,
) -> Measurement {
    let age = i64::from(2022_u16.saturating_sub(patient.birth_year));
    let kinds = [("heart_rate", 3), ("systolic_bp", 3), ("glucose", 2), ("temperature", 2), ("haemoglobin", 1)];
    let kind = random.weighted(&kinds, "heart_rate");
    // In tenths of the unit: a quotient by ten is the same double everywhere.
    let (tenths, unit) = match kind {
        "systolic_bp" => (1_080 + age * 5 + random.around(250), "mmHg"),
        "glucose" => (52 + age / 6 + random.around(30), "mmol/L"),
        "temperature" => (370 + random.around(15), "Cel"),
        "haemoglobin" => (if patient.sex == "F" { 83 } else { 92 } + random.around(20), "mmol/L"),
        _ => (760 + random.around(260), "/min"),
    };
    let minutes = i64::from(day) * MINUTES_PER_DAY
        + random.between(0, i64::try_from(stay).unwrap_or(0)) * MINUTES_PER_DAY
        + random.between(7 * 60, 22 * 60);
    Measurement {
        measurement_id,
        visit_id,
        patient_id: patient.patient_id,
        measured_at_micros: minutes * MICROS_PER_MINUTE,
        kind,
        value: (!random.percent(1)).then_some(tenths as f64 / 10.0),
        unit,
    }
}

fn row_number(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn hospitals_share_some_patients_who_are_the_same_people() {
        let by_id = |hospital| -> BTreeMap<i64, Patient> {
            let rows = hospital_rows(hospital, 1000, 9);
            rows.patients.into_iter().map(|patient| (patient.patient_id, patient)).collect()
        };
        let (amc, olvg) = (by_id(Hospital::Amc), by_id(Hospital::Olvg));
        assert_eq!((amc.len(), olvg.len()), (1000, 1000));
        let shared: Vec<_> = amc.iter().filter(|(id, _)| olvg.contains_key(id)).collect();
        assert_eq!(shared.len(), 100);
        assert!(shared.iter().all(|(id, patient)| olvg[id] == **patient));
    }

    #[test]
    fn sizes_are_as_the_demo_expects() {
        let rows = hospital_rows(Hospital::Amc, 5000, 1);
        assert!((14_000..17_000).contains(&rows.visits.len()), "{}", rows.visits.len());
        assert!((42_000..51_000).contains(&rows.measurements.len()), "{}", rows.measurements.len());
        let rare = rows.visits.iter().filter(|visit| visit.department == "clinical genetics").count();
        assert!((1..40).contains(&rare), "{rare}");
    }

    #[test]
    fn every_visit_and_measurement_belongs_to_a_patient() {
        let rows = hospital_rows(Hospital::Olvg, 200, 4);
        let patients: BTreeMap<i64, &Patient> =
            rows.patients.iter().map(|patient| (patient.patient_id, patient)).collect();
        let visits: BTreeMap<i64, &Visit> = rows.visits.iter().map(|visit| (visit.visit_id, visit)).collect();
        assert_eq!(visits.len(), rows.visits.len());
        assert!(rows.visits.iter().all(|visit| patients.contains_key(&visit.patient_id)));
        for measurement in &rows.measurements {
            let visit = visits[&measurement.visit_id];
            assert_eq!(visit.patient_id, measurement.patient_id);
            let day = measurement.measured_at_micros / (MINUTES_PER_DAY * MICROS_PER_MINUTE);
            let stay = i64::from(visit.length_of_stay_days);
            assert!((0..=stay).contains(&(day - i64::from(visit.visit_day))));
        }
    }
}
