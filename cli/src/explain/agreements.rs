//! Agreements from SQL files. They need no signature here: nothing runs, and whoever has the files may see what would
//! follow from them. What a site would refuse to put in force is refused here, too.

use std::path::{Path, PathBuf};

use dynamos_planner::catalog::{Catalog, SiteKind};
use dynamos_planner::function::engine_state;
use dynamos_planner::policy::{
    Agreement, AgreementSet, Flaw, HeldAgreement, KnownNames, raw_tables, refuse_unimplemented, refuse_unknown,
    refuse_unresolved,
};
use dynamos_planner::sql::{DynamosStatement, Position, SqlError, parse_statement, word_positions};
use dynamos_proto::ids::SiteId;
use dynamos_proto::settings::{self, SettingsError};

use super::error::{ExplainError, Flawed};
use crate::shell::statements_in_place;

/// The version that every agreement is in.
const EPOCH: u64 = 1;

/// What is wrong with a statement, and where in its file.
type Flaws = Vec<(Position, String)>;

/// Reads the agreements of files, and of the `.sql` files of folders. `names` is what they can name besides tables.
///
/// # Errors
///
/// When a file cannot be read, holds anything but CREATE AGREEMENT, or an agreement that no site of the catalog would put
/// in force.
pub fn read_agreements(paths: &[PathBuf], catalog: &Catalog, names: &KnownNames) -> Result<AgreementSet, ExplainError> {
    let mut held = AgreementSet::default();
    for path in paths {
        for file in files(path)? {
            for statement in statements_in_place(&settings::text(&file)?) {
                let flawed = |flaws: Flaws| {
                    let flaw = |(position, problem)| Flawed { path: file.clone(), position, problem };
                    ExplainError::Agreements(flaws.into_iter().map(flaw).collect())
                };
                let agreement = agreement(&statement, catalog, names).map_err(flawed)?;
                let (steward, name) = (SiteId::new(&agreement.steward), agreement.name.clone());
                if held.get(&steward, &name).is_some() {
                    let problem = format!("agreement `{name}` of `{steward}` is given twice; remove one");
                    return Err(flawed(vec![(begin(&statement), problem)]));
                }
                held.insert(HeldAgreement::new(EPOCH, agreement));
            }
        }
    }
    Ok(held)
}

fn agreement(statement: &str, catalog: &Catalog, names: &KnownNames) -> Result<Agreement, Flaws> {
    let whole = |problem: String| vec![(begin(statement), problem)];
    let parsed = parse_statement(statement);
    let agreement = match parsed.map_err(|SqlError { position, problem }| vec![(position, problem.to_string())])? {
        DynamosStatement::CreateAgreement(agreement) => agreement,
        _ => return Err(whole("only CREATE AGREEMENT statements may stand here".to_owned())),
    };
    let (name, steward) = (&agreement.name, &SiteId::new(&agreement.steward));
    if catalog.sites.get(steward).is_none_or(|site| site.kind != SiteKind::Steward) {
        return Err(whole(format!("agreement `{name}` is on site `{steward}`, which is no steward of the catalog")));
    }
    refuse_unimplemented(&agreement).map_err(|refused| located(statement, name, &refused))?;
    let unresolved = refuse_unresolved(&agreement, &raw_tables(catalog, steward), &engine_state()).err();
    let unknown = refuse_unknown(&agreement, names).err();
    let refused: Vec<_> = unresolved.into_iter().chain(unknown).flatten().collect();
    if refused.is_empty() { Ok(agreement) } else { Err(located(statement, name, &refused)) }
}

/// Where a statement begins.
fn begin(statement: &str) -> Position {
    let before = statement.len() - statement.trim_start().len();
    let before = statement.get(..before).unwrap_or_default();
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
    Position { line, column }
}

/// What is wrong with an agreement, each at its word.
fn located<F: Flaw>(statement: &str, agreement: &str, flaws: &[F]) -> Flaws {
    let located = word_positions(statement).unwrap_or_default().locate(flaws).into_iter();
    let flaw = located.map(|one| {
        let position = one.position.unwrap_or_else(|| begin(statement));
        (position, format!("agreement `{agreement}`: {}", one.problem))
    });
    flaw.collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use dynamos_planner::catalog::{Availability, Site, Table, TableName, TableStatistics};
    use dynamos_planner::policy::purpose;

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

    fn names() -> KnownNames {
        let purposes = purpose::shipped().unwrap().all().into_iter().map(str::to_owned).collect();
        let organisations = Some(["uva".to_owned()].into());
        KnownNames { purposes: Some(purposes), organisations, ..KnownNames::places_of(&places()) }
    }

    fn read(text: &str) -> Result<AgreementSet, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.sql"), text).unwrap();
        std::fs::write(folder.path().join("b.txt"), "no agreement").unwrap();
        let folder = folder.path().to_owned();
        read_agreements(&[folder], &places(), &names()).map_err(|error| error.to_string())
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
            (ONE.replace("uva", "vu"), "1:1`: agreement `one` is on site `vu`, which is no steward"),
            (format!("{ONE}\n -- again\n{ONE}"), "2:2`: agreement `one` of `uva` is given twice"),
            (
                ONE.replace("RELEASE ROWS (*) FROM s.t", "BUDGET EPSILON 1 PER DAY"),
                "1:73`: agreement `one`: clause 1: BUDGET EPSILON is not available",
            ),
            (ONE.replace("s.t", "s.tt"), "1:88`: agreement `one`: clause 1: there is no table `s.tt`; there is `s.t`"),
            (
                ONE.replace("FROM s.t", "FROM s.t,\nROWS ON t WHERE y = 1"),
                "2:17`: agreement `one`: clause 2: `s.t` has",
            ),
            (ONE.replace("research", "reserch"), "1:53`: agreement `one`: `reserch` is no purpose"),
            (ONE.replace("ANYONE", "ORGANISATION uvaa"), "1:51`: agreement `one`: `uvaa` is no organisation"),
            (
                ONE.replace("FROM s.t", "FROM s.t, OBLIGE AUDIT AT REGION eu"),
                "1:116`: agreement `one`: clause 2: no place that is known here is in the region `eu`",
            ),
            ("SELECT 1".to_owned(), "1:1`: only CREATE AGREEMENT"),
            (format!("{ONE}\n\n  CREATE AGREEMENT"), "3:19`: expected the name of an agreement"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(&format!("a.sql:{expected}")), "{expected}: {error}");
        }
        // Each of several errors has its place in the file.
        let second =
            format!("{ONE}\n\n  {}", ONE.replace("one", "two").replace("(*) FROM s.t", "(x, y)\n  FROM s.t TO"));
        assert!(read(&second).unwrap_err().contains("a.sql:4:12`: "), "what cannot be read");
        let second = second.replace("s.t TO", "s.t,\nROWS ON s.tt WHERE x = 1, SHIP ROWS (x) FROM s.t TO surf");
        let several = read(&second).unwrap_err();
        let found: Vec<&str> =
            several.lines().filter_map(|line| line.split("a.sql:").nth(1)?.split('`').next()).collect();
        assert_eq!(found, ["3:85", "5:9", "5:53"], "{several}");
        let missing = read_agreements(&["nowhere.sql".into()], &places(), &names()).unwrap_err();
        assert!(missing.to_string().contains("`nowhere.sql`"), "{missing}");
    }
}
