CREATE AGREEMENT linked ON SITE clinic FOR ROLE analyst PURPOSE statistics AS (
  RELEASE ROWS (bsn, illness) FROM care.cases,
  SHIP ROWS (bsn, illness) FROM care.cases TO north, south);
