//! Writing wage data as the CSV files that universities have, with the headers and line ends of such files.

use std::io::{self, Write};

use super::wages::{Appointment, Person};

/// What ends the lines of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// `\n`.
    Lf,
    /// A lone `\r`.
    Cr,
    /// `\r\n`.
    CrLf,
    /// `\r\r\n`: a text with `\r\n` that was once more converted.
    CrCrLf,
}

impl LineEnd {
    fn as_str(self) -> &'static str {
        match self {
            LineEnd::Lf => "\n",
            LineEnd::Cr => "\r",
            LineEnd::CrLf => "\r\n",
            LineEnd::CrCrLf => "\r\r\n",
        }
    }
}

/// Writes the file of persons, `;`-separated with a header.
///
/// # Errors
///
/// Those of `out`.
pub fn write_persons(out: &mut impl Write, persons: &[Person], line_end: LineEnd) -> io::Result<()> {
    let end = line_end.as_str();
    write!(out, "Instcode;Unieknr;Geslacht;Gebdat;Nationaliteit;BKO;SKO;Peildat{end}")?;
    for person in persons {
        let Person { institution, number, gender, born, nationality, .. } = person;
        let (basic, senior) = (person.basic_qualification, person.senior_qualification);
        let date = person.reference_date;
        write!(out, "{institution};{number};{gender};{born};{nationality};{basic};{senior};{date}{end}")?;
    }
    Ok(())
}

/// Writes the file of appointments, `;`-separated with a header.
///
/// # Errors
///
/// Those of `out`.
pub fn write_appointments(out: &mut impl Write, appointments: &[Appointment], line_end: LineEnd) -> io::Result<()> {
    let end = line_end.as_str();
    write!(out, "Instcode;Unieknr;Volgnrar;Aadnstvb;Ingdatdv;Eindatdv;HOOPgeb;Functcat;WelGeenHGL;")?;
    write!(out, "Salschal;Taakomv;Aanst_22;Peildat{end}")?;
    for appointment in appointments {
        let Appointment { institution, number, sequence, kind, begins, ends, field, function, .. } = appointment;
        let Appointment { off_scale, scale, working_time, kind_2022, reference_date, .. } = appointment;
        write!(out, "{institution};{number};{sequence};{kind};{begins};{ends};{field};{function};{off_scale};")?;
        write!(out, "{scale};{working_time};{kind_2022};{reference_date}{end}")?;
    }
    Ok(())
}
