CREATE AGREEMENT linked ON SITE clinic FOR ROLE analyst PURPOSE statistics AS (
  RELEASE count OF * BY illness FROM care.cases MINIMUM 10 DISTINCT bsn,
  SHIP ROWS (bsn, illness) FROM care.cases TO lab,
  JOIN ON bsn WITH north,
  JOIN ON bsn WITH south
);
