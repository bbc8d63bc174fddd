//! Writing a hospital's data: patients and visits as CSV, measurements as Parquet.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use dynamos_planner::policy::{DAY_MS, UtcMillis};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::hospital::{Consent, Measurement, Patient, Visit};

/// Rows in one row group: several in a file, so that there is something to prune.
const ROW_GROUP_ROWS: usize = 8192;

/// Writes patients as CSV with a header.
///
/// # Errors
///
/// Those of `out`.
pub fn write_patients(out: &mut impl Write, patients: &[Patient]) -> io::Result<()> {
    writeln!(out, "patient_id,birth_year,sex,region,opted_out")?;
    for Patient { patient_id, birth_year, sex, region, consent } in patients {
        let opted_out = match consent {
            Consent::Given => "false",
            Consent::Refused => "true",
        };
        writeln!(out, "{patient_id},{birth_year},{sex},{region},{opted_out}")?;
    }
    Ok(())
}

/// Writes visits as CSV with a header; what is not known is empty.
///
/// # Errors
///
/// Those of `out`.
pub fn write_visits(out: &mut impl Write, visits: &[Visit]) -> io::Result<()> {
    writeln!(out, "visit_id,patient_id,visit_date,department,diagnosis,length_of_stay_days,cost_eur")?;
    for visit in visits {
        let Visit { visit_id, patient_id, department, length_of_stay_days, .. } = visit;
        let quote = if department.contains(',') { "\"" } else { "" };
        let date = iso_date(visit.visit_day);
        let diagnosis = visit.diagnosis.unwrap_or_default();
        let cost = visit.cost_cents.map(|cents| format!("{}.{:02}", cents / 100, cents % 100)).unwrap_or_default();
        writeln!(
            out,
            "{visit_id},{patient_id},{date},{quote}{department}{quote},{diagnosis},{length_of_stay_days},{cost}"
        )?;
    }
    Ok(())
}

/// Writes measurements as a Parquet file.
///
/// # Errors
///
/// Those of `out`.
pub fn write_measurements(out: impl Write + Send, measurements: &[Measurement]) -> io::Result<()> {
    let batch = measurement_batch(measurements).map_err(io::Error::other)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties)).map_err(io::Error::other)?;
    writer.write(&batch).map_err(io::Error::other)?;
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

fn measurement_batch(measurements: &[Measurement]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = Schema::new(vec![
        Field::new("measurement_id", DataType::Int64, false),
        Field::new("visit_id", DataType::Int64, false),
        Field::new("patient_id", DataType::Int64, false),
        Field::new("measured_at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("unit", DataType::Utf8, false),
    ]);
    let integers = |of: fn(&Measurement) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(measurements.iter().map(of)))
    };
    let texts = |of: fn(&Measurement) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(measurements.iter().map(of)))
    };
    let moments = measurements.iter().map(|measurement| measurement.measured_at_micros);
    let values: Float64Array = measurements.iter().map(|measurement| measurement.value).collect();
    let columns: Vec<ArrayRef> = vec![
        integers(|measurement| measurement.measurement_id),
        integers(|measurement| measurement.visit_id),
        integers(|measurement| measurement.patient_id),
        Arc::new(TimestampMicrosecondArray::from_iter_values(moments)),
        texts(|measurement| measurement.kind),
        Arc::new(values),
        texts(|measurement| measurement.unit),
    ];
    RecordBatch::try_new(Arc::new(schema), columns)
}

/// `yyyy-mm-dd` of a day counted from 1970-01-01.
fn iso_date(day: i32) -> String {
    UtcMillis(i64::from(day) * DAY_MS).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(iso_date(0), "1970-01-01");
        assert_eq!(iso_date(17_897), "2019-01-01");
        assert_eq!(iso_date(19_782), "2024-02-29");
        assert_eq!(iso_date(-1), "1969-12-31");
    }

    #[test]
    fn what_is_not_known_is_empty_and_commas_are_quoted() {
        let visit = Visit {
            visit_id: 1,
            patient_id: 2,
            visit_day: 0,
            department: "ear, nose and throat",
            diagnosis: None,
            length_of_stay_days: 0,
            cost_cents: Some(12_305),
        };
        let unknown = Visit { department: "emergency", diagnosis: Some("I10"), cost_cents: None, ..visit.clone() };
        let mut out = Vec::new();
        write_visits(&mut out, &[visit, unknown]).unwrap();
        let lines: Vec<_> = std::str::from_utf8(&out).unwrap().lines().skip(1).collect();
        assert_eq!(lines, ["1,2,1970-01-01,\"ear, nose and throat\",,0,123.05", "1,2,1970-01-01,emergency,I10,0,"]);
    }
}
