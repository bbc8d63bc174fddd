//! The demo's sample questions.

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What it asks, in words.
    pub title: &'static str,
    /// Who asks.
    pub user: &'static str,
    /// The question in SQL.
    pub sql: &'static str,
    /// The placement that is forced.
    pub placement: &'static str,
    /// The same question to somebody who holds all the data, as far as the agreements let it be answered.
    pub truth: &'static str,
}

const WAGES: &str = "SELECT p.geslacht, avg(a.salschal) AS average_scale, count(*) AS rows
  FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr
 GROUP BY p.geslacht ORDER BY p.geslacht";
const WAGES_TRUTH: &str = "SELECT p.geslacht, avg(a.salschal) AS average_scale, count(*) AS rows
  FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr AND p.steward = a.steward
 GROUP BY p.geslacht ORDER BY p.geslacht";
const UVA: &str = "SELECT p.geslacht, avg(a.salschal) AS average_scale, count(*) AS rows
  FROM uva.wages.personen p JOIN uva.wages.aanstellingen a ON p.unieknr = a.unieknr
 GROUP BY p.geslacht ORDER BY p.geslacht";
const STAYS: &str = "SELECT v.department, avg(v.length_of_stay_days) AS days, count(*) AS visits
  FROM care.patients p JOIN care.visits v ON p.patient_id = v.patient_id
 GROUP BY v.department HAVING count(*) > 100 ORDER BY days DESC, v.department";
const STAYS_TRUTH: &str = "SELECT v.department, avg(v.length_of_stay_days) AS days, count(*) AS visits
  FROM care.patients p JOIN care.visits v ON p.patient_id = v.patient_id AND p.steward = v.steward
 WHERE p.opted_out IS NOT TRUE
 GROUP BY v.department HAVING count(*) > 100 AND count(DISTINCT concat(p.steward, p.patient_id)) >= 10
 ORDER BY days DESC, v.department";

/// All of them, in order.
pub fn questions() -> Vec<Question> {
    vec![
        Question {
            title: "The wage gap over both universities, computed beside the data",
            user: "analyst@uva.nl",
            sql: WAGES,
            placement: "compute_to_data",
            truth: WAGES_TRUTH,
        },
        Question {
            title: "The same, with the rows brought to the compute provider",
            user: "analyst@uva.nl",
            sql: WAGES,
            placement: "data_to_compute",
            truth: WAGES_TRUTH,
        },
        Question {
            title: "The same at one university",
            user: "analyst@vu.nl",
            sql: UVA,
            placement: "auto",
            truth: UVA,
        },
        Question {
            title: "Lengths of stay at both hospitals, without patients who opted out",
            user: "researcher@amc.nl",
            sql: STAYS,
            placement: "auto",
            truth: STAYS_TRUTH,
        },
    ]
}
