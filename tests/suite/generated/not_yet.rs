//! Classes of queries that the system refuses by name and that the grammar therefore leaves out or counts apart. When one
//! of them is answered, its test fails, and the grammar can have it.

use dynamos_proto::status::Code;

use super::schema::{PLACEMENTS, design};
use crate::federation::{TestFederation, error};

/// What is said where a condition on `steward` can hold for nobody.
pub const NOBODY: &str = "is left by the condition on `steward`";

/// A query of the class, and how it is refused.
const NOT_YET: &[(&str, Code, &str)] = &[
    ("SELECT count(*) FROM gen.orders WHERE steward = 'nobody'", Code::Denied, NOBODY),
    ("SELECT count(*) FROM gen.orders WHERE steward = 'a' AND steward = 'b'", Code::Denied, NOBODY),
    (
        "SELECT pid, count(*) FROM gen.visits GROUP BY ROLLUP (pid)",
        Code::Unsupported,
        "GROUPING SETS over an entity key that is local to its steward",
    ),
    (
        "SELECT count(*) FROM a.gen.people AS p JOIN b.gen.visits AS v ON p.pid = v.pid",
        Code::UnknownName,
        "equal entity keys at `a` and `b` are different people",
    ),
    (
        "WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w WHERE n < 3) SELECT count(*) FROM w",
        Code::Unsupported,
        "",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn classes_that_the_grammar_leaves_out_are_refused_by_name() {
    let federation = TestFederation::design(design).await;
    let [user, ..] = PLACEMENTS;
    let mut client = federation.client(user, "auto", "SELECT count(*) FROM gen.orders").await;
    for (sql, code, text) in NOT_YET {
        let refused = error(&mut client, sql).await;
        assert_eq!(refused.code, *code, "{sql}: {refused}");
        assert!(refused.message.contains(text), "{sql}: {refused}");
    }
    federation.stop().await;
}
