CREATE AGREEMENT hashed ON SITE clinic FOR ROLE analyst PURPOSE statistics AS (
  RELEASE count, count DISTINCT OF *, bsn BY illness FROM care.cases MINIMUM 10 DISTINCT bsn,
  SHIP ROWS (hash(bsn), illness) FROM care.cases TO lab,
  FILTER ON bsn COMPARE WITH LITERALS,
  JOIN ON bsn WITH north,
  JOIN ON bsn WITH south
);
