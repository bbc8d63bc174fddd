CREATE AGREEMENT wards ON SITE west FOR ROLE analyst PURPOSE statistics AS (
  RELEASE count, sum OF cost, * BY sex, ward
    FROM reg.people LEFT JOIN reg.visits ON id MINIMUM 10 DISTINCT people.id,
  SHIP PARTIALS OF 1 TO lab,
  RELEASE ROWS (city, ward) FROM reg.people JOIN reg.visits ON people.id = visits.id,
  MASK people.city AS left(city, 2)
);
