//! What is in the demo: two universities with wage data, two hospitals, a compute provider, and their agreements.

use std::path::Path;

use anyhow::Context;

use crate::federation::{Design, FederatedTable, Person, Provider, Steward};
use crate::sample;

/// Writes the sample data into `root` and says what the federation around it is. `data` is a folder with the universities'
/// wage files, if they are not to be generated.
pub fn scene(root: &Path, data: Option<&Path>) -> anyhow::Result<Design> {
    sample::write_federation(root).context("cannot write the sample data")?;
    let wages = |name: &str| {
        let agreements = vec![WAGE_AGREEMENT.replace("{steward}", name)];
        anyhow::Ok(Steward { name: name.into(), tables: wage_tables(name, data)?, agreements })
    };
    let care = |name: &str| {
        let agreements = vec![CARE_AGREEMENT.replace("{steward}", name)];
        Steward { name: name.into(), tables: HOSPITAL_TABLES.into(), agreements }
    };
    let federated = [
        ("wages", "personen", ["uva", "vu"]),
        ("wages", "aanstellingen", ["uva", "vu"]),
        ("care", "patients", ["amc", "olvg"]),
        ("care", "visits", ["amc", "olvg"]),
        ("care", "measurements", ["amc", "olvg"]),
    ];
    let people = [
        ("analyst@uva.nl", "uva", "analyst", "statistics"),
        ("analyst@vu.nl", "vu", "analyst", "statistics"),
        ("researcher@amc.nl", "amc", "researcher", "research"),
        ("steward@uva.nl", "uva", "steward", "statistics"),
        ("steward@vu.nl", "vu", "steward", "statistics"),
        ("steward@amc.nl", "amc", "steward", "research"),
        ("steward@olvg.nl", "olvg", "steward", "research"),
    ];
    Ok(Design {
        stewards: vec![wages("uva")?, wages("vu")?, care("amc"), care("olvg")],
        providers: vec![Provider { name: "surf".into() }],
        federated: federated
            .into_iter()
            .map(|(schema, table, stewards)| FederatedTable {
                schema: schema.into(),
                table: table.into(),
                stewards: stewards.map(str::to_owned).to_vec(),
            })
            .collect(),
        people: people
            .into_iter()
            .map(|(user, organisation, role, purpose)| Person {
                user: user.into(),
                organisation: organisation.into(),
                role: role.into(),
                purpose: purpose.into(),
            })
            .collect(),
        site_limits: String::new(),
    })
}

fn wage_tables(steward: &str, data: Option<&Path>) -> anyhow::Result<String> {
    let file = |name: &str| -> anyhow::Result<String> {
        let Some(folder) = data else { return Ok(format!("{}.csv", name.to_lowercase())) };
        let path = folder.join(format!("{name}_{}.csv", steward.to_uppercase()));
        let path = path.canonicalize().with_context(|| format!("there is no `{}`", path.display()))?;
        Ok(path.display().to_string())
    };
    Ok(WAGE_TABLES.replace("{personen}", &file("Personen")?).replace("{aanstellingen}", &file("Aanstellingen")?))
}

const WAGE_TABLES: &str = r#"
[[tables]]
schema = "wages"
table = "personen"
path = "{personen}"
format = "csv"
delimiter = ";"
date_format = "%Y%m%d"
entity = "unieknr"
columns = [
  { name = "instcode", type = "text" },
  { name = "unieknr", type = "bigint" },
  { name = "geslacht", type = "text" },
  { name = "gebdat", type = "date" },
  { name = "nationaliteit", type = "text" },
  { name = "bko", type = "text" },
  { name = "sko", type = "text" },
  { name = "peildat", type = "date" },
]

[[tables]]
schema = "wages"
table = "aanstellingen"
path = "{aanstellingen}"
format = "csv"
delimiter = ";"
date_format = "%Y%m%d"
entity = "unieknr"
columns = [
  { name = "instcode", type = "text" },
  { name = "unieknr", type = "bigint" },
  { name = "volgnrar", type = "bigint" },
  { name = "aadnstvb", type = "text" },
  { name = "ingdatdv", type = "date" },
  { name = "eindatdv", type = "date" },
  { name = "hoopgeb", type = "text" },
  { name = "functcat", type = "text" },
  { name = "welgeenhgl", type = "text" },
  { name = "salschal", type = "bigint" },
  { name = "taakomv", type = "bigint" },
  { name = "aanst_22", type = "text" },
  { name = "peildat", type = "date" },
]
"#;

const HOSPITAL_TABLES: &str = r#"
[[tables]]
schema = "care"
table = "patients"
path = "patients.csv"
format = "csv"
entity = "patient_id"

[[tables]]
schema = "care"
table = "visits"
path = "visits.csv"
format = "csv"
entity = "patient_id"

[[tables]]
schema = "care"
table = "measurements"
path = "measurements.parquet"
format = "parquet"
entity = "patient_id"
"#;

/// What the universities agree to: averages and counts of groups of at least ten people; partial aggregates and, if the
/// requester wants that, the four needed columns may be at the compute provider.
const WAGE_AGREEMENT: &str = "\
CREATE AGREEMENT wage_gap ON SITE {steward}
  FOR ROLE analyst
  PURPOSE statistics
AS (
  groups: RELEASE avg, sum, count OF salschal, * BY geslacht, hoopgeb
          FROM wages.personen JOIN wages.aanstellingen ON unieknr
          MINIMUM 10 DISTINCT personen.unieknr ELSE DROP,
  SHIP PARTIALS OF groups TO surf,
  SHIP ROWS (personen.unieknr, geslacht, hoopgeb, salschal)
       FROM wages.personen JOIN wages.aanstellingen ON unieknr TO surf,
  FILTER ON geslacht, hoopgeb COMPARE WITH LITERALS
);
";

/// What the hospitals agree to: patients who opted out do not exist for research; nothing but partial aggregates leaves.
const CARE_AGREEMENT: &str = "\
CREATE AGREEMENT care_quality ON SITE {steward}
  FOR ROLE researcher
  PURPOSE research
AS (
  stays: RELEASE avg, count OF length_of_stay_days, * BY department, sex
         FROM care.patients JOIN care.visits ON patient_id
         MINIMUM 10 DISTINCT patients.patient_id ELSE DROP,
  kinds: RELEASE avg, count OF value, * BY kind
         FROM care.measurements
         MINIMUM 10 DISTINCT patient_id ELSE DROP,
  SHIP PARTIALS OF stays TO surf,
  SHIP PARTIALS OF kinds TO surf,
  FILTER ON sex, department COMPARE WITH LITERALS,
  ROWS ON patients WHERE opted_out IS NOT TRUE,
  ARCHETYPES compute_to_data
);
";
