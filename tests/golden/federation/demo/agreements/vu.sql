CREATE AGREEMENT wage_gap ON SITE vu
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
