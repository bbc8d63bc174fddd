//! ROWS hides people, not only rows (rule C.2): who is hidden in one table is in no other table of the agreement that is
//! about the same entity.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;

use crate::Executor;
use crate::config::{SiteConfig, SiteTable};
use crate::source::TableConfig;
use crate::testing::*;

/// Of person 4 the grade is not known, so nothing says that the person may be seen.
const PERSONS: &str = "1,a,100\n2,b,200\n3,a,300\n4,,400\n";
const VISITS: &str = "1,x\n2,x\n2,y\n3,y\n4,x\n5,w\n,z\n";
const CLAUSES: &str = "RELEASE ROWS (*) FROM wages.persons, RELEASE ROWS (*) FROM wages.visits";

/// A steward of `wages.persons`, whose key is `id`, and of `wages.visits` with this key, each with the name of its entity.
fn steward(
    federation: &Federation,
    name: &'static str,
    key: &str,
    entities: [Option<&str>; 2],
    hiding: &str,
) -> SiteConfig {
    let mut config = federation.steward(name, PERSONS, &format!("{CLAUSES}, {hiding}"));
    let path = federation.folder.path().join(format!("{name}.visits.csv"));
    std::fs::write(&path, format!("{key},ward\n{VISITS}")).unwrap();
    let mut visits = SiteTable::plain(TableConfig::csv("wages", "visits", path));
    visits.entity = Some(key.into());
    let [of_persons, of_visits] = entities.map(|entity| entity.map(str::to_owned));
    config.tables[0].entity_name = of_persons;
    visits.entity_name = of_visits;
    config.tables.push(visits);
    config
}

/// The visits that the requester sees.
async fn seen(key: &'static str, entities: [Option<&'static str>; 2], hiding: &'static str) -> Vec<String> {
    let federation =
        Federation::start_checked(&|federation, name| steward(federation, name, key, entities, hiding)).await;
    let columns = [(key, DataType::Int64), ("ward", DataType::Utf8)];
    let schema = Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
    let leaf = Leaf::Table { site: "uva".into(), schema: "wages".into(), table: "visits".into(), clause: None };
    let read = scan(&Leaf::Exchange(FragmentId(1)), Arc::clone(&schema)).build().unwrap();
    let rows = scan(&leaf, schema).build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, read), fragment(1, "uva", Some(0), rows)];
    let graph = federation.graph("q1", fragments, Vec::new());
    federation.submit(&graph).await;
    federation.rows(&graph).await.unwrap().lines().map(str::to_owned).collect()
}

const ALL: [&str; 7] = ["||z|", "|1|x|", "|2|x|", "|2|y|", "|3|y|", "|4|x|", "|5|w|"];
/// Without persons 2 and 4. Nobody hides person 5, of whom the other table has no row, nor a visit of nobody.
const OF_THE_VISIBLE: [&str; 4] = ["||z|", "|1|x|", "|3|y|", "|5|w|"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_whom_rows_hides_is_hidden_in_other_tables_with_the_same_entity() {
    let on_persons = "ROWS ON persons WHERE grade <> 'b'";
    for (key, entities, expected) in [
        // The columns have one name, or their tables say that they are keys of one entity.
        ("id", [None, None], OF_THE_VISIBLE.as_slice()),
        ("person_id", [Some("person"), Some("person")], OF_THE_VISIBLE.as_slice()),
        ("person_id", [None, Some("id")], OF_THE_VISIBLE.as_slice()),
        // They are keys of other entities.
        ("person_id", [None, None], ALL.as_slice()),
        ("id", [None, Some("visit")], ALL.as_slice()),
    ] {
        assert_eq!(seen(key, entities, on_persons).await, expected, "{key} {entities:?}");
    }
    // It does not matter whether the clause says which table it is about.
    assert_eq!(seen("person_id", [None, Some("id")], "ROWS WHERE grade <> 'b'").await, OF_THE_VISIBLE);
    // The other way round: who was in ward y is hidden as a person, not in other visits.
    assert_eq!(
        seen("id", [None, None], "ROWS ON visits WHERE ward <> 'y'").await,
        ["||z|", "|1|x|", "|2|x|", "|4|x|", "|5|w|"]
    );
}

/// Keys of one entity are compared; a text that is no number must not be found out by an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_keys_of_one_entity_are_of_one_kind() {
    let mut federation = Federation::start([PERSONS, PERSONS], PLAIN).await;
    federation.stop("uva");
    let hiding = "ROWS ON persons WHERE grade <> 'b'";
    let mut config = steward(&federation, "uva", "ward", [Some("person"), Some("person")], hiding);
    let path = federation.folder.path().join("uva.visits.csv");
    std::fs::write(path, "ward,days\nx,1\n").unwrap();
    let refused = Executor::start(&config).await.unwrap_err().to_string();
    assert!(refused.contains("`wages.visits`") && refused.contains("entity `person`"), "{refused}");
    config.tables[1].entity_name = None;
    Executor::start(&config).await.unwrap();
}
