//! Writing the files of all four stewards of the demo.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::hospital::{Hospital, hospital_rows};
use super::hospital_files::{write_measurements, write_patients, write_visits};
use super::wage_files::{LineEnd, write_appointments, write_persons};
use super::wages::{University, wage_rows};

const SEED: u64 = 2023;
const PERSONS: usize = 4_000;
const PATIENTS: usize = 5_000;

/// Writes the sample federation below `dir`, replacing files of the same names:
///
/// ```text
/// uva/ vu/     personen.csv  aanstellingen.csv
/// amc/ olvg/   patients.csv  visits.csv  measurements.parquet
/// ```
///
/// The files of persons end their lines with `\r\r\n` and those of appointments with a lone `\r`, as stewards' do. Each
/// run writes the same bytes.
///
/// # Errors
///
/// When a folder or file cannot be written.
pub fn write_federation(dir: &Path) -> io::Result<()> {
    for (university, name, seed) in [(University::Uva, "uva", SEED), (University::Vu, "vu", SEED + 1)] {
        let folder = dir.join(name);
        fs::create_dir_all(&folder)?;
        let rows = wage_rows(university, PERSONS, seed);
        write_file(&folder.join("personen.csv"), |out| write_persons(out, &rows.persons, LineEnd::CrCrLf))?;
        write_file(&folder.join("aanstellingen.csv"), |out| write_appointments(out, &rows.appointments, LineEnd::Cr))?;
    }
    for (hospital, name) in [(Hospital::Amc, "amc"), (Hospital::Olvg, "olvg")] {
        let folder = dir.join(name);
        fs::create_dir_all(&folder)?;
        let rows = hospital_rows(hospital, PATIENTS, SEED);
        write_file(&folder.join("patients.csv"), |out| write_patients(out, &rows.patients))?;
        write_file(&folder.join("visits.csv"), |out| write_visits(out, &rows.visits))?;
        write_file(&folder.join("measurements.parquet"), |out| write_measurements(out, &rows.measurements))?;
    }
    Ok(())
}

fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    write(&mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dynamos_site::source::{self, SourceTable, TableConfig};

    use super::*;

    fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for folder in ["uva", "vu", "amc", "olvg"] {
            for entry in fs::read_dir(dir.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = format!("{folder}/{}", path.file_name().unwrap().display());
                found.insert(name, fs::read(path).unwrap());
            }
        }
        found
    }

    #[test]
    fn each_run_writes_the_same_bytes() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_federation(first.path()).unwrap();
        write_federation(second.path()).unwrap();
        let files = files(first.path());
        assert_eq!(files.len(), 10);
        assert!(files == self::files(second.path()));
        assert!(files["uva/personen.csv"].ends_with(b"\r\r\n"));
        assert!(files["vu/aanstellingen.csv"].ends_with(b"\r") && !files["vu/aanstellingen.csv"].contains(&b'\n'));
    }

    #[tokio::test]
    async fn a_site_opens_every_file() {
        let dir = tempfile::tempdir().unwrap();
        write_federation(dir.path()).unwrap();
        let opened = async |config: TableConfig| -> SourceTable { source::open(&config, dir.path()).await.unwrap() };
        for university in ["uva", "vu"] {
            let csv = |table: &str| {
                let mut config = TableConfig::csv("wages", table, format!("{university}/{table}.csv"));
                config.delimiter = ';';
                config
            };
            let persons = opened(csv("personen")).await;
            let appointments = opened(csv("aanstellingen")).await;
            assert_eq!(persons.statistics.columns["unieknr"].distinct, Some(4_000));
            assert_eq!(appointments.statistics.columns["unieknr"].distinct, Some(4_000));
            let types = |table: &SourceTable, column: &str| {
                table.schema.field_with_name(column).unwrap().data_type().to_string()
            };
            assert_eq!(types(&persons, "nationaliteit"), "Utf8");
            assert_eq!(types(&persons, "gebdat"), "Int64");
            assert_eq!(types(&appointments, "functcat"), "Int64");
            assert_eq!(types(&appointments, "salschal"), "Int64");
        }
        for hospital in ["amc", "olvg"] {
            let patients = opened(TableConfig::csv("care", "patients", format!("{hospital}/patients.csv"))).await;
            let visits = opened(TableConfig::csv("care", "visits", format!("{hospital}/visits.csv"))).await;
            let path = format!("{hospital}/measurements.parquet");
            let measurements = opened(TableConfig::parquet("care", "measurements", path)).await;
            assert_eq!(patients.statistics.columns["patient_id"].distinct, Some(5_000));
            assert!(visits.statistics.columns["diagnosis"].nulls.unwrap() > 0);
            let per_visit = measurements.statistics.rows / visits.statistics.rows;
            assert_eq!((patients.statistics.rows, per_visit), (5_000, 3));
        }
    }
}
