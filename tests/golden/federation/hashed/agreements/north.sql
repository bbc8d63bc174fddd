CREATE AGREEMENT hashed ON SITE north FOR ROLE analyst PURPOSE statistics AS (
  RELEASE sum, avg, count OF wage, * BY sector FROM work.jobs MINIMUM 10 DISTINCT bsn,
  SHIP ROWS (hash(bsn), wage, sector) FROM work.jobs TO lab,
  JOIN ON bsn WITH clinic
);
