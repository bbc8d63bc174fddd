//! The files of two employers, north and south, who stand in one federated table `work.jobs`, and of a clinic with `care.cases`:
//! all three know people by one number. What they agree to is a test's own.

use std::path::Path;

use dynamos_cli::federation::{Design, FederatedTable, Person, Provider, Steward};

/// A steward's table and agreement.
pub struct Party {
    /// Who; `clinic` has `care.cases`, everybody else `work.jobs`.
    pub name: &'static str,
    /// The table, as CSV with a header and a column `bsn`.
    pub rows: String,
    /// The clauses of its one agreement, with analysts.
    pub clauses: String,
}

/// The federation of these, with the provider `surf`, for a person of the clinic with each of these roles.
pub fn design(root: &Path, parties: Vec<Party>, people: &[(&str, &str)]) -> Design {
    let steward = |Party { name, rows, clauses }: Party| {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("rows.csv"), rows).unwrap();
        let (schema, table, more) = match name {
            "clinic" => ("care", "cases", ""),
            _ => ("work", "jobs", "colocated_on = { bsn = \"people\" }\n"),
        };
        Steward {
            name: name.into(),
            tables: format!(
                "[[tables]]\nschema = \"{schema}\"\ntable = \"{table}\"\npath = \"rows.csv\"\nformat = \"csv\"\n\
                 entity = \"bsn\"\nshared_domain = \"people\"\n{more}"
            ),
            agreements: vec![format!(
                "CREATE AGREEMENT g ON SITE {name} FOR ROLE analyst PURPOSE statistics AS ({clauses})"
            )],
        }
    };
    let person = |(user, role): &(&str, &str)| Person {
        user: (*user).into(),
        organisation: "clinic".into(),
        role: (*role).into(),
        purpose: "statistics".into(),
    };
    Design {
        stewards: parties.into_iter().map(steward).collect(),
        providers: vec![Provider { name: "surf".into() }],
        federated: vec![FederatedTable {
            schema: "work".into(),
            table: "jobs".into(),
            stewards: ["north", "south"].map(str::to_owned).to_vec(),
        }],
        people: people.iter().map(person).collect(),
        site_limits: String::new(),
    }
}
