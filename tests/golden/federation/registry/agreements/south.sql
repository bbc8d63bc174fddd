-- Nothing may leave but what is released: there is no SHIP.
CREATE AGREEMENT counts ON SITE south
  FOR ROLE planner_of_care
  PURPOSE statistics
AS (
  by_diagnosis: RELEASE count OF * BY diagnosis FROM registry.patients
                MINIMUM 20 DISTINCT patient_id ELSE FAIL
);

CREATE AGREEMENT doses ON SITE south
  FOR ROLE pharmacist
  PURPOSE statistics
AS (
  by_drug: RELEASE median, count DISTINCT, avg OF dose_mg, patient_id BY drug FROM registry.treatments
           MINIMUM 25 DISTINCT patient_id ELSE DROP,
  SHIP PARTIALS OF by_drug TO lab,
  SHIP ROWS (patient_id, drug, dose_mg) FROM registry.treatments TO lab,
  FILTER ON drug COMPARE WITH LITERALS
);

CREATE AGREEMENT audit ON SITE south
  FOR ROLE auditor
  PURPOSE policy_making
AS (
  RELEASE count OF * FROM registry.patients MINIMUM 10 DISTINCT patient_id ELSE DROP
);
