CREATE AGREEMENT care_quality ON SITE olvg
  FOR ROLE researcher
  PURPOSE research
AS (
  stays: RELEASE avg, count OF length_of_stay_days, * BY department, sex
         FROM care.patients JOIN care.visits ON patient_id
         MINIMUM 10 DISTINCT patients.patient_id ELSE DROP,
  kinds: RELEASE avg, count OF value, * BY kind
         FROM care.measurements
         MINIMUM 10 DISTINCT patient_id ELSE DROP,
  SHIP PARTIALS OF stays TO surf,
  SHIP PARTIALS OF kinds TO surf,
  FILTER ON sex, department COMPARE WITH LITERALS,
  ROWS ON patients WHERE opted_out IS NOT TRUE,
  ARCHETYPES compute_to_data
);
