//! The system's own tables, `dynamos.agreements`, `dynamos.clauses` and `dynamos.decisions`: what SHOW AGREEMENTS, SHOW
//! PERMISSIONS and SHOW DECISIONS tell this requester, as relations for SQL. They are made anew for every query, hold nothing
//! of any steward's data, and cannot be asked for together with tables that do: those go another way.

mod relations;
mod run;

pub(super) use relations::{SCHEMA, tables};
pub(super) use run::{SystemQuery, system_query};
