"""The Python ADBC driver asks the wage question: connect with TLS, query, parameters, metadata, a refusal.

Every answer must be the one that the universities' files have.
"""

import csv
import json
import os
import sys

import adbc_driver_flightsql.dbapi as flightsql
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import DatabaseOptions as Login

WAGES = """SELECT p.geslacht, avg(a.salschal) AS scale, count(*) AS n
  FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr
 WHERE p.geslacht = ? GROUP BY p.geslacht"""


UNIVERSITIES = ("uva", "vu")


def truth(federation):
    """By sex the average scale and the number of rows of the join. A number is one person at one university only, who has a
    row for each year in both tables."""
    joined = {}
    for university in UNIVERSITIES:
        sexes = {}
        for row in rows(federation, university, "personen"):
            sexes.setdefault(row["unieknr"], []).append(row["geslacht"])
        for row in rows(federation, university, "aanstellingen"):
            for sex in sexes.get(row["unieknr"], []):
                joined.setdefault(sex, []).append(row["salschal"])
    scales = {sex: [int(scale) for scale in all_scales if scale] for sex, all_scales in joined.items()}
    # Whole numbers are added exactly, and the quotient is rounded once.
    return {sex: (sex, sum(scales[sex]) / len(scales[sex]), len(joined[sex])) for sex in joined}


def rows(federation, university, table):
    with open(os.path.join(federation, university, table + ".csv"), encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            yield {name.lower(): value for name, value in row.items()}


def main(info_file):
    with open(info_file, encoding="utf-8") as file:
        info = json.load(file)
    user = next(user for user in info["users"] if user["user"] == "analyst@uva.nl")
    with open(info["ca_file"], encoding="utf-8") as file:
        authority = file.read()
    options = {
        Login.USERNAME.value: user["user"],
        Login.PASSWORD.value: user["token"],
        DatabaseOptions.TLS_ROOT_CERTS.value: authority,
        DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true",
    }
    with flightsql.connect(info["uri"], db_kwargs=options, autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET dynamos.purpose = 'statistics'")
            expected = truth(os.path.dirname(info["ca_file"]))
            assert {"M", "V"} <= expected.keys(), expected
            for sex in ("V", "M"):
                cursor.execute(WAGES, parameters=(sex,))
                answer = cursor.fetchall()
                assert answer == [expected[sex]], (answer, expected[sex])
            try:
                cursor.execute("SELECT * FROM wages.personen")
                cursor.fetchall()
            except Exception as refused:  # the driver's class depends on the status
                assert "RELEASE" in str(refused), refused
            else:
                raise AssertionError("protected rows were given out")
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        tables = {
            table["table_name"]
            for catalog in objects
            for schema in catalog["catalog_db_schemas"] or []
            for table in schema["db_schema_tables"] or []
        }
        assert {"personen", "aanstellingen"} <= tables, tables
    print("1 passed, 0 failed")


main(sys.argv[1])
