//! Agreements from SQL files. They need no signature here: nothing runs, and whoever has the files may see what would
//! follow from them. What a site would refuse to put in force is refused here, too.

use std::path::{Path, PathBuf};

use dynamos_planner::catalog::{Catalog, SiteKind};
use dynamos_planner::function::engine_state;
use dynamos_planner::policy::{
    Agreement, AgreementSet, HeldAgreement, raw_tables, refuse_unimplemented, refuse_unresolved,
};
use dynamos_planner::sql::{DynamosStatement, parse_statement};
use dynamos_proto::ids::SiteId;
use dynamos_proto::settings::{self, SettingsError};

use super::error::ExplainError;
use crate::shell::Splitter;

/// The version that every agreement is in.
const EPOCH: u64 = 1;

/// Reads the agreements of files, and of the `.sql` files of folders.
///
/// # Errors
///
/// When a file cannot be read, holds anything but CREATE AGREEMENT, or an agreement that no site of the catalog would put
/// in force.
pub fn read_agreements(paths: &[PathBuf], catalog: &Catalog) -> Result<AgreementSet, ExplainError> {
    let mut held = AgreementSet::default();
    for path in paths {
        for file in files(path)? {
            for statement in statements(&settings::text(&file)?) {
                let agreement =
                    agreement(&statement, catalog).map_err(|problem| ExplainError::content(&file, problem))?;
                let (steward, name) = (SiteId::new(&agreement.steward), agreement.name.clone());
                if held.get(&steward, &name).is_some() {
                    let problem = format!("agreement `{name}` of `{steward}` is given twice; remove one");
                    return Err(ExplainError::content(&file, problem));
                }
                held.insert(HeldAgreement::new(EPOCH, agreement));
            }
        }
    }
    Ok(held)
}

fn agreement(statement: &str, catalog: &Catalog) -> Result<Agreement, String> {
    let agreement = match parse_statement(statement).map_err(|error| error.to_string())? {
        DynamosStatement::CreateAgreement(agreement) => agreement,
        _ => return Err("only CREATE AGREEMENT statements may stand here".to_owned()),
    };
    let steward = &SiteId::new(&agreement.steward);
    if catalog.sites.get(steward).is_none_or(|site| site.kind != SiteKind::Steward) {
        return Err(format!(
            "agreement `{}` is on site `{steward}`, which is no steward of the catalog",
            agreement.name
        ));
    }
    refuse_unimplemented(&agreement).map_err(|refused| {
        let texts: Vec<String> = refused.iter().map(ToString::to_string).collect();
        format!("agreement `{}`: {}", agreement.name, texts.join("; "))
    })?;
    refuse_unresolved(&agreement, &raw_tables(catalog, steward), &engine_state()).map_err(|refused| {
        let texts: Vec<String> = refused.iter().map(ToString::to_string).collect();
        format!("agreement `{}`: {}", agreement.name, texts.join("; "))
    })?;
    Ok(agreement)
}

/// The path itself, or the `.sql` files of a folder, in order of name.
fn files(path: &Path) -> Result<Vec<PathBuf>, ExplainError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    if files.is_empty() {
        return Err(ExplainError::content(path, "the folder has no `.sql` file"));
    }
    Ok(files)
}

fn statements(text: &str) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut statements: Vec<String> = text.lines().flat_map(|line| splitter.push_line(line)).collect();
    statements.extend(splitter.finish());
    statements
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use dynamos_planner::catalog::{Availability, Site, Table, TableName, TableStatistics};

    use super::*;

    const ONE: &str = "CREATE AGREEMENT one ON SITE uva FOR ANYONE PURPOSE research AS (RELEASE ROWS (*) FROM s.t);";

    fn places() -> Catalog {
        let table = Table {
            schema: Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)])),
            statistics: TableStatistics::default(),
            entity: None,
            colocated: BTreeMap::new(),
        };
        let site = Site {
            kind: SiteKind::Steward,
            roles: Default::default(),
            regions: Default::default(),
            uri: String::new(),
            availability: Availability::Up,
            tables: [(TableName::new("s", "t"), table)].into(),
        };
        Catalog { sites: [(SiteId::new("uva"), site)].into(), ..Catalog::default() }
    }

    fn read(text: &str) -> Result<AgreementSet, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.sql"), text).unwrap();
        std::fs::write(folder.path().join("b.txt"), "no agreement").unwrap();
        read_agreements(&[folder.path().to_owned()], &places()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_may_hold_several_agreements() {
        let held = read(&format!("-- the first\n{ONE}\n{}", ONE.replace("one", "other"))).unwrap();
        let names: Vec<&str> = held.all().map(|held| held.agreement.name.as_str()).collect();
        assert_eq!(names, ["one", "other"]);
        assert!(held.all().all(|held| held.epoch == EPOCH));
    }

    #[test]
    fn refuses_what_no_site_would_put_in_force_and_names_the_file() {
        for (text, expected) in [
            (ONE.replace("uva", "vu"), "site `vu`, which is no steward"),
            (format!("{ONE}\n{ONE}"), "given twice"),
            (ONE.replace("RELEASE ROWS (*) FROM s.t", "BUDGET EPSILON 1 PER DAY"), "BUDGET EPSILON is not available"),
            (ONE.replace("s.t", "s.tt"), "agreement `one`: clause 1: there is no table `s.tt`; there is `s.t`"),
            (ONE.replace("FROM s.t", "FROM s.t, ROWS ON t WHERE y = 1"), "clause 2: `s.t` has no column `y`"),
            ("SELECT 1".to_owned(), "only CREATE AGREEMENT"),
            ("CREATE AGREEMENT".to_owned(), "the name of an agreement"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains("a.sql`: ") && error.contains(expected), "{error}");
        }
        let missing = read_agreements(&["nowhere.sql".into()], &places()).unwrap_err();
        assert!(missing.to_string().contains("`nowhere.sql`"), "{missing}");
    }
}
