//! The demo's sample data: two universities' wage files and two hospitals' visits, made up and the same on every machine.
//!
//! No person behind any row, no clock, no randomness of the system: the data follows from a seed alone. It stands
//! before the query path; the demo and the benches write it out, and sites open it as they open a steward's own files.

mod federation;
mod hospital;
mod hospital_files;
mod random;
mod wage_files;
mod wages;

pub use federation::write_federation;
pub use hospital::{Consent, Hospital, HospitalRows, Measurement, Patient, Visit, hospital_rows};
pub use hospital_files::{write_measurements, write_patients, write_visits};
pub use random::SplitMix64;
pub use wage_files::{LineEnd, write_appointments, write_persons};
pub use wages::{Appointment, Person, University, WageRows, wage_rows};
