//! Files of CREATE AGREEMENT statements.

use std::path::Path;

use dynamos_planner::policy::{Agreement, refuse_unimplemented};
use dynamos_planner::sql::{DynamosStatement, parse_statement};
use dynamos_proto::settings;

use super::{InterchangeError, Report};
use crate::shell::statements_in_place;

/// Reads the agreements of a file, in its order.
///
/// # Errors
///
/// When the file cannot be read, or holds anything but CREATE AGREEMENT, or nothing.
pub fn read_agreements(path: &Path) -> Result<Vec<Agreement>, InterchangeError> {
    let content = |problem: String| InterchangeError::Content { path: path.to_owned(), problem };
    let text = settings::text(path)?;
    let agreements = statements_in_place(&text)
        .iter()
        .map(|statement| match parse_statement(statement) {
            Ok(DynamosStatement::CreateAgreement(agreement)) => Ok(agreement),
            Ok(_) => Err(content("only CREATE AGREEMENT statements may stand here".to_owned())),
            Err(error) => Err(content(error.to_string())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if agreements.is_empty() { Err(content("there is no agreement in it".to_owned())) } else { Ok(agreements) }
}

/// The canonical texts of agreements, one after another. A site reads a file of one.
pub fn write_agreements(agreements: &[Agreement]) -> String {
    agreements.iter().map(|agreement| format!("{agreement};\n")).collect::<Vec<_>>().join("\n")
}

/// Tells what a site of this release would refuse to put in force.
pub(super) fn note_unsupported(agreements: &[Agreement], report: &mut Report) {
    for agreement in agreements {
        for refused in refuse_unimplemented(agreement).err().unwrap_or_default() {
            report.leave_out(format!("`{}`: a site refuses it as it stands: {refused}", agreement.name));
        }
    }
}
