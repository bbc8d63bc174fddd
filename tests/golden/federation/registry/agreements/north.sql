-- Masked rows of patients who did not opt out may be seen, and computed on at the laboratory.
CREATE AGREEMENT cases ON SITE north
  FOR ROLE researcher
  PURPOSE research
AS (
  RELEASE ROWS (patient_id, birth_date, postcode, diagnosis) FROM registry.patients,
  SHIP ROWS (patient_id, birth_date, postcode, diagnosis) FROM registry.patients TO lab, COORDINATOR,
  MASK patients.birth_date AS date_trunc('year', birth_date),
  MASK patients.postcode AS substr(postcode, 1, 2),
  ROWS ON patients WHERE opted_out IS NOT TRUE
);

-- Counts by diagnosis; a group that is too small fails the query. Partials may go to the laboratory.
CREATE AGREEMENT counts ON SITE north
  FOR ROLE planner_of_care
  PURPOSE statistics
AS (
  by_diagnosis: RELEASE count OF * BY diagnosis FROM registry.patients
                MINIMUM 20 DISTINCT patient_id ELSE FAIL,
  SHIP PARTIALS OF by_diagnosis TO lab
);

-- Medians and distinct counts need rows, which may go to the laboratory.
CREATE AGREEMENT doses ON SITE north
  FOR ROLE pharmacist
  PURPOSE statistics
AS (
  by_drug: RELEASE median, count DISTINCT, avg OF dose_mg, patient_id BY drug FROM registry.treatments
           MINIMUM 10 DISTINCT patient_id ELSE DROP,
  SHIP PARTIALS OF by_drug TO lab,
  SHIP ROWS (patient_id, drug, dose_mg) FROM registry.treatments TO lab,
  FILTER ON drug COMPARE WITH LITERALS
);

-- It has ended.
CREATE AGREEMENT pilot ON SITE north
  FOR ROLE auditor
  PURPOSE policy_making
  VALID FROM '2025-01-01' UNTIL '2026-01-01'
AS (
  RELEASE count OF * FROM registry.patients MINIMUM 10 DISTINCT patient_id ELSE DROP
);
