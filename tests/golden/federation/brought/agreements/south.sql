CREATE AGREEMENT linked ON SITE south FOR ROLE analyst PURPOSE statistics AS (
  RELEASE sum, avg, count OF wage, * BY sector FROM work.jobs MINIMUM 10 DISTINCT bsn,
  SHIP ROWS (bsn, wage, sector) FROM work.jobs TO lab, clinic,
  SHIP PARTIALS OF 1 TO lab, north, south,
  FILTER ON sector, wage COMPARE WITH LITERALS,
  JOIN ON bsn WITH clinic,
  JOIN ON bsn WITH REQUESTER
);
